"""Two devices with real pairingd, and the two people before them: they type the PIN and pick the number that is on
both screens. What both sides end with is judged here."""
import asyncio
import json
import os
import socket
import struct

SLACK = 20  # seconds past a step's own deadline: machines are noisy


class Hang(Exception):
    """A step was not over when its own deadline was long past."""


class Dead(Exception):
    """A daemon is gone."""


class Device:
    def __init__(self, host, start):
        self.host, self.start = host, start
        self.start(host)
        self.path = os.path.join(host.runtime, "pairingd.sock")

    @property
    def daemon(self):
        return self.host.daemons["pairingd"]

    async def connect(self):
        try:
            return await asyncio.open_unix_connection(self.path, limit=1 << 20)
        except OSError as e:
            raise Dead(f"{self.host.name}: {e}") from None

    async def ask(self, method, params=None):
        """(error or None, parameters)"""
        reader, writer = await self.connect()
        try:
            writer.write(json.dumps({"method": f"io.handfast.Pairing.{method}", "parameters": params or {}}).encode() + b"\0")
            a = json.loads((await asyncio.wait_for(reader.readuntil(b"\0"), 15))[:-1])
        except (asyncio.IncompleteReadError, OSError):
            raise Dead(f"{self.host.name} hung up on {method}") from None
        finally:
            writer.close()
        return a.get("error", "").rpartition(".")[2] or None, a.get("parameters", {})

    async def peers(self):
        return (await self.ask("Peers"))[1]["peers"]

    async def public_key(self):
        return (await self.ask("Identity"))[1]["public_key"]

    def hand_over(self, ticket, value, cls):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(10)
        try:
            s.connect(os.path.join(self.host.runtime, "pairing-secret.sock"))
            s.send(bytes.fromhex(ticket) + bytes([cls]) + value.encode())
            return s.recv(16)
        finally:
            s.close()

    def roots(self):
        """[(peer's key, tunnel id, root)] of what waits for pskd, as identity.sock gives it."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(10)
        try:
            s.connect(os.path.join(self.host.runtime, "identity.sock"))
            listed, more = b"", True
            while more:
                d = s.recv(8192)
                if d and d[0] == 19:
                    listed, more = listed + d[6:], d[5]
                more = more and d
            out = []
            while listed:
                n = struct.unpack(">H", listed[32:34])[0]
                s.send(b"\2" + struct.pack(">I", len(out) + 1) + listed[:32])
                while (d := s.recv(8192)) and d[0] < 128:
                    pass
                if d[5] == 0:
                    at = 6 + 16 + 2 + struct.unpack(">H", d[22:24])[0] + 1 + 32
                    out.append((d[at:at + 32], d[at + 32:at + 48], d[at + 48:at + 80]))
                listed = listed[34 + n:]
            return out
        finally:
            s.close()

    async def resting_memory(self):
        """KiB resident once no thread stretches a secret any more, which takes 64 MiB meanwhile."""
        quiet = 0
        for _ in range(600):
            quiet = quiet + 1 if all(self.sleeps(t) for t in os.listdir(f"/proc/{self.daemon.pid}/task")) else 0
            if quiet == 3:
                break
            await asyncio.sleep(0.1)
        with open(f"/proc/{self.daemon.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024

    def sleeps(self, thread):
        try:
            with open(f"/proc/{self.daemon.pid}/task/{thread}/stat") as f:
                return f.read().rpartition(")")[2].split()[0] == "S"
        except OSError:
            return True


class Screens:
    """What the two people see. Each waits for the other's number, as people on the telephone do."""

    def __init__(self):
        self.shown, self.over = {}, set()
        self.changed = asyncio.Condition()

    async def show(self, side, choices):
        async with self.changed:
            self.shown[side] = choices
            self.changed.notify_all()

    async def end(self, side):
        async with self.changed:
            self.over.add(side)
            self.changed.notify_all()

    async def common(self, side):
        """The number on both screens; None when there is none, "alone" when the other has nothing to compare."""
        them = "bob" if side == "alice" else "alice"
        async with self.changed:
            await self.changed.wait_for(lambda: them in self.shown or them in self.over)
        if them not in self.shown:
            return "alone"
        both = set(self.shown[side]) & set(self.shown[them])
        return both.pop() if len(both) == 1 else None


class Person:
    """One call of Pair by one person, to its end."""

    def __init__(self, device, side, screens, pin=None, cls="PIN", params=None, alone="none"):
        self.device, self.side, self.screens = device, side, screens
        self.pin, self.cls, self.params, self.alone = pin, cls, params or {}, alone
        self.invitation = asyncio.get_running_loop().create_future()
        self.secret = asyncio.get_running_loop().create_future()
        self.error, self.peer, self.events = None, None, []
        self.writer = None

    async def pair(self):
        try:
            await self.run()
        finally:
            for f in (self.invitation, self.secret):
                if not f.done():
                    f.cancel()
            if self.writer:
                self.writer.close()
            await self.screens.end(self.side)

    async def run(self):
        reader, self.writer = await self.device.connect()
        self.writer.write(json.dumps({"method": "io.handfast.Pairing.Pair", "more": True, "parameters": {
            "secret_class": self.cls, **self.params}}).encode() + b"\0")
        limit, picker = 15, None
        try:
            while True:
                try:
                    text = await asyncio.wait_for(reader.readuntil(b"\0"), limit + SLACK)
                except asyncio.TimeoutError:
                    raise Hang(f"{self.side}: nothing for {limit + SLACK} s after {self.events[-1:]}") from None
                except (asyncio.IncompleteReadError, OSError):
                    raise Dead(f"{self.side}: no answer after {self.events[-1:]}") from None
                a = json.loads(text[:-1])
                p = a.get("parameters", {})
                if a.get("error"):
                    self.error = a["error"].rpartition(".")[2]
                    return
                self.events.append(p.get("step") or p.get("event"))
                limit = max(p.get("deadline_s", 0), 0) or limit
                if p["event"] == "secret-needed":
                    self.id = p["pairing"]
                    if self.pin is None:
                        self.pin = self.params_pin(p["digits"])
                    self.secret.set_result(self.pin)
                    self.device.hand_over(p["ticket"], self.pin, 1 if self.cls == "PIN" else 2)
                elif p["event"] == "invitation":
                    self.invitation.set_result(p["invitation"])
                elif p["event"] == "sas":
                    picker = asyncio.ensure_future(self.pick(p["choices"]))
                elif p["event"] == "done":
                    self.peer = p["peer"]
                    return
        finally:
            if picker:
                picker.cancel()

    def params_pin(self, digits):
        import random
        return "".join(random.choice("0123456789") for _ in range(digits))

    async def pick(self, choices):
        await self.screens.show(self.side, choices)
        number = await self.screens.common(self.side)
        if number == "alone":
            if self.alone == "wait":
                return
            number = None
        await self.device.ask("CompareSas", {"pairing": self.id, **({"digits": number} if number else {})})

    def cancel(self):
        if self.writer:
            self.writer.close()
