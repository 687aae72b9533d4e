"""The framed channel to the host: what the monitor says on it."""

import json

import _hv

VERSION = 1
HELLO, CONSOLE_OUT, CONSOLE_IN, CONSOLE_ACK, EVENT = 1, 2, 3, 4, 5
EXEC, EXEC_OUT, EXEC_END, ATTACH, QUIT = 6, 7, 8, 9, 10
LARGEST = 1024


def send(kind, stream, value):
    """Sends a JSON object; one too large for a frame loses its longest text."""
    data = json.dumps(value).encode()
    if len(data) > LARGEST:
        data = json.dumps(_shorter(value, len(data) - LARGEST)).encode()
    _hv.channel_send(kind, stream, data)


def _shorter(value, excess):
    out = dict(value)
    texts = [k for k in out if isinstance(out[k], str)]
    if texts:
        longest = max(texts, key=lambda k: len(out[k]))
        # Escapes double a byte at most twice (\\n, \\u00xx); what is left is enough to read.
        out[longest] = out[longest][: max(LARGEST // 4, len(out[longest]) - excess - 64)]
    elif out.get("crash"):
        out["crash"] = {"why": out["crash"].get("why", "")}
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


def state(guest_id, crash):
    """The event of a change of a guest's state: its end record when it ended."""
    info = _hv.guest_info(guest_id)
    reason = info.get("reason")
    send(EVENT, guest_id, {
        "event": "state", "id": guest_id, "guest": info["name"], "state": info["state"],
        "reason": None if reason == "none" else reason, "status": info.get("status", 0),
        "crash": crash, "exits": _hv.guest_exits(guest_id),
    })


def error(message):
    send(EVENT, 0, {"event": "error", "message": message})


def booted(name):
    send(EVENT, 0, {"event": "boot", "partition": name})
