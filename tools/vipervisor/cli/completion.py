"""`hv completion`: completion for shells, made from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from . import common

SHELLS = ("bash", "zsh", "fish")
Build = Callable[[], argparse.ArgumentParser]


def add(commands: Any, build: Build) -> None:
    parser = commands.add_parser(
        "completion",
        help="completion for bash, zsh or fish",
        description='Print completion for a shell, e.g. eval "$(hv completion bash)".',
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(function=lambda options: main(options, build()))


def main(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    print({"bash": bash, "zsh": zsh, "fish": fish}[options.shell](parser), end="")
    return 0


def commands_of(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Every command: its help and its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            help_of = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return {name: (help_of.get(name, ""), sub) for name, sub in action.choices.items()}
    return {}


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if action.option_strings)


def _is_file(action: argparse.Action) -> bool:
    return action.type is common.path


def _takes_files(parser: argparse.ArgumentParser) -> bool:
    return any(_is_file(action) for action in parser._actions if not action.option_strings)


def bash(parser: argparse.ArgumentParser) -> str:
    cases, values = [], []
    for name, (_, sub) in commands_of(parser).items():
        words = " ".join(o for action in options_of(sub) for o in action.option_strings)
        fixed = " ".join(
            str(c) for a in sub._actions if not a.option_strings for c in a.choices or ()
        )
        files = ' files=yes' if _takes_files(sub) else ""
        cases.append(f'        {name}) words="{words}" plain="{fixed}"{files} ;;')
        for action in options_of(sub):
            if action.nargs == 0:
                continue
            pattern = "|".join(f"{name}:{o}" for o in action.option_strings)
            choices = " ".join(str(choice) for choice in action.choices or ())
            what = "-f" if _is_file(action) else f'-W "{choices}"'
            reply = f'COMPREPLY=($(compgen {what} -- "$word"))'
            values.append(f"        {pattern}) {reply}; return ;;")
    names = " ".join(commands_of(parser))
    return "\n".join([
        "# Completion of hv for bash.",
        "_hv() {",
        '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}',
        '    local words="" plain="" files=""',
        '    local command=${COMP_WORDS[1]}',
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        COMPREPLY=($(compgen -W "{names} --help" -- "$word"))',
        "        return",
        "    fi",
        '    case "$command:$before" in',
        *values,
        "    esac",
        '    case "$command" in',
        *cases,
        "    esac",
        '    case "$word" in',
        '        -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;',
        '        *) COMPREPLY=($(compgen -W "$plain" -- "$word"))',
        '           [ -z "$files" ] || COMPREPLY+=($(compgen -f -- "$word")) ;;',
        "    esac",
        "}",
        "complete -o filenames -F _hv hv",
        "",
    ])


def _quoted(text: str) -> str:
    for old, new in (("'", ""), ("[", "("), ("]", ")"), (":", ";"), ("%%", "%")):
        text = text.replace(old, new)
    return text


def zsh(parser: argparse.ArgumentParser) -> str:
    lines = ["#compdef hv", "_hv() {", "    local -a commands", "    commands=("]
    found = commands_of(parser)
    lines += [f"        '{name}:{_quoted(text)}'" for name, (text, _) in found.items()]
    lines += ["    )", "    if (( CURRENT == 2 )); then", "        _describe command commands",
              "        return", "    fi", "    local command=$words[2]", "    shift words",
              "    (( CURRENT-- ))", "    case $command in"]
    for name, (_, sub) in found.items():
        specs = []
        for action in options_of(sub):
            for option in action.option_strings:
                text = f"{option}[{_quoted(action.help or str(action.dest))}]"
                if action.nargs != 0:
                    kind = " ".join(map(str, action.choices)) if action.choices else ""
                    values = f"({kind})" if kind else "_files" if _is_file(action) else ""
                    text += f":{action.dest}:{values}"
                specs.append(f"'{text}'")
        for action in sub._actions:
            if not action.option_strings:
                kind = " ".join(map(str, action.choices)) if action.choices else ""
                values = f"({kind})" if kind else "_files" if _is_file(action) else " "
                specs.append(f"'*:{action.dest}:{values}'")
        lines.append(f"        {name}) _arguments {' '.join(specs)} ;;")
    return "\n".join([*lines, "    esac", "}", "compdef _hv hv", ""])


def fish(parser: argparse.ArgumentParser) -> str:
    lines = ["# Completion of hv for fish.", "complete -c hv -n __fish_use_subcommand -f"]
    for name, (text, sub) in commands_of(parser).items():
        lines.append(f"complete -c hv -n __fish_use_subcommand -a {name} -d '{_quoted(text)}'")
        when = f"-n '__fish_seen_subcommand_from {name}'"
        if not _takes_files(sub):
            lines.append(f"complete -c hv {when} -f")
        for action in options_of(sub):
            for option in action.option_strings:
                flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
                value = ""
                if action.choices:
                    value = f" -x -a '{' '.join(map(str, action.choices))}'"
                elif action.nargs != 0:
                    value = " -r -F" if _is_file(action) else " -x"
                text = _quoted(action.help or "")
                lines.append(f"complete -c hv {when} {flag}{value} -d '{text}'")
        for action in sub._actions:
            if not action.option_strings and action.choices:
                lines.append(f"complete -c hv {when} -x -a '{' '.join(map(str, action.choices))}'")
    return "\n".join([*lines, ""])
