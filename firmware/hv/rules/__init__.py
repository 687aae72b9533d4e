"""The rules of a partition. Imports nothing outside this package; runs on the host
(CPython) and on the target (MicroPython) alike."""


def check_compiled(description, machine=None):
    return []
