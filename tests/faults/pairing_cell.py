"""Two devices, a relay and the handfast command on both sides, in folders of their own on loopback."""
import base64
import json
import os
import random
import socket
import struct
import subprocess
import threading
import time

from pairing_store import Device, judge
from pairing_wire import Line

# Deadlines are upper bounds: what goes well takes half a second.
DEADLINES = "deadlines:\n  secret: 20s\n  relay: 20s\n  join: 60s\n  step: {step}\n  compare: {step}\n"
LIMITS = "limits:\n  sessions_per_minute: 1000\n  session_burst: 1000\n"
PATIENCE = 240  # for a command to end; the deadlines above are far shorter

_ports_lock = threading.Lock()
_ports = set()


def own_port():
    """A port that no other cell of this process was given, and no outgoing connection gets while the relay is dead."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first = int(f.read().split()[0])
    with _ports_lock:
        while True:
            p = random.randrange(min(10000, first // 2), first)
            if p not in _ports and _is_free(p):
                _ports.add(p)
                return p


def _is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


class Command:
    """One `handfast pair` with --json, its number answered by answer()."""

    def __init__(self, host, *args):
        self.host = host
        self.killed = False
        self.events = []
        self.cond = threading.Condition()
        self.ended = False
        self.proc = host.command("--json", "pair", "--sas-file", "-", *args, stdin=subprocess.PIPE)
        self.err = ""
        self.readers = [threading.Thread(target=t, daemon=True) for t in (self._read, self._read_err)]
        for t in self.readers:
            t.start()

    def _read(self):
        for line in self.proc.stdout:
            try:
                e = json.loads(line)
            except ValueError:
                e = {"event": "noise", "text": line}
            with self.cond:
                self.events.append(e)
                self.cond.notify_all()
        with self.cond:
            self.ended = True
            self.cond.notify_all()

    def _read_err(self):
        self.err = self.proc.stderr.read()

    def get(self, member, timeout=60):
        """The value of the first event that has it; None when the command ends without."""
        end = time.monotonic() + timeout
        with self.cond:
            while True:
                for e in self.events:
                    if member in e:
                        return e[member]
                if self.ended or time.monotonic() > end:
                    return None
                self.cond.wait(0.2)

    def answer(self, digits):
        try:
            self.proc.stdin.write(digits + "\n")
            self.proc.stdin.flush()
        except OSError:
            pass

    def kill(self):
        self.killed = True
        self.proc.kill()

    def end(self, timeout=PATIENCE):
        """Whether it ended in time by itself."""
        try:
            self.proc.wait(timeout)
            for t in self.readers:
                t.join(10)
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def close(self):
        for f in (self.proc.stdin, self.proc.stdout, self.proc.stderr):
            try:
                f.close()
            except OSError:
                pass

    @property
    def last(self):
        with self.cond:
            return self.events[-1] if self.events else {}

    def acknowledged(self):
        """The state that it ended with, when it ended well."""
        if self.killed or self.proc.returncode != 0:
            return None
        return self.last.get("result", {}).get("peer", {}).get("state")

    def wrong(self):
        """What is not as it should be with how it ended, or None."""
        if self.killed:
            return None
        if self.proc.returncode == 0:
            return None if self.acknowledged() else f"exit 0 without a peer: {self.last}"
        if self.proc.returncode < 0:
            return f"died of signal {-self.proc.returncode}"
        e = self.last.get("error", {})
        return None if e.get("code") and e.get("message") else f"no clear error: {self.last} {self.err}"


class Pairing:
    """One run of both commands through lines of their own; the comparing is done as it comes."""

    def __init__(self, cell, hold=None, more_a=(), more_b=()):
        """hold: {"a": seq, "b": seq}."""
        self.cell = cell
        self.lines = {"a": Line(cell.port), "b": Line(cell.port)}
        for name, seq in (hold or {}).items():
            self.lines[name].hold = seq
        self.b = None
        self.code = self.pin = None
        self.a = Command(cell.a, "--relay", f"127.0.0.1:{self.lines['a'].port}", *more_a)
        self.more_b = more_b
        self.pin_path = os.path.join(cell.b.dir, "pin")
        # Children die with the thread that made them: not in a thread of its own.
        self.pin, invitation = self.a.get("pin"), self.a.get("invitation")
        if invitation:
            self.code = invitation.split("@")[0]
            with open(self.pin_path, "w") as f:
                f.write(self.pin)
            self.b = self.join()
            threading.Thread(target=self._compare, daemon=True).start()

    def _compare(self):
        choices = [c.get("choices") for c in (self.a, self.b)]
        if None not in choices:
            number = set(choices[0]) & set(choices[1])
            for c in (self.a, self.b):
                c.answer(next(iter(number), "none"))

    def join(self):
        return Command(self.cell.b, f"{self.code}@127.0.0.1:{self.lines['b'].port}", "--pin-file", self.pin_path,
                       *self.more_b)

    def commands(self):
        return [c for c in (self.a, self.b) if c]

    def end(self, timeout=PATIENCE):
        """What is wrong with how the commands ended, a list."""
        wrong = []
        for c in self.commands():
            if not c.end(timeout):
                wrong.append(f"{c.host.name} hangs after {c.last}")
            elif w := c.wrong():
                wrong.append(f"{c.host.name}: {w}")
        return wrong

    def acknowledged(self):
        return {n: c.acknowledged() for n, c in (("a", self.a), ("b", self.b)) if c}

    def close(self):
        for c in self.commands():
            if c.proc.poll() is not None:
                c.close()
        for line in self.lines.values():
            line.close()


class Cell:
    def __init__(self, net, name, step="40s", env=None, relay_env=None):
        """env: {"a": {...}, "b": {...}} of the pairing daemons, relay_env of the relay, until it is started again."""
        self.net, self.name, self.step = net, name, step
        with _ports_lock:
            self.a, self.b, self.r = (net.host(f"{name}-{x}") for x in ("a", "b", "r"))
        self.hosts = {"a": self.a, "b": self.b}
        self.port = own_port()
        self.env = env or {}
        self.start_relay(env=relay_env)
        for x in "ab":
            self.start_pairingd(x)
        self.keys = {x: base64.b64decode(self.identity(x)["public_key"]) for x in "ab"}

    def start_relay(self, **kw):
        self.r.start("relayd", config=f'listen: ["127.0.0.1:{self.port}"]\n' + LIMITS, timeout=60, **kw)

    def start_pairingd(self, x, **kw):
        kw.setdefault("env", self.env.get(x))
        self.hosts[x].start("pairingd", config=f"device_name: {x}\n" + DEADLINES.format(step=self.step), timeout=60, **kw)

    def start_pskd(self, x, **kw):
        self.hosts[x].start("pskd", config="start_paired: no\n", timeout=60, **kw)

    def identity(self, x):
        path = os.path.join(self.hosts[x].runtime, "pairingd.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(60)
            s.connect(path)
            s.sendall(json.dumps({"method": "io.handfast.Pairing.Identity", "parameters": {}}).encode() + b"\0")
            data = b""
            while not data.endswith(b"\0"):
                data += s.recv(65536)
        return json.loads(data[:-1])["parameters"]

    def read(self, x):
        h = self.hosts[x]
        return Device(h.state("pairingd"), h.state("pskd"))

    def peers(self, x):
        r = self.hosts[x].handfast("--json", "peers")
        return r.json["result"]["peers"] if r.code == 0 else None

    def judge(self, earlier, acknowledged):
        return judge(self.read("a"), self.read("b"), self.keys["a"], self.keys["b"], earlier, acknowledged)

    def pair(self):
        """A pairing that nothing disturbs: (tunnel id, what is wrong)."""
        before = self.read("a").tunnel_ids() | self.read("b").tunnel_ids()
        p = Pairing(self)
        wrong = p.end()
        said = p.acknowledged()
        p.close()
        if said != {"a": "active", "b": "active"}:
            return None, wrong + [f"not paired: {said} {p.a.last} {p.b.last if p.b else ''}"]
        a, b = self.read("a"), self.read("b")
        new = (a.tunnel_ids() & b.tunnel_ids()) - before
        if len(new) != 1 or a.tunnel_ids() != new or b.tunnel_ids() != new:
            return None, wrong + [f"stored {a.pairings} {b.pairings}"]
        t = new.pop()
        _, more = judge(a, b, self.keys["a"], self.keys["b"], None, said)
        return t, wrong + more

    def seen(self, x, peer_key_of, tunnel_id):
        """What pskd says when the tunnel's first authenticated message came; the status of the answer."""
        from pairing_store import peer_id
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(60)
            s.connect(os.path.join(self.hosts[x].runtime, "identity.sock"))
            s.send(bytes([4]) + struct.pack(">I", 1) + peer_id(self.keys[peer_key_of]) + tunnel_id)
            while (d := s.recv(8192)) and d[0] < 128:
                pass
            return d[5] if d else None

    def close(self):
        for h in (self.a, self.b, self.r):
            for d in h.daemons.values():
                d.kill()
