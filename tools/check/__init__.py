"""The fast checks of `make check`. Each module holds one: `check(root)` returns its findings,
one line each, `FILE:line: what and why`."""
