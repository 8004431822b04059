"""The scenarios. Each tries many points, some at a time, and makes one verdict of them, with counts."""
import collections
import concurrent.futures
import errno
import os
import random
import signal
import struct
import time
import traceback

import lab
from pairing_cell import Cell, Pairing
from pairing_wire import ROUNDS

AT_A_TIME = 6


class Tally:
    """Points tried and what became of them; one claim in the end."""

    def __init__(self, claim):
        self.claim = claim
        self.count = collections.Counter()
        self.wrong = []

    def add(self, verdict, wrong, point):
        self.count["points"] += 1
        self.count[verdict] += 1
        self.wrong += [f"{point}: {w}" for w in wrong]

    def done(self):
        print(f"# {self.claim}: " + ", ".join(f"{k} {self.count[k]}" for k in
              ["points", *sorted(set(self.count) - {"points"})]), flush=True)
        for w in self.wrong[:20]:
            print(f"# {self.claim}: {w}", flush=True)
        lab.check(self.claim, not self.wrong and self.count["points"], "; ".join(self.wrong) or "no point was tried")


def each(points, run, tally, at_a_time=AT_A_TIME):
    """run(point) → (verdict, wrong), several at a time."""
    def one(point):
        try:
            return point, *run(point)
        except Exception:
            return point, "broken", [traceback.format_exc(limit=4)]
    with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
        for point, verdict, wrong in pool.map(one, points):
            tally.add(verdict, wrong, point)


# ---- after the fault ----

def settle(cell, earlier, pairing, wrong):
    """The verdict on two devices that run again, and that they recover."""
    a, b = cell.read("a"), cell.read("b")
    verdict, more = cell.judge(earlier, pairing.acknowledged())
    wrong += more
    for x, d in (("a", a), ("b", b)):
        # I3: a guess has left only when its PIN was spent on the disk, and at most one for each PIN.
        if pairing.lines[x].guesses() > 1:
            wrong.append(f"{x} guessed {pairing.lines[x].guesses()} times with one PIN")
        if pairing.lines[x].guesses() and pairing.code and not d.is_spent(pairing.code):
            wrong.append(f"{x} guessed and the PIN is not spent")
        # What people are told is what is stored.
        rows = {r["tunnel_id"]: r for r in d.pairings}
        shown = cell.peers(x)
        if shown is None or len(shown) != (1 if rows else 0):
            wrong.append(f"{x} shows {shown}")
        elif shown:
            active = any(r["active"] for r in rows.values())
            if (shown[0]["state"] == "active") != active or shown[0]["newer_unconfirmed"] != (active and len(rows) > 1):
                wrong.append(f"{x} shows {shown[0]['state']} {shown[0]['newer_unconfirmed']} for {len(rows)} rows")
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
        wrong.append("joining once more with a used PIN succeeds")
    elif w := again.wrong():
        wrong.append(f"joining once more: {w}")
    for x in "ab":
        if pairing.lines[x].guesses() > 1 or (before[x] and pairing.lines[x].guesses() > before[x]):
            wrong.append(f"{x} made a second guess with one PIN")


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


# ---- kill between messages ----

def wire_points(everything=False):
    """(what is killed, whose message is held, its number, what becomes of the message)."""
    points = []
    for n in ROUNDS:
        for x in "ab":
            points.append((f"pairingd-{x}", x, n, "lost"))
            if n >= 7 or everything:
                points.append((f"pairingd-{x}", x, n, "delivered"))
            points.append((f"handfast-{x}", x, n, "delivered"))
            if everything:
                points.append((f"handfast-{x}", x, n, "lost"))
                points.append((f"pairingd-{'ba'['ab'.index(x)]}", x, n, "delivered"))
                points.append(("relayd", x, n, "lost"))
                points.append(("line", x, n, "lost"))
        if not everything:
            points.append(("relayd", "ab"[n % 2], n, "lost"))
            points.append(("line", "ba"[n % 2], n, "lost"))
    return points


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


def kill_at(net, name, point, with_earlier):
    victim, x, n, fate = point
    cell = Cell(net, name)
    wrong = []
    try:
        earlier = None
        if with_earlier:
            earlier, wrong = cell.pair()
        p = Pairing(cell, {x: n})
        other = "ba"["ab".index(x)]
        stop = lambda: p.a.ended or (p.b and p.b.ended)  # noqa: E731
        # Both have said all that they can without the one that waits.
        reached = p.lines[x].wait_sent(n, 60, stop) and p.lines[other].wait_sent(n, 60, stop)
        if not reached:
            return "broken", wrong + [f"not reached: {p.lines['a'].sent} {p.lines['b'].sent} {p.a.last}"]
        strike(cell, p, victim)
        for line in p.lines.values():
            line.pass_on() if fate == "delivered" else line.drop()
        wrong += p.end()
        revive(cell, victim)
        verdict, a, b = settle(cell, earlier, p, wrong)
        recover(cell, p, earlier, a, b, wrong)
        p.close()
        return verdict, wrong
    finally:
        cell.close()


def kill_between_messages(net, seed, points):
    rng = random.Random(seed)
    jobs = [(f"k{i}", point, rng.random() < 0.5) for i, point in enumerate(points)]
    tally = Tally("i9_killed_between_messages_both_agree_or_say_unconfirmed_and_recover")
    each(jobs, lambda j: kill_at(net, *j), tally)
    tally.done()


# ---- kill at a change of what is stored ----

class Disk:
    """The disk below one daemon, as tests/tools/fault-powercut.c plays it."""

    def __init__(self, net, host_name, daemon):
        self.path = os.path.join(net.dir, f"{host_name}-{daemon}.disk")
        self.log_path = self.path + ".log"
        with open(self.path, "wb") as f:
            f.write(bytes(32))
        self.env = {"LD_PRELOAD": os.path.join(lab.BUILD, "tests/tools/fault-powercut.so"),
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

    def log(self):
        """What was done, in order: write, sync, truncate …"""
        with open(self.log_path) as f:
            return [line.split()[1] for line in f]


def program(net):
    """What one pairing and the move of its root do to the store of each side: lists of words."""
    disks = {x: Disk(net, f"count-{x}", "pairingd") for x in "ab"}
    cell = Cell(net, "count", env={x: d.env for x, d in disks.items()})
    try:
        cell.pair()
        for d in disks.values():
            os.truncate(d.log_path, 0)
        cell.pair()
        move_roots(cell, [])
        return {x: d.log() for x, d in disks.items()}
    finally:
        cell.close()


def crash_points(done, everything=False, seeds=(0,)):
    """(side, change, how, seed). done: program()."""
    points = []
    for x in "ab":
        n = len(done[x])
        for i in range(1, n + 2):
            at_sync = i <= n and done[x][i - 1] == "sync"
            after_sync = i >= 2 and done[x][i - 2] == "sync"
            if everything:
                points += [(x, i, 0, 0), *((x, i, 1, seed) for seed in seeds)]
            elif at_sync or after_sync:
                # What is not synced is there, or is not; what is synced is there.
                points.append((x, i, i % 2 if at_sync else 1, seeds[0]))
    return points


def wait_for_death(cell, x, daemon, timeout, stop):
    d = cell.hosts[x].daemons[daemon]
    return lab.wait_for(lambda: not d.alive() or stop(), timeout, 0.05) and not d.alive()


def crash_at(net, name, point, with_earlier):
    x, at, how, seed = point
    disk = Disk(net, f"{name}-{x}", "pairingd")
    cell = Cell(net, name, env={x: disk.env})
    wrong = []
    try:
        earlier = None
        if with_earlier:
            earlier, wrong = cell.pair()
        disk.arm(at, how, seed)
        p = Pairing(cell)
        wrong += p.end()
        daemon = cell.hosts[x].daemons["pairingd"]
        if daemon.alive() and p.acknowledged() == {"a": "active", "b": "active"}:
            # It is to die later, when the root moves.
            for y in "ab":
                cell.start_pskd(y)
            wait_for_death(cell, x, "pairingd", 3, lambda: not any(r["root"] for y in "ab" for r in cell.read(y).pairings)
                           and disk.count() >= at)
        died = not daemon.alive()
        disk.mend()
        if died:
            if daemon.proc.returncode != -signal.SIGKILL:
                wrong.append(f"{x} ended with {daemon.proc.returncode}")
            cell.start_pairingd(x)
        verdict, a, b = settle(cell, earlier, p, wrong)
        recover(cell, p, earlier, a, b, wrong, code_again=died)
        p.close()
        return verdict if died else "not reached", wrong
    finally:
        cell.close()


def crash_in_store(net, seed, points):
    rng = random.Random(seed)
    jobs = [(f"c{i}", point, rng.random() < 0.5) for i, point in enumerate(points)]
    tally = Tally("i9_killed_at_each_change_of_the_store_what_was_acknowledged_is_there")
    each(jobs, lambda j: crash_at(net, *j), tally)
    tally.done()


def crash_at_first_start(net, name, at, how, seed):
    """Of a new device: whatever was made when it died, the next start is a whole one, and the key stays."""
    disk = Disk(net, f"{name}-a", "pairingd")
    host = net.host(f"{name}-a")
    disk.arm(at, how, seed)
    wrong, keys = [], []
    for _ in range(3):
        try:
            d = host.start("pairingd", config="device_name: a\n", env=disk.env, timeout=60)
        except RuntimeError:
            disk.mend()
            continue
        disk.mend()
        keys.append(host.handfast("--json", "status").out and read_key(host))
        d.kill()
    if len(keys) < 2 or len(set(keys)) != 1:
        wrong.append(f"starts {len(keys)}, identities {len(set(keys))}: {host.daemons and ''}")
    return "agree", wrong


def read_key(host):
    with open(os.path.join(host.state("pairingd"), "identity.key"), "rb") as f:
        return f.read()


# ---- kill at a change of what pskd stores ----

def crash_pskd_at(net, name, point):
    x, at, how, seed = point
    disk = Disk(net, f"{name}-{x}", "pskd")
    cell = Cell(net, name)
    wrong = []
    try:
        p = Pairing(cell)
        wrong += p.end()
        a, b = cell.read("a"), cell.read("b")
        roots = {y: {r["tunnel_id"]: (r["root"], d.hello(r["tunnel_id"])) for r in d.pairings} for y, d in (("a", a), ("b", b))}
        disk.arm(at, how, seed)
        died = False
        try:
            cell.start_pskd(x, env=disk.env)
            died = wait_for_death(cell, x, "pskd", 3, lambda: not any(r["root"] for r in cell.read(x).pairings))
        except RuntimeError:
            died = True
        disk.mend()
        now = cell.read(x)
        for t, (root, hello) in roots[x].items():
            # Erased here only once it is durable there.
            if not now.row(t)["root"] and now.ledgers.get(t) != hello:
                wrong.append(f"{x}: the root is erased and not in pskd's ledger")
        if not died:
            cell.hosts[x].daemons["pskd"].kill()
        cell.start_pskd(x)
        move_roots(cell, wrong)
        for y in "ab":
            d = cell.read(y)
            for t, (root, hello) in roots[y].items():
                if d.ledgers.get(t) != hello or d.holds(root):
                    wrong.append(f"{y}: the root did not move: {d.ledgers.get(t) == hello} {d.holds(root)}")
            names = [t.get("name") for t in d.tunnels.values()] if died else []
            if len(d.tunnels) != 1 or len(d.ledgers) != 1:
                wrong.append(f"{y}: {len(d.tunnels)} tunnels and {len(d.ledgers)} ledgers of one pairing {names}")
        p.close()
        return "moved" if died else "not reached", wrong
    finally:
        cell.close()


def pskd_changes(net):
    disk = Disk(net, "pcount-a", "pskd")
    cell = Cell(net, "pcount")
    try:
        cell.pair()
        cell.start_pskd("a", env=disk.env)
        lab.wait_for(lambda: not any(r["root"] for r in cell.read("a").pairings), 60, 0.1)
        return disk.count()
    finally:
        cell.close()


def crash_in_root_move(net, points):
    tally = Tally("i9_pskd_killed_at_each_change_a_root_is_never_lost_and_never_stays_in_two_places")
    each([(f"p{i}", point) for i, point in enumerate(points)], lambda j: crash_pskd_at(net, *j), tally)
    tally.done()


# ---- a disk that refuses ----

def refuse_at(net, name, point, with_earlier):
    x, at, number = point
    disk = Disk(net, f"{name}-{x}", "pairingd")
    cell = Cell(net, name, env={x: disk.env})
    wrong = []
    try:
        earlier = None
        if with_earlier:
            earlier, wrong = cell.pair()
        disk.arm(at, number)
        p = Pairing(cell)
        wrong += p.end()
        reached = disk.count() >= at
        if not cell.hosts[x].daemons["pairingd"].alive():
            wrong.append(f"{x} ended because of its disk")
            cell.start_pairingd(x)
        # What it says now is what it will still say after a restart.
        disk.mend()
        verdict, a, b = settle(cell, earlier, p, wrong)
        recover(cell, p, earlier, a, b, wrong)
        p.close()
        return verdict if reached else "not reached", wrong
    finally:
        cell.close()


def refusing_disk(net, seed, points, name):
    rng = random.Random(seed)
    jobs = [(f"{name[:2]}{i}", point, rng.random() < 0.5) for i, point in enumerate(points)]
    tally = Tally(f"i4_{name}_at_any_change_of_the_store_is_told_and_survived")
    each(jobs, lambda j: refuse_at(net, *j), tally)
    tally.done()
