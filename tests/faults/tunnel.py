"""Two pskd with a tunnel, traffic through it, a recorder on their wire, and disks that can lose power: what the
tunnel's fault scenarios are made of. Scenarios run side by side, each a process with namespaces and mounts of its
own (run_all)."""
import ctypes
import hashlib
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import traceback

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import lab
import psk2
import recorder
import state

PORT, ECHO_PORT = 7200, 9000
SLOTS = 20000  # a key file of 20 million packets: what a fault gives up is far from one percent
INJECT = os.path.join(lab.BUILD, "tests", "tools", "fault-inject.so")
RECOVERY = 60  # seconds: what any one recovery may take on a loaded machine
RECOVERY_MEDIAN, RECOVERIES = 10, 5  # what half of them may take, where there are at least so many; mostly it is one



def injected(**settings):
    """The environment of a daemon that fault-inject.so looks after."""
    env = {k: str(v) for k, v in settings.items()}
    env.update(LD_PRELOAD=INJECT, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
    return env


# ---- pairingd, played ---------------------------------------------------------------------------

SIGN, TAKE_ROOT, ROOT_STORED, PEER_SEEN, WHOAMI, EVENT_ROOT, EVENT_PAIRINGS = 1, 2, 3, 4, 5, 16, 19


def lv(b):
    return struct.pack(">H", len(b)) + b


def public(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def peer_id(key_bytes):
    return hashlib.sha256(key_bytes).digest()[:16]


class Identity:
    """The identity socket of a device that has one pairing: signs, and moves its root once."""

    def __init__(self, host, key):
        self.host, self.key, self.peers, self.roots = host, key, {}, {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(os.path.join(host.runtime, "identity.sock"))
        self.listener.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def give(self, name, peer_public, role, tunnel_id, root, own_port, peer_port, candidates):
        i = peer_id(peer_public) + tunnel_id
        self.peers[i] = name
        self.roots[i] = (peer_id(peer_public) + lv(name.encode()) + bytes([role]) + public(self.key) + peer_public +
                         tunnel_id + root + struct.pack(">HHB", own_port, peer_port, len(candidates)) +
                         b"".join(lv(c.encode()) for c in candidates))

    def _serve(self):
        while True:
            try:
                conn, _ = self.listener.accept()
                conn.send(bytes([EVENT_PAIRINGS]) + bytes(4) + bytes(1) +
                          b"".join(i + lv(n.encode()) for i, n in self.peers.items()))
                for i in list(self.roots):
                    conn.send(bytes([EVENT_ROOT]) + bytes(4) + i)
            except OSError:
                continue
            threading.Thread(target=self._talk, args=(conn,), daemon=True).start()

    def _talk(self, conn):
        try:
            while msg := conn.recv(4096):
                conn.send(bytes([msg[0] | 0x80]) + msg[1:5] + self._answer(msg[0], msg[5:]))
        except OSError:
            pass

    def _answer(self, kind, body):
        if kind == SIGN:
            return b"\0" + self.key.sign(lv(b"handfast tunnel handshake") + body[2:])
        if kind == TAKE_ROOT:
            return b"\0" + self.roots[body] if body in self.roots else b"\2"
        if kind == ROOT_STORED:
            self.roots.pop(body, None)
        if kind == WHOAMI:
            return b"\0" + public(self.key) + lv(self.host.name.encode())
        return b"\0"


# ---- disks --------------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)


def own_mounts():
    """What this process mounts from here on nobody else sees, and it is gone with it."""
    if _libc.unshare(0x00020000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rslave", "/"], check=True)


class Disk:
    """An ext4 image where a folder was. cut() is a power cut: what had not reached the image is gone."""

    def __init__(self, folder, image, size_mib=16):
        self.folder, self.image, self.cuts = folder, image, 0
        with open(image, "wb") as f:
            f.truncate(size_mib << 20)
        lab._run("mkfs.ext4", "-q", "-O", "^metadata_csum_seed", image)
        os.makedirs(folder, exist_ok=True)
        self._mount()
        os.chmod(folder, 0o700)
        shutil.rmtree(os.path.join(folder, "lost+found"), ignore_errors=True)
        # This one alone: a sync of everything would save another scenario's disk from its power cut.
        lab._run("sync", "-f", folder)

    def _mount(self):
        # Long commit and no barrier of time: nothing reaches the image but what somebody asked for.
        lab._run("mount", "-o", "loop,commit=600,errors=remount-ro", self.image, self.folder)

    def freeze(self):
        """A copy of what is on the image now. Nobody may run that would write."""
        self.cuts += 1
        copy = f"{self.image}.{self.cuts}"
        lab._run("cp", "--sparse=always", self.image, copy)
        return copy

    def restart(self, copy):
        """The machine is on again, with what was on the image then."""
        lab._run("umount", "-l", self.folder)
        old, self.image = self.image, copy
        self._mount()
        os.unlink(old)

    def unmount(self):
        lab._run("umount", "-l", self.folder, check=False)


# ---- traffic ------------------------------------------------------------------------------------

class Traffic:
    """TCP through the tunnel, both ways: chunks of seeded size go there and come back, and must be the same. A
    connection that dies is replaced; a wrong byte is a failure."""

    def __init__(self, hosts, addresses, seed, port=ECHO_PORT):
        self.done, self.wrong, self.connections, self.stopped = [0, 0], 0, 0, False
        self.pause = (0.002, 0.025)
        self.port, self.listeners = port, []
        for h in hosts:
            s = psk2.socket_in(h, socket.AF_INET, socket.SOCK_STREAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("0.0.0.0", port))
            s.listen(16)
            self.listeners.append(s)
            threading.Thread(target=self._accept, args=(s,), daemon=True).start()
        for i, h in enumerate(hosts):
            threading.Thread(target=self._talk, args=(i, h, addresses[1 - i], random.Random(seed * 2 + i)),
                             daemon=True).start()

    def _accept(self, listener):
        while not self.stopped:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(conn,), daemon=True).start()

    def _echo(self, conn):
        conn.settimeout(90)
        try:
            while data := conn.recv(65536):
                conn.sendall(data)
        except OSError:
            pass
        conn.close()

    def _talk(self, i, host, address, r):
        while not self.stopped:
            s = psk2.socket_in(host, socket.AF_INET, socket.SOCK_STREAM)
            try:
                s.settimeout(1.0)
                s.connect((address, self.port))
                s.settimeout(8.0)
                self.connections += 1
                while not self.stopped:
                    self._exchange(i, s, r)
            except OSError:
                time.sleep(0.05)
            s.close()

    def _exchange(self, i, s, r):
        data = r.randbytes(r.choice((100, 1000, 10000, 40000)))
        s.sendall(data)
        got = b""
        while len(got) < len(data):
            more = s.recv(65536)
            if not more:
                raise OSError("closed")
            got += more
        self.wrong += got != data
        self.done[i] += len(data)
        time.sleep(r.uniform(*self.pause))

    def flows(self, timeout=RECOVERY):
        """Seconds until bytes that are sent from now on came back, in both directions; None: not in time."""
        start, before = time.monotonic(), list(self.done)
        # The chunk that is under way may have been answered before: two of them.
        ok = lab.wait_for(lambda: all(d > b for d, b in zip(self.done, before)), timeout, 0.01)
        return time.monotonic() - start if ok else None

    def stop(self):
        self.stopped = True
        for s in self.listeners:
            s.close()


# ---- the pair -----------------------------------------------------------------------------------

class GappyRecording(Exception):
    """Some packets were not seen, which is nobody's fault but says nothing either: the scenario runs once more."""


class Pair:
    """Hosts a (initiator) and b with one tunnel t of a kind: keyfile, pairing or prototype; settings: of pskd.yaml, each."""

    def __init__(self, net, kind, seed, disk=None, more_hosts=(), env=None, settings=("", "")):
        self.net, self.kind, self.seed, self.random = net, kind, seed, random.Random(seed)
        self.env = env or {}
        self.a, self.b = net.host("a", netns=True), net.host("b", netns=True)
        self.hosts = [self.a, self.b]
        self.others = [net.host(n, netns=True) for n in more_hosts]
        if self.others:
            net.bridge("hub", [(h, f"10.99.0.{i + 1}/24") for i, h in enumerate([*self.hosts, *self.others])])
        else:
            net.link(self.a, "10.99.0.1/24", self.b, "10.99.0.2/24")
        self.disks, self.recoveries, self.config = {}, [], dict(zip(self.hosts, settings))
        for h in self.hosts:
            # As /run is.
            lab._run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "hf-run", h.runtime)
            os.makedirs(h.state("pskd"), mode=0o700)
            if disk:
                self.disks[h] = disk(h)
        self._declare_keyfile() if kind != "pairing" else self._declare_pairing()
        taps = [(h, "eth0") for h in [*self.hosts, *self.others]]
        if kind != "pairing":
            key = recorder.KeyFile(os.path.join(self.a.dir, "key"), kind == "prototype")
            self.recorder = recorder.Recorder([key], taps)
        for h in self.hosts:
            h.start("tund")
            self.start(h)
        if kind == "pairing":
            self.recorder = recorder.Recorder([self._ratchet()], taps)
            for h, timeout in ((self.a, "1s"), (self.b, "20s")):
                h.handfast("tunnel", "up", "t", "--timeout", timeout)
        if not all(lab.wait_for(lambda h=h: self.show(h)["state"] == "up", 30, 0.05) for h in self.hosts):
            raise RuntimeError(f"not up: {[self.show(h) for h in self.hosts]}")
        self.addresses = [next(x.split("/")[0] for x in self.show(h)["local_addresses"] if "." in x) for h in self.hosts]
        self.ledgers = {h: os.path.basename(state.ledger_paths(h.state("pskd"))[0]) for h in self.hosts}
        self.began = time.monotonic()
        self.traffic = Traffic(self.hosts, self.addresses, seed)
        if self.traffic.flows() is None:
            raise RuntimeError(f"nothing flows: {[self.show(h) for h in self.hosts]}")

    def _declare_keyfile(self):
        data = random.Random(self.seed ^ 0x5eed).randbytes(psk2.SLOT * SLOTS)
        for i, h in enumerate(self.hosts):
            self.write_key(h, data)
            self.declare(h, ("initiator", "responder")[i], i)

    def write_key(self, h, data):
        with open(os.open(os.path.join(h.dir, "key"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as f:
            f.write(data)

    def declare(self, h, role, i):
        members = dict(key_file=os.path.join(h.dir, "key"), role=role, listen=PORT, keepalive="5s",
                       endpoint=f"10.99.0.{2 - i}:{PORT}", local_address=f"10.9.0.{1 + i}/30",
                       peer_address=f"10.9.0.{2 - i}")
        if self.kind == "prototype":
            members["peer"] = "prototype"
        with open(os.path.join(h.etc, "tunnels", "t.yaml"), "w") as f:
            f.writelines(f"{k}: {v}\n" for k, v in members.items())

    def _declare_pairing(self):
        r = random.Random(self.seed ^ 0x1de)
        self.tunnel_id, self.root = tunnel_id, root = r.randbytes(16), r.randbytes(32)
        self.identities = {h: Identity(h, Ed25519PrivateKey.from_private_bytes(r.randbytes(32))) for h in self.hosts}
        ia, ib = (self.identities[h] for h in self.hosts)
        ia.give("t", public(ib.key), 0, tunnel_id, root, PORT, PORT + 1, ("10.99.0.2",))
        ib.give("t", public(ia.key), 1, tunnel_id, root, PORT + 1, PORT, ("10.99.0.1",))
        self.config = {h: "start_paired: false\n" + self.config[h] for h in self.hosts}

    def _ratchet(self):
        """What the keys will be: made of root and tunnel id alone, and what both ledgers must say so far."""
        chains = tuple(recorder.hkdf(self.root, b"handfast ratchet %d" % d, self.tunnel_id) for d in (0, 1))
        lab.wait_for(lambda: all(state.ledger_paths(h.state("pskd")) for h in self.hosts), 20)
        ledgers = [state.Ledger.read(state.ledger_paths(h.state("pskd"))[0]) for h in self.hosts]
        if any(x.newest["tx_reserved"] or x.newest["rx_mark"] for x in ledgers):
            raise RuntimeError("the root was used before the recorder began")
        wrong = [h.name for h, x in zip(self.hosts, ledgers) if x.chains() != chains]
        lab.check("ledgers_begin_with_the_root_of_the_pairing", not wrong, wrong)
        return recorder.Ratchet(*chains)

    # ---- daemons
    def start(self, h, env=None, wrapper=(), timeout=30):
        return h.start("pskd", config=self.config.get(h, ""), env=dict(self.env, **(env or {})), wrapper=wrapper,
                       timeout=timeout)

    def pskd(self, h):
        return h.daemons["pskd"]

    def show(self, h, name="t"):
        r = h.handfast("--json", "tunnel", "show", name, timeout=20)
        return r.json["result"]["tunnel"] if r.code == 0 else {"state": f"no answer: {r.err} {r.out}"}

    def kill(self, *hosts):
        """kill -9, all at one moment."""
        self.began = time.monotonic()
        for h in hosts:
            self.pskd(h).proc.send_signal(signal.SIGKILL)
        for h in hosts:
            self.pskd(h).kill()

    def freeze(self, h):
        """SIGSTOP, and no thread of it runs any more."""
        pid = self.pskd(h).pid
        os.kill(pid, signal.SIGSTOP)
        lab.wait_for(lambda: all(_stat(pid, t) in "TtD" for t in os.listdir(f"/proc/{pid}/task")), 5, 0.001)

    # ---- what must hold
    def ledger(self, h):
        return state.Ledger.read(os.path.join(h.state("pskd"), "ledgers", self.ledgers[h]))

    def mark_holds(self, h):
        """The disk says at least what the wire saw of h; nothing of h may run. "" or why not."""
        if not self.recorder.settle():
            return f"{h.name}: the recorder has not seen everything: {self.recorder.book.verdict}"
        sent, mark = self.recorder.highest(h.name), self.ledger(h).mark
        return "" if mark is not None and mark > sent else f"{h.name}: {sent} was sent and the ledger says {mark}"

    def recovers(self, timeout=RECOVERY):
        """Traffic flows again; how long it took since self.began is noted. False: it does not."""
        ok = self.traffic.flows(timeout) is not None
        self.recoveries.append(time.monotonic() - self.began)
        return ok

    def check_recovers(self, claim, timeout=RECOVERY):
        ok = self.recovers(timeout)
        return lab.check(claim, ok, "" if ok else self.shows())

    def shows(self):
        return " ".join(f"{h.name}: {({k: v for k, v in self.show(h).items() if k in KEEP})} {self.pskd(h).log()[-300:]}"
                        for h in self.hosts)

    def recording(self):
        """The recorder's word on all of this pair's life. GappyRecording: it cannot give one."""
        self.traffic.stop()
        v = self.recorder.stop()
        if v.is_gappy():
            raise GappyRecording(str(v))
        return v

    def verdict(self, claim, least_packets=100):
        v = self.recording()
        times = sorted(self.recoveries)
        if times:
            print(f"# {claim}: back after {statistics.median(times):.2f} s (median of {len(times)}), "
                  f"{times[-1]:.2f} s at worst")
        if len(times) >= RECOVERIES:
            lab.check(f"tcp_is_back_within_seconds_{claim}", statistics.median(times) <= RECOVERY_MEDIAN,
                      " ".join(f"{t:.1f}" for t in times))
        print(f"# {claim}: {v}; {sum(self.traffic.done)} bytes there and back in {self.traffic.connections} connections")
        sound = v.is_sound() and v.packets >= least_packets
        lab.check(f"recorder_knows_every_key_{claim}", sound, v)
        # Of a packet that it could not open, or did not see, nobody knows whether it repeats.
        lab.check(f"i1_no_pair_repeats_{claim}", sound and not v.repeats, f"{v}: {v.repeats[:5]}")
        lab.check(f"every_byte_is_right_{claim}", self.traffic.wrong == 0, self.traffic.wrong)
        return v


KEEP = ("state", "problem", "rollback", "drops", "received", "sent")


def _stat(pid, tid):
    try:
        with open(f"/proc/{pid}/task/{tid}/stat") as f:
            return f.read().rsplit(") ", 1)[1][0]
    except OSError:
        return "T"


# ---- many at once -------------------------------------------------------------------------------

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TRIES, GAPPY = 3, 75  # how often a scenario may be tried; EX_TEMPFAIL
CLEANING = 9  # seconds for interrupted scenarios; tests/run waits 10 for all of it


def _hear(handler):
    for s in SIGNALS:
        signal.signal(s, handler)


def _leave(signo, frame):
    """Once: whoever cleans up is not interrupted again."""
    _hear(signal.SIG_IGN)
    sys.exit(128 + signo)


def run_all(scenarios, at_once):
    """scenarios: [(name, function(net))]. Each in a process of its own, at most so many at a time; what they print
    comes out whole. One whose recording has gaps gets two more tries. The number that failed."""
    waiting, running, failed = [(*s, TRIES) for s in scenarios], {}, 0

    def stop(signo, frame):
        """Each child cleans up after itself, as long as this one lives."""
        _hear(signal.SIG_IGN)
        left, end = set(running), time.monotonic() + CLEANING
        for p in left:
            os.kill(p, signal.SIGTERM)
        while left and time.monotonic() < end:
            left -= {p for p in left if _is_reaped(p, os.WNOHANG)}
            time.sleep(0.02)
        for p in left:
            os.kill(p, signal.SIGKILL)
            _is_reaped(p, 0)
        lab.sweep()
        os._exit(128 + signo)

    _hear(stop)
    sys.stdout.flush()
    while waiting or running:
        while waiting and len(running) < at_once:
            name, fn, tries = waiting.pop(0)
            out = os.memfd_create(name)
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            pid = os.fork()
            if pid == 0:
                _hear(_leave)
                _child(name, fn, out)
            running[pid] = name, fn, tries - 1, out, time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # A child stays a zombie until it is out of running, so that stop() never meets another's pid.
        pid = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid
        status = 0
        if pid in running:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            name, fn, tries, out, began = running.pop(pid)
            status = os.waitpid(pid, 0)[1]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        else:
            os.waitpid(pid, 0)
            continue
        text = os.pread(out, 1 << 24, 0).decode(errors="replace")
        os.close(out)
        if os.waitstatus_to_exitcode(status) == GAPPY and tries and "\nFAIL " not in "\n" + text:
            print(f"# {name}: once more, its recording has gaps: {text.splitlines()[-1]}", flush=True)
            waiting.append((name, fn, tries))
            continue
        failed += status != 0
        print(f"# {name}: {time.monotonic() - began:.1f} s\n{text}", end="", flush=True)
        if status != 0 and "\nFAIL " not in "\n" + text:
            print(f"FAIL {name}: ended with {status}", flush=True)
    return failed


def _is_reaped(pid, flags):
    try:
        return os.waitpid(pid, flags)[0] == pid
    except ChildProcessError:
        return True


def _child(name, fn, out):
    os.dup2(out, 1)
    net, code = None, 1
    try:
        lab._die_with_parent()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        own_mounts()
        net = lab.Lab()
        _hear(_leave)
        try:
            fn(net)
        except GappyRecording as e:
            print(f"# {e}")
            sys.exit(GAPPY)
        except Exception as e:  # pylint: disable=broad-except
            lab.fail(name, f"{e!r} {traceback.format_exc()[-400:]}")
        code = lab.finish()
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    except BaseException as e:  # pylint: disable=broad-except
        print(f"FAIL {name}: {e!r}")
    finally:
        _hear(signal.SIG_IGN)
        if net:
            net.close()
        sys.stdout.flush()
        os._exit(code)
