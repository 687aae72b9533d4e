"""Set-up: everything that `make run` and `make test` need, on a fresh Debian or Ubuntu.

Run with the system's own python3 (3.10 or newer) before any virtual environment
exists, so only the standard library is used here.
"""
