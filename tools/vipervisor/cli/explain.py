"""`hv explain` and `hv schema`: what words and numbers mean, what a partition may say."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from .. import explain as explainer
from ..errors import HostError
from ..schema import schema
from ..style import paint


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="what a rule, a status, an exit, a register or a CPUID bit means",
        description="Explain a rule of `hv check` (cpu-sum), an exit kind (hlt), a status "
        "(status 126), an exit reason (vmx 48, svm 0x400), a VM-instruction error (error 7), "
        "a model-specific register (msr 0x1b, IA32_PAT), a CPUID leaf (cpuid 0x15) or bit "
        "(sse4.2, cpuid 1 ecx 20). Without words: everything that can be explained.",
    )
    parser.add_argument("words", nargs="*", metavar="X")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(function=main)
    parser = commands.add_parser(
        "schema", help="a JSON Schema of partition files, for editors"
    )
    parser.set_defaults(function=schema_main)


def main(options: argparse.Namespace) -> int:
    words = " ".join(options.words)
    if not words:
        found = explainer.known()
        if options.json:
            print(json.dumps(found, indent=1))
        else:
            for title, names in found.items():
                print(f"{paint(title, 'bold', sys.stdout)}\n  {', '.join(names)}")
        return 0
    topics = explainer.explain(words)
    if not topics:
        near = explainer.nearest(words)
        hint = f"did you mean {near}?" if near else "`hv explain` alone lists what is known"
        raise HostError(f"nothing is known of {words!r}: {hint}")
    if options.json:
        print(json.dumps([topic.json() for topic in topics], indent=1))
    else:
        print("\n\n".join(topic.text() for topic in topics))
    return 0


def schema_main(options: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=1))
    return 0
