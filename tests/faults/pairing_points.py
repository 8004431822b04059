"""What the scenarios are made of: points tried some at a time, the verdict after each, and what breaks a daemon
or the disk below it."""
import collections
import concurrent.futures
import os
import random
import resource
import struct
import time
import traceback

import lab
from pairing_cell import Pairing

AT_A_TIME = 5


class Tally:
    """Points tried and what became of them; one claim in the end."""

    def __init__(self, claim, guesses=None):
        """guesses: the claim that is made of what is wrong with secrets, apart."""
        self.claim, self.guesses = claim, guesses
        self.count = collections.Counter()
        self.wrong = []

    def add(self, verdict, wrong, point):
        self.count["points"] += 1
        self.count[verdict] += 1
        self.wrong += [f"{point}: {w}" for w in wrong]

    def done(self):
        if self.guesses:
            bad = [w for w in self.wrong if "I3 " in w]
            self.wrong = [w for w in self.wrong if "I3 " not in w]
            print(f"# {self.guesses}: points {self.count['points']}, wrong {len(bad)}", flush=True)
            lab.check(self.guesses, not bad, "; ".join(bad))
        print(f"# {self.claim}: " + ", ".join(f"{k} {self.count[k]}" for k in
              ["points", *sorted(set(self.count) - {"points"})]), flush=True)
        for w in self.wrong[:20]:
            print(f"# {self.claim}: {w}", flush=True)
        reached = self.count["points"] - self.count["not reached"]
        lab.check(self.claim, not self.wrong and reached, "; ".join(self.wrong) or "no point was reached")


def each(points, run, tally, at_a_time=AT_A_TIME):
    """run(point) → (verdict, wrong), several at a time."""
    def one(point):
        try:
            return point, *run(point)
        except Exception:
            return point, "broken", [traceback.format_exc(limit=4)]
    with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
        try:
            for point, verdict, wrong in pool.map(one, points):
                tally.add(verdict, wrong, point)
        except BaseException:  # asked to end: what has begun does, what waits does not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def sweep(net, seed, points, run, prefix, *claims):
    """run(net, name, point, with_earlier) at every point; a third of them have an earlier pairing."""
    rng = random.Random(seed)
    jobs = [(f"{prefix}{i}", point, rng.random() < 0.35) for i, point in enumerate(points)]
    tally = Tally(*claims)
    each(jobs, lambda j: run(net, *j), tally)
    tally.done()


# ---- after the fault ----

def shown_as_stored(shown, x, d, wrong):
    """What people were told is what is stored."""
    rows = {r["tunnel_id"]: r for r in d.pairings}
    if shown is None or len(shown) != (1 if rows else 0):
        wrong.append(f"{x} shows {shown}")
    elif shown:
        active = any(r["active"] for r in rows.values())
        if (shown[0]["state"] == "active") != active or shown[0]["newer_unconfirmed"] != (active and len(rows) > 1):
            wrong.append(f"{x} shows {shown[0]['state']} {shown[0]['newer_unconfirmed']} for {len(rows)} rows")


def settle(cell, earlier, pairing, wrong):
    """The verdict on two devices that run again, and that they recover."""
    shown = {x: cell.peers(x) for x in "ab"}
    a, b = cell.read("a"), cell.read("b")
    verdict, more = cell.judge(earlier, pairing.acknowledged())
    wrong += more
    for x, d in (("a", a), ("b", b)):
        # I3: a guess has left only when its PIN was spent on the disk, and at most one for each PIN.
        if pairing.lines[x].guesses() > 1:
            wrong.append(f"I3 {x} guessed {pairing.lines[x].guesses()} times with one PIN")
        if pairing.lines[x].guesses() and pairing.code and not d.is_spent(pairing.code):
            wrong.append(f"I3 {x} guessed and the PIN is not spent")
        shown_as_stored(shown[x], x, d, wrong)
    return verdict, a, b


def second_guess(cell, pairing, wrong):
    """The same code and PIN once more, as a person would try it: nobody answers, nothing is guessed."""
    if not pairing.code:
        return
    before = {x: pairing.lines[x].guesses() for x in "ab"}
    p = Pairing.__new__(Pairing)
    p.__dict__.update(pairing.__dict__)
    again = p.join()
    if not again.end():
        wrong.append("joining once more hangs")
    elif again.proc.returncode == 0:
        wrong.append("I3 joining once more with a used PIN succeeds")
    elif w := again.wrong():
        wrong.append(f"joining once more: {w}")
    for x in "ab":
        if pairing.lines[x].guesses() > 1 or (before[x] and pairing.lines[x].guesses() > before[x]):
            wrong.append(f"I3 {x} made a second guess with one PIN")
    again.close()


def confirm(cell, a, b, earlier, wrong):
    """A side that is unconfirmed becomes active with the peer's first authenticated message."""
    for t in (a.tunnel_ids() & b.tunnel_ids()) - {earlier}:
        for x, d, peer in (("a", a, "b"), ("b", b, "a")):
            if not d.row(t)["active"] and cell.seen(x, peer, t) != 0:
                wrong.append(f"{x} does not become active with the peer's message")
        if cell.judge(earlier, {"a": "active", "b": "active"}) != ("agree", []):
            wrong.append(f"not agreed after the peer's message: {cell.judge(earlier, {})}")


def move_roots(cell, wrong):
    """pskd comes: the root is in its ledger on both sides, and in no file of pairingd's."""
    before = {x: cell.read(x) for x in "ab"}
    for x in "ab":
        if "pskd" not in cell.hosts[x].daemons or not cell.hosts[x].daemons["pskd"].alive():
            cell.start_pskd(x)
    for x in "ab":
        rows = [r for r in before[x].pairings if r["root"]]
        if not lab.wait_for(lambda: not any(r["root"] for r in cell.read(x).pairings), 60, 0.1):
            wrong.append(f"{x}: a root is in two places")
            continue
        after = cell.read(x)
        for r in rows:
            if after.ledgers.get(r["tunnel_id"]) != before[x].hello(r["tunnel_id"]):
                wrong.append(f"{x}: the root that was moved is not in pskd's ledger")
            # Moved first, then overwritten: both before the next word of pskd's is answered.
            if not lab.wait_for(lambda: not cell.read(x).holds(r["root"]), 60, 0.1):
                wrong.append(f"{x}: a moved root is still in {cell.read(x).holds(r['root'])}")


def recover(cell, pairing, earlier, a, b, wrong, code_again=True):
    if code_again:
        second_guess(cell, pairing, wrong)
    confirm(cell, a, b, earlier, wrong)
    t, more = cell.pair()
    wrong += [f"the next pairing: {w}" for w in more]
    if t:
        move_roots(cell, wrong)


def conclude(cell, pairing, earlier, wrong, code_again=True):
    """What a point ends with: both devices judged as they are, and all of it recovers. The verdict."""
    verdict, a, b = settle(cell, earlier, pairing, wrong)
    recover(cell, pairing, earlier, a, b, wrong, code_again)
    pairing.close()
    return verdict


# ---- what breaks ----

def strike(cell, p, victim):
    """kill -9."""
    what, _, x = victim.partition("-")
    if what == "handfast":
        (p.a if x == "a" else p.b).kill()
    elif what == "pairingd":
        cell.hosts[x].daemons["pairingd"].kill()
    elif what == "relayd":
        cell.r.daemons["relayd"].kill()
    elif what == "line":
        for line in p.lines.values():
            line.drop()


def revive(cell, victim):
    what, _, x = victim.partition("-")
    if what == "pairingd":
        cell.start_pairingd(x)
    elif what == "relayd":
        cell.start_relay()


def is_sanitized():
    """Its own allocator ends the program where memory does, and reserves terabytes."""
    with open(os.path.join(lab.BUILD, "bin/pairingd"), "rb") as f:
        return b"__asan_init" in f.read()


def preload(name):
    return {"LD_PRELOAD": os.path.join(lab.BUILD, "tests/tools", name),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


class Disk:
    """The disk below one daemon, as tests/tools/fault-powercut.c plays it."""

    def __init__(self, net, host_name, daemon):
        self.path = os.path.join(net.dir, f"{host_name}-{daemon}.disk")
        self.log_path = self.path + ".log"
        with open(self.path, "wb") as f:
            f.write(bytes(32))
        self.env = {**preload("fault-powercut.so"),
                    "POWERCUT_PATH": f"{host_name}/state/{daemon}", "POWERCUT_CONTROL": self.path,
                    "POWERCUT_LOG": self.log_path}

    def arm(self, at, how=0, seed=0):
        with open(self.path, "r+b") as f:
            f.write(struct.pack("=4q", at, 0, how, seed))

    def mend(self):
        self.arm(0)

    def count(self):
        with open(self.path, "rb") as f:
            return struct.unpack("=4q", f.read(32))[1]

    def is_quiet(self):
        """Nothing is written any more."""
        before = self.count()
        time.sleep(0.5)
        return self.count() == before

    def log(self):
        """What was done, in order: write, sync, truncate …"""
        with open(self.log_path) as f:
            return [line.split()[1] for line in f]


def wait_for_death(cell, x, daemon, timeout, stop):
    d = cell.hosts[x].daemons[daemon]
    return lab.wait_for(lambda: not d.alive() or stop(), timeout, 0.05) and not d.alive()


class Control:
    """tests/tools/fault-inject.c around a daemon."""

    def __init__(self, net, name, faults="", seed=1):
        self.path = os.path.join(net.dir, f"{name}.control")
        self.set(0, 0)
        self.env = {**preload("fault-inject.so"), "FAULT_CONTROL": self.path,
                    "FAULT_SEED": str(seed), **({"FAULTS": faults} if faults else {})}

    def set(self, on, clock_s):
        mode = "r+b" if os.path.exists(self.path) else "wb"
        with open(self.path, mode) as f:
            f.write(struct.pack("=2q", on, clock_s))


def limit_of(pid, what, spare):
    """(limit, size): spare more than is in use."""
    if what == "descriptors":
        return resource.RLIMIT_NOFILE, max(int(n) for n in os.listdir(f"/proc/{pid}/fd")) + 1 + spare
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    if what == "locked memory":
        return resource.RLIMIT_MEMLOCK, int(status["VmLck"].split()[0]) * 1024 + spare
    return resource.RLIMIT_AS, int(status["VmSize"].split()[0]) * 1024 + spare
