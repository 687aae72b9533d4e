"""The tour's steps and what it says on a miss, over the fake machine."""

import pytest
from unit import fake_hv, images


@pytest.fixture
def walk(world, monkeypatch, capsys):
    import hv
    from hv import steps

    world.modules = {"k": images.elf64()}
    g = hv.Guest("beat", memory="16M").load("k").start()
    g.memory[0x102000:0x102006] = b"beat %"
    core = world.guests[g.id]
    core.exits["io"] = 3
    count = [0]

    def lives():
        """beat prints, leaves and ends what it is told to, whenever time passes."""
        count[0] += 1
        word = g.memory[0x102000:0x102004].decode()
        if core.state == "running":
            core.console += b"%s %d\n" % (word.encode(), count[0])
            for slot in core.claims:
                core.hits[slot] = 5
        for other in world.guests:
            if other != g.id and world.guests[other].state == "running":
                world.guests[other].exits["cpuid"] = 1
                fake_hv.end(other, "poweroff")

    monkeypatch.setattr("hv.clock.idle", lives)

    def go(*lines):
        typed = iter(lines)

        def read(prompt):
            lives()
            line = next(typed, None)
            if line is None:
                raise EOFError
            return line

        tour = steps.Tour({"hv": hv}, read)
        tour.run()
        assert next(typed, None) is None
        return tour, capsys.readouterr().out

    yield go, g
    assert g.memory[0x102000:0x102004] == b"beat" and g.state == "running"
    assert not g.handlers and len(hv.guests()) == 1


def test_all_steps_as_they_are_shown(walk):
    from hv import steps

    tour, said = walk[0](*[step.code for step in steps.STEPS])
    assert tour.done == 10 and "That was all ten" in said
    assert "it prints: Beat" in said and "it is off, and left its world for: cpuid" in said


def test_skipping_all(walk):
    tour, said = walk[0](*["skip"] * 10)
    assert tour.done == 10 and said.count("done: ") == 10


def test_misses_say_what_to_try(walk):
    tour, said = walk[0](
        "", "hv.machine", "1 // 0", "hv.guests()", "beat.exits", "beat.stat", "beat.state",
        "def f():", "    beat.pause()", "", "f()", "hex(0)", "quit")
    assert tour.done == 3
    assert "not yet, that is not the list of guests; try:  hv.guests()" in said
    assert "ZeroDivisionError" in said and "has no attribute 'stat'" in said
    assert "not yet, beat is running; try:  beat.pause()" in said
    assert "that is not its rip" in said and "The tour ends" in said


def test_it_needs_its_guest(world):
    import hv

    with pytest.raises(ValueError, match="needs the guest beat"):
        hv.tour()
