"""A Linux guest's shell as tests use it, and what its kernel must not have to say."""

from __future__ import annotations

import re
from typing import Any

# What a kernel says about clocks, interrupts and tables that it had to live with.
COMPLAINTS = (
    r"[Mm]arking (?:clocksource|TSC|tsc)\b.*unstable",
    r"TSC.* unstable|clocksource: timekeeping watchdog|Override clocksource",
    r"TSC (?:synchronization|warped)|TSC ADJUST|sched_clock: Marking unstable",
    r"[Cc]alibrat\w+ failed|Unable to calibrate|could not calculate TSC|tsc_early_khz",
    r"clock ?skew|not consistent|skew too large",
    r"lost \d+ ticks|[Ll]ost .*(?:tick|interrupt)|Can't read CTR",
    r"APIC error|APIC timer (?:disabled|not)|No local APIC|BIOS bug, (?:local )?APIC|x2apic: IRQ",
    r"MP-BIOS bug|8254 timer not connected|[Tt]imer .*(?:doesn't|does not) work",
    r"No irq handler for vector|spurious|[Dd]isabling IRQ|nobody cared",
    r"rcu.*(?:stall|starved)|soft lockup|hard LOCKUP|NMI received for unknown",
    r"failed to (?:start|boot|bring up)|Not responding|do_boot_cpu failed",
    r"ACPI\b.*\b(?:Error|Warning|Exception|BIOS)\b|Firmware Bug|No config space access",
    r"unchecked MSR|WARNING: CPU|Call Trace|BUG:|Oops|general protection",
)
_COMPLAINT = re.compile("|".join(f"(?:{one})" for one in COMPLAINTS))


def complaints(log: str) -> list[str]:
    """The lines of a kernel's log that complain."""
    return [line for line in log.splitlines() if _COMPLAINT.search(line)]


class Shell:
    """The shell on a guest's console: one command at a time."""

    def __init__(self, console: Any, limit: float) -> None:
        self.console = console
        self.limit = limit
        self._count = 0

    def ready(self) -> None:
        """Until its first prompt."""
        self.console.expect("# $", timeout=self.limit)

    def type(self, line: str) -> None:
        self.console.write(line + "\n")

    def run(self, line: str) -> str:
        """What the command prints."""
        self._count += 1
        number = self._count
        at = len(self.console.text)
        # The line's echo, which may be broken anywhere, holds neither mark.
        self.type(f"echo be''gin-{number}-; {line}; echo; echo e''nd-{number}-")
        self.console.expect(rf"\nend-{number}-\n", timeout=self.limit)
        said = re.search(rf"\nbegin-{number}-\n(.*)\nend-{number}-\n", self.console.text[at:], re.S)
        assert said is not None, self.console.tail()
        return said[1].strip()

    def clocksource(self) -> str:
        return self.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")

    def timer_interrupts(self) -> list[int]:
        """How many local timer interrupts each CPU has had."""
        row = re.search(r"LOC:((?:\s+\d+)+)", self.run("grep LOC /proc/interrupts"))
        assert row is not None, self.console.tail()
        return [int(count) for count in row[1].split()]

    def busy(self, cpu: int, seconds: int) -> None:
        """Keep one CPU at work."""
        self.run(f"taskset {1 << cpu:x} timeout {seconds} sh -c 'while :; do :; done'")
