#!/usr/bin/env python3
"""Stands in for QEMU with the monitor inside: takes the same command line, speaks QMP, the
channel and a prompt. A guest's image is a JSON object that says what the guest does:

    {"lines": [...], "crlf": true, "end": {"reason": "exit", "status": 3}, "echo": false,
     "resets": 1, "chunk": 3, "chatter": 0.05}

Options of the machine itself come as FAKE_* environment variables.
"""

import json
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tools"))

from vipervisor.channel import Decoder, Frame, Type, json_frame, split  # noqa: E402

ARGS = sys.argv[1:]
RUNNING = threading.Event()


def option(name):
    return [ARGS[i + 1] for i, word in enumerate(ARGS) if word == name]


def chardevs():
    found = {}
    for value in option("-chardev"):
        words = dict(w.split("=", 1) for w in value.split(",") if "=" in w)
        found[words["id"]] = socket.socket(fileno=int(words["fd"]))
    return found


def modules():
    found = {}
    for entry in "".join(option("-initrd")).replace(",,", "\0").split(","):
        if entry:
            path, _, rest = entry.replace("\0", ",").partition(" ")
            words = dict(w.split("=", 1) for w in rest.split() if "=" in w)
            with open(path, "rb") as file:
                found[words["name"]] = file.read()
    return found


class Machine:
    def __init__(self):
        self.lines = chardevs()
        self.lock = threading.Lock()
        self.attached = {}
        self.code = {}
        self.taken = {}
        self.typed = {}

    def send(self, frame):
        with self.lock:
            self.lines["com2"].sendall(frame.encode())

    def power_off(self, reason="guest-shutdown"):
        event = {
            "event": "SHUTDOWN",
            "data": {"guest": True, "reason": reason},
            "timestamp": {"seconds": 0, "microseconds": 0},
        }
        self.lines["qmp"].sendall(json.dumps(event).encode() + b"\r\n")
        time.sleep(0.05)
        os._exit(0)

    def qmp(self):
        file = self.lines["qmp"].makefile("rwb")
        greeting = {
            "QMP": {
                "version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""},
                "capabilities": ["oob"],
            }
        }
        file.write(json.dumps(greeting).encode() + b"\r\n")
        file.flush()
        text = ""
        while True:
            data = self.lines["qmp"].recv(4096)
            if not data:
                os._exit(0)
            text += data.decode()
            while text.strip():
                try:  # requests come without line ends
                    request, end = json.JSONDecoder().raw_decode(text.lstrip())
                except ValueError:
                    break
                text = text.lstrip()[end:]
                if request.get("execute") == "cont":
                    RUNNING.set()
                reply = {"return": {}, "id": request.get("id")}
                file.write(json.dumps(reply).encode() + b"\r\n")
                file.flush()

    def prompt(self):
        com1 = self.lines["com1"]
        com1.sendall(b"fake monitor\r\nMicroPython\r\n>>> ")
        line = b""
        while True:
            data = com1.recv(4096)
            if not data:
                return
            for byte in data:
                if byte != 13:
                    line += bytes([byte])
                    com1.sendall(bytes([byte]))
                    continue
                com1.sendall(b"\r\n")
                text, line = line.decode("utf-8", "replace"), b""
                if text == "exit()":
                    self.power_off()
                if text == "panic()":
                    com1.sendall(b"\r\nvipervisor: panic: #PF at 1234\r\n")
                    continue
                if text == "reset()":
                    self.power_off("guest-reset")
                if text:
                    com1.sendall(f"ran {text}\r\n".encode())
                com1.sendall(b">>> ")

    def guest(self, number, spec, behaviour):
        self.attached[number].wait(20)
        if behaviour.get("wait"):
            time.sleep(behaviour["wait"])
        for round_ in range(behaviour.get("resets", 0) + 1):
            self.state(number, spec, "running")
            eol = "\r\n" if behaviour.get("crlf") else "\n"
            text = "".join(line + eol for line in behaviour.get("lines", [])).encode()
            for piece in split(text, behaviour.get("chunk", 1024)):
                self.send(Frame(Type.CONSOLE_OUT, number, piece))
            if round_ < behaviour.get("resets", 0):
                self.state(number, spec, "off", {"reason": "reset"})
        if behaviour.get("echo"):
            while b"quit\n" not in self.typed.get(number, b""):
                time.sleep(behaviour.get("chatter", 0.02))
                if "chatter" in behaviour:
                    self.send(Frame(Type.CONSOLE_OUT, number, b"tick\n"))
        if behaviour.get("die"):
            sys.stderr.write("fake: out of luck\n")
            sys.stderr.flush()
            os._exit(behaviour["die"])
        end = behaviour.get("end")
        if end:
            self.state(number, spec, "crashed" if end["reason"] == "crash" else "off", end)

    def state(self, number, spec, state, end=None):
        end = end or {}
        value = {
            "event": "state",
            "id": number,
            "guest": spec["name"],
            "state": state,
            "reason": end.get("reason"),
            "status": end.get("status"),
            "crash": end.get("crash"),
            "exits": {"cpuid": 3, "io": 12345},
        }
        self.send(json_frame(Type.EVENT, value))

    def start(self, files):
        partition = json.loads(files["partition.json"])
        guests = []
        for number, spec in enumerate(partition["guests"]):
            self.attached[number] = threading.Event()
            guests.append(
                {
                    "id": number,
                    "name": spec["name"],
                    "state": "new",
                    "cpus": spec["cpus"],
                    "memory": spec["memory"],
                }
            )
        self.hello = {
            "version": 1,
            "abi": 1,
            "backend": "svm",
            "emulator": "qemu",
            "cpus": partition["machine"]["cpus"],
            "guests": guests,
        }
        self.send(json_frame(Type.HELLO, self.hello))
        if os.environ.get("FAKE_ERROR"):
            value = {"event": "error", "message": os.environ["FAKE_ERROR"]}
            self.send(json_frame(Type.EVENT, value))
            return
        self.send(json_frame(Type.EVENT, {"event": "boot", "partition": partition["name"]}))
        for number, spec in enumerate(partition["guests"]):
            behaviour = json.loads(files[spec["image"]])
            threading.Thread(target=self.guest, args=(number, spec, behaviour), daemon=True).start()

    def exec(self, stream, code):
        namespace, printed = {"print": None}, []
        namespace["print"] = lambda *w: printed.append(" ".join(str(x) for x in w) + "\r\n")
        reply = {"ok": True}
        try:
            exec(code.replace("import hv; ", "").replace("hv.guests()", "'guests'"), namespace)
        except Exception as error:  # the fake's whole point is to report it
            reply = {"ok": False, "error": f"Traceback (most recent call last):\n  {error!r}"}
        for piece in split("".join(printed).encode(), 100):
            self.send(Frame(Type.EXEC_OUT, stream, piece))
        self.send(json_frame(Type.EXEC_END, reply, stream))

    def take(self, frame):
        if frame.type == Type.ATTACH and frame.payload == b"\1":
            self.attached[frame.stream].set()
        elif frame.type == Type.CONSOLE_IN:
            number, count = frame.stream, len(frame.payload)
            self.typed[number] = self.typed.get(number, b"") + frame.payload
            self.taken[number] = self.taken.get(number, 0) + count
            self.send(Frame(Type.CONSOLE_OUT, number, b"<" + frame.payload + b">"))
            self.send(Frame(Type.CONSOLE_ACK, number, self.taken[number].to_bytes(4, "little")))
        elif frame.type == Type.EXEC:
            if frame.payload:
                self.code[frame.stream] = self.code.get(frame.stream, b"") + frame.payload
            else:
                self.exec(frame.stream, self.code.pop(frame.stream, b"").decode())
        elif frame.type == Type.HELLO:
            self.send(json_frame(Type.HELLO, self.hello))
        elif frame.type == Type.QUIT and not os.environ.get("FAKE_DEAF"):
            self.power_off()

    def run(self):
        threading.Thread(target=self.qmp, daemon=True).start()
        RUNNING.wait()
        if os.environ.get("FAKE_DIE"):
            self.lines["com1"].sendall(b"PANIC: no memory\r\n")
            sys.stderr.write("fake: the machine broke\n")
            sys.exit(3)
        if os.environ.get("FAKE_MUTE"):
            self.lines["com1"].sendall(b"stuck here\r\n")
            time.sleep(600)
        threading.Thread(target=self.prompt, daemon=True).start()
        files = modules()
        self.start(files)
        decoder = Decoder()
        while True:
            data = self.lines["com2"].recv(4096)
            if not data:
                return
            for frame in decoder.feed(data):
                self.take(frame)


if os.environ.get("FAKE_REFUSE"):
    sys.stderr.write("fake-qemu: no such option\n")
    sys.exit(1)
Machine().run()
