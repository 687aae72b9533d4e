"""The pump: takes the core's events, tells the prompt and the host, applies policies.

The core calls `wake` through the scheduler when there is something; anything that
waits calls `pump()` itself.
"""

import io
import sys

import _hv
from hv import channel, device, exits, ready, timers, watching
from hv import vm as guests

LASTING = ("off", "crashed")
REASON_TEXT = {
    "exit": "exit", "poweroff": "power-off", "reset": "reset", "stopped": "stopped",
    "crash": "crash",
}
# Which policy speaks for an end.
POLICY = {"poweroff": "on_poweroff", "exit": "on_poweroff", "reset": "on_reboot",
          "crash": "on_crash"}

namespace = {}
quiet = False  # `hv run`: the guest's console has the terminal
_sources = {}  # parts of EXEC by stream
_runs = []  # complete EXECs that wait
_executing = False
_draining = False
_seen = {}  # guest id -> last state told


def listen():
    """From now on the core calls wake(), and message()."""
    _hv.notify(wake, globals())


def wake(event=None):
    """For `_hv.notify`, with each event, and without one when the time of an alarm has come."""
    try:
        if event is None:
            pump()
        else:
            handle(event)
            if _runs:
                _execute()
    except Exception as e:  # an error here must not end up in an unrelated statement
        notice("hv: internal error, please report it: %s" % traceback(e).strip())


def notice(text):
    """One line at the prompt; none while a program (raw REPL, `hv run`) has it."""
    if quiet:
        return
    if hasattr(_hv, "notice"):
        _hv.notice(text)  # draws the line that is being typed again
    else:
        print(text)


def complain(text):
    """A notice that nobody may miss: the host is told as well."""
    notice(text)
    if quiet:
        channel.error(text)
    else:
        channel.complaint(text)


def pump():
    """Handles every event there is. May be called from anywhere: from a wait at the
    prompt, and between its bytecodes by the core. Ctrl-C waits until it is through, except
    in what a program gave it to call."""
    _hv.uninterrupted(_pump)


def _pump():
    global _draining
    if not _draining:
        _draining = True
        try:
            event = _hv.event()
            while event is not None:
                handle(event)
                event = _hv.event()
            timers.run()
        finally:
            _draining = False
    _execute()


def handle(event):
    kind = event[0]
    if kind == "state":
        changed(event[1])
    elif kind == "channel":
        frame(event[1], event[2], event[3])
    elif kind == "message":
        message(event[1], event[2], event[3], event[4])
    elif kind == "watch":
        watching.watched(event[1])
    elif kind == "raised":  # by message(), which the core calls itself
        raise event[1]
    elif kind == "console":
        device.console_event(event[1])
    else:
        exits.served(kind, event[1], event[2])


# -- guests


def changed(guest_id):
    try:
        info = _hv.guest_info(guest_id)
    except (OSError, ValueError):
        forget(guest_id)  # destroyed since
        return
    state = info["state"]
    # A second end may look like the first: they are told apart by the starts before.
    mark = (info["name"], state, info["starts"] if state in LASTING else 0)
    if _seen.get(guest_id) == mark:
        return
    _seen[guest_id] = mark
    guest = guests.by_id(guest_id)
    crash = guest.crash if state == "crashed" else None
    if state not in LASTING:
        channel.state(guest_id, info, None)
        if state == "running" and not quiet and guest.kind == "linux" and not guest._watched:
            guest._watched = True
            ready.watch(guest, notice)
        return
    reason = info.get("reason", "none")
    policy = guest.policies.get(POLICY.get(reason, ""))
    again = policy is not None and policy.get("do") in ("restart", "pause")
    channel.state(guest_id, info, crash.json() if crash else None)
    line = "[%s] %s: %s" % (info["name"], state, REASON_TEXT.get(reason, reason))
    if crash:
        line = "[%s] crashed: %s (%s.crash shows more)" % (info["name"], crash.why, info["name"])
    elif reason == "exit":
        line += " with status %d" % info["status"]
    notice(line)
    if again:
        _again(guest, policy)


def forget(guest_id):
    """A guest was destroyed: its number may be another one's soon."""
    _seen.pop(guest_id, None)
    timers.cancel(("restart", guest_id))
    timers.cancel(("ready", guest_id))


def _again(guest, policy):
    if policy["do"] == "pause":
        _reload(guest, False)
        return
    most = policy.get("max")
    if most is not None and guest.restarts >= most:
        notice("[%s] not started again: max = %d reached" % (guest.name, most))
        return
    guest.restarts += 1
    delay = policy.get("delay") or 0
    if delay:
        timers.after(("restart", guest.id), int(delay * 1000), lambda: _late(guest))
    else:
        _reload(guest, True)


def _late(guest):
    if guest.exists() and guest.state in LASTING:
        _reload(guest, True)


def _reload(guest, start):
    try:
        guest.reset()
        if start:
            guest.start()
            notice("[%s] started again" % guest.name)
    except BaseException as e:  # reset() of a device, too
        expected = isinstance(e, (OSError, ValueError))
        why = said(e) if expected else traceback(e).strip()
        notice("[%s] not started again: %s" % (guest.name, why))
        channel.error("%s: %s" % (guest.name, why))


def said(error):
    """The sentence of an exception."""
    if isinstance(error, OSError) and len(error.args) > 1:
        return str(error.args[1])
    return str(error) or type(error).__name__


NO_SYSTEM_CALL = -38  # -ENOSYS
_answer = _hv.answer  # every lookup counts here


def message(guest_id, vcpu, kind, details):
    """An exit that the core leaves to Python and that nothing here handles."""
    if kind == "hypercall":
        _answer(guest_id, vcpu, "done", NO_SYSTEM_CALL)
    elif kind in ("other_insn", "virt_insn"):
        _answer(guest_id, vcpu, "ud", 0)
    else:
        _answer(guest_id, vcpu, "crash", "nothing handles its exit %s %r" % (kind, details))


# -- the host


def frame(kind, stream, data):
    if kind == channel.HELLO:
        channel.hello()
    elif kind == channel.EXEC:
        if data:
            _sources[stream] = _sources.get(stream, b"") + bytes(data)
        else:
            _runs.append((stream, _sources.pop(stream, b"")))
    elif kind == channel.EXEC_STOP:
        _forget_run(stream)
    elif kind == channel.QUIT:
        _hv.poweroff()


def _forget_run(stream):
    """The host gave up on an EXEC. One that runs has been interrupted by the core."""
    _sources.pop(stream, None)
    left = [run for run in _runs if run[0] != stream]
    if len(left) < len(_runs):
        _runs[:] = left
        _end_run(stream, "stopped before it began\n")


def _execute():
    """Runs what the host sent, one after the other."""
    global _executing
    if _executing:
        return  # a program that waits pumps: its own successors wait their turn
    _executing = True
    try:
        while _runs:
            _run(*_runs.pop(0))
    finally:
        _executing = False


def _run(stream, source):
    """One EXEC: runs it among the prompt's names, its output goes to the host."""
    error = None
    _hv.capture(stream)
    try:
        _hv.interruptible(exec, compile(str(source, "utf-8"), "<exec>", "exec"), namespace)
    except SystemExit:
        pass
    except BaseException as e:
        error = e
    finally:
        _hv.capture(-1)  # after a MemoryError there is memory again
    _end_run(stream, None if error is None else traceback(error))


def _end_run(stream, failed):
    end = {"ok": True} if failed is None else {"ok": False, "error": failed}
    channel.send(channel.EXEC_END, stream, end)


KEPT = 12  # lines of a traceback at either end: a recursion has thousands


def traceback(error):
    """The traceback, without the middle of a long one."""
    lines = _traceback(error).splitlines()
    if len(lines) > 2 * KEPT + 1:
        left_out = "  ... %d lines more ..." % (len(lines) - 2 * KEPT)
        lines = lines[:KEPT] + [left_out] + lines[-KEPT:]
    return "\n".join(lines) + "\n"


def _traceback(error):
    out = io.StringIO()
    if hasattr(sys, "print_exception"):
        sys.print_exception(error, out)
    else:
        import traceback as tb

        out.write("".join(tb.format_exception(type(error), error, error.__traceback__)))
    return out.getvalue()
