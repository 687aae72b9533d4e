"""MicroPython's own tests, run on a booted monitor: `python -m mptests`."""
