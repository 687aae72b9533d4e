"""python -m vipervisor: the command hv."""

import signal

# Until the command owns its signals, Ctrl-C just ends the process.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys  # noqa: E402

from .cli import main  # noqa: E402

if __name__ == "__main__":
    status = main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)
