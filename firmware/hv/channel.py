"""The framed channel to the host: what the monitor says on it."""

import json

import _hv

VERSION = 1
HELLO, CONSOLE_OUT, CONSOLE_IN, CONSOLE_ACK, EVENT = 1, 2, 3, 4, 5
EXEC, EXEC_OUT, EXEC_END, ATTACH, QUIT, EXEC_STOP = 6, 7, 8, 9, 10, 11
LARGEST = 1024


def send(kind, stream, value):
    """Sends a JSON object; one too large for a frame loses what matters least."""
    data = _dumps(value)
    while len(data) > LARGEST:
        value = _shorter(value, len(data) - LARGEST)
        data = _dumps(value)
    _hv.channel_send(kind, stream, data)


def _dumps(value):
    return json.dumps(value, separators=(",", ":")).encode()


def _shorter(value, excess):
    out = dict(value)
    exits = out.get("exits")
    if exits:  # the rarest kind
        rarest = min(exits, key=lambda k: exits[k])
        out["exits"] = {k: n for k, n in exits.items() if k != rarest}
        return out
    if out.get("guests"):
        out["guests"] = out["guests"][:-1]
        return out
    texts = [k for k in out if isinstance(out[k], str)]
    longest = max(texts, key=lambda k: len(out[k]))
    text = out[longest]
    # The end of a traceback says what it is about.
    keep = max(0, min(len(text) - 1, len(text) - excess))
    out[longest] = text[len(text) - keep :]
    return out


def hello():
    rows = []
    for guest_id in _hv.guest_ids():
        info = _hv.guest_info(guest_id)
        rows.append({
            "id": guest_id, "name": info["name"], "state": info["state"],
            "cpus": [v[0] for v in info["vcpus"]], "memory": info["memory"],
        })
    send(HELLO, 0, {
        "version": VERSION, "abi": _hv.ABI, "backend": _hv.backend(),
        "emulator": _hv.emulator(), "cpus": len(_hv.cpus()), "guests": rows,
    })


def state(guest_id, info, crash):
    """The event of a change of a guest's state: its end record when it ended. `info` is
    what the caller decided on: the guest may have gone on since."""
    reason = info.get("reason")
    send(EVENT, guest_id, {
        "event": "state", "id": guest_id, "guest": info["name"], "state": info["state"],
        "reason": None if reason == "none" else reason, "status": info.get("status", 0),
        "crash": crash, "exits": _hv.guest_exits(guest_id),
    })


def error(message):
    send(EVENT, 0, {"event": "error", "message": message})


def complaint(message):
    """What went wrong in Python while the partition runs on."""
    send(EVENT, 0, {"event": "complaint", "message": message})


def booted(name):
    send(EVENT, 0, {"event": "boot", "partition": name})
