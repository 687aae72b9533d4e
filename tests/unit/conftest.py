"""A fresh fake machine under package hv for each test that asks for one."""

import sys

import pytest
from unit import fake_hv

sys.modules.setdefault("_hv", fake_hv)


@pytest.fixture
def world():
    """The fake machine, empty; package hv has forgotten everything."""
    from hv import events, timers, vm

    fake_hv.WORLD.reset()
    vm._known.clear()
    events.quiet = False
    events.namespace = {}
    for store in (events._sources, timers._due, events._seen):
        store.clear()
    del events._runs[:]
    yield fake_hv.WORLD
