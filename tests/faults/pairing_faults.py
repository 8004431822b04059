"""The scenarios. Each tries many points, some at a time, and makes one verdict of them, with counts."""
import collections
import concurrent.futures
import contextlib
import copy
import os
import random
import resource
import shutil
import signal
import socket
import struct
import time
import traceback

import lab
from pairing_cell import Cell, Pairing
from pairing_wire import ROUNDS

AT_A_TIME = 6


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
        for point, verdict, wrong in pool.map(one, points):
            tally.add(verdict, wrong, point)


# ---- after the fault ----

def shown_as_stored(cell, x, d, wrong):
    """What people are told is what is stored."""
    rows = {r["tunnel_id"]: r for r in d.pairings}
    shown = cell.peers(x)
    if shown is None or len(shown) != (1 if rows else 0):
        wrong.append(f"{x} shows {shown}")
    elif shown:
        active = any(r["active"] for r in rows.values())
        if (shown[0]["state"] == "active") != active or shown[0]["newer_unconfirmed"] != (active and len(rows) > 1):
            wrong.append(f"{x} shows {shown[0]['state']} {shown[0]['newer_unconfirmed']} for {len(rows)} rows")


def settle(cell, earlier, pairing, wrong):
    """The verdict on two devices that run again, and that they recover."""
    a, b = cell.read("a"), cell.read("b")
    verdict, more = cell.judge(earlier, pairing.acknowledged())
    wrong += more
    for x, d in (("a", a), ("b", b)):
        # I3: a guess has left only when its PIN was spent on the disk, and at most one for each PIN.
        if pairing.lines[x].guesses() > 1:
            wrong.append(f"I3 {x} guessed {pairing.lines[x].guesses()} times with one PIN")
        if pairing.lines[x].guesses() and pairing.code and not d.is_spent(pairing.code):
            wrong.append(f"I3 {x} guessed and the PIN is not spent")
        shown_as_stored(cell, x, d, wrong)
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
    """(what is killed, whose message is held, its number, what becomes of the message). Else each message of
    each side once, and at each number a command and either the relay or the line, the sides in turn."""
    points = []
    for n in ROUNDS:
        for x in "ab":
            points.append((f"pairingd-{x}", x, n, "lost"))
            if n >= 7 or everything:
                points.append((f"pairingd-{x}", x, n, "delivered"))
            if everything or x == "ab"[n % 2]:
                points.append((f"handfast-{x}", x, n, "delivered"))
            if everything:
                points.append((f"handfast-{x}", x, n, "lost"))
                points.append((f"pairingd-{'ba'['ab'.index(x)]}", x, n, "delivered"))
                points.append(("relayd", x, n, "lost"))
                points.append(("line", x, n, "lost"))
        if not everything:
            points.append((("relayd", "line")[n % 2], "ab"[n // 2 % 2], n, "lost"))
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
    jobs = [(f"k{i}", point, rng.random() < 0.35) for i, point in enumerate(points)]
    tally = Tally("i9_killed_between_messages_both_agree_or_say_unconfirmed_and_recover",
                  "i3_killed_between_messages_a_pin_is_spent_before_it_is_used_and_guessed_once")
    each(jobs, lambda j: kill_at(net, *j), tally)
    tally.done()


# ---- kill at a change of what is stored ----

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
    """(side, change, how, seed). done: program(). Else only around what is synced, the sides in turn."""
    if everything:
        return [(x, i, how, seed) for x in "ab" for i in range(1, len(done[x]) + 2)
                for how, seed in ((0, 0), *((1, seed) for seed in seeds))]
    words = done["a"]
    around = [i for i in range(1, len(words) + 2)
              if (i <= len(words) and words[i - 1] == "sync") or (i >= 2 and words[i - 2] == "sync")]
    return [("ab"[k % 2], i, 1, seeds[0]) for k, i in enumerate(around)]


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
        if disk.count() >= at:
            # Its sockets are closed before it is gone.
            wait_for_death(cell, x, "pairingd", 30, lambda: False)
        if daemon.alive() and p.acknowledged() == {"a": "active", "b": "active"}:
            # It is to die later, when the root moves.
            for y in "ab":
                cell.start_pskd(y)
            wait_for_death(cell, x, "pairingd", 60, lambda: not any(r["root"] for r in cell.read(x).pairings) and
                           disk.is_quiet() and disk.count() < at)
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
    jobs = [(f"c{i}", point, rng.random() < 0.35) for i, point in enumerate(points)]
    tally = Tally("i9_killed_at_each_change_of_the_store_what_was_acknowledged_is_there",
                  "i3_with_the_power_cut_a_pin_is_spent_before_it_is_used_and_guessed_once")
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
        # What others may have seen of it is the key from now on.
        keys.append(read_key(host))
        d.kill()
    if len(keys) < 2 or len(set(keys)) != 1:
        wrong.append(f"{len(keys)} starts, {len(set(keys))} identities")
    return "killed" if len(keys) == 2 else "not reached", wrong


def crash_in_first_start(net, changes, seeds=(0,)):
    tally = Tally("i9_killed_at_each_change_of_its_first_start_a_device_has_one_identity")
    each([(f"f{at}-{seed}", at, 1, seed) for at in changes for seed in seeds],
         lambda j: crash_at_first_start(net, *j), tally)
    tally.done()


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
    jobs = [(f"{name[:2]}{i}", point, rng.random() < 0.35) for i, point in enumerate(points)]
    tally = Tally(f"i4_{name}_at_any_change_of_the_store_is_told_and_survived")
    each(jobs, lambda j: refuse_at(net, *j), tally)
    tally.done()


# ---- rename and forget ----

def change_peer_at(net, name, point):
    """Killed in the middle of a rename or of forgetting: the old or the new, whole; what was acknowledged stays."""
    what, at, how, seed = point
    disk = Disk(net, f"{name}-a", "pairingd")
    cell = Cell(net, name, env={"a": disk.env})
    try:
        t, wrong = cell.pair()
        move_roots(cell, wrong)
        disk.arm(at, how, seed)
        r = cell.a.handfast(*(("peer", "rename", "b", "shed") if what == "rename" else ("peer", "forget", "b", "--yes")))
        died = wait_for_death(cell, "a", "pairingd", 30, lambda: disk.is_quiet() and disk.count() < at)
        disk.mend()
        if died:
            cell.start_pairingd("a")
        d, shown = cell.read("a"), cell.peers("a")
        names = [p["name"] for p in shown or []]
        allowed = (["shed"], ["b"]) if what == "rename" else ([], ["b"])
        if names not in allowed or shown is None:
            wrong.append(f"shows {names}")
        if r.code == 0 and names != allowed[0]:
            wrong.append(f"acknowledged, but shows {names}")
        if r.code != 0 and (not r.err or not died):
            wrong.append(f"no clear error, or one without reason: {r}")
        if d.row(t) and not d.hello(t):
            wrong.append("the root is lost")
        # pskd follows whatever became of it.
        follow = lambda: ([x.get("peer_name", x.get("peer", n)) for n, x in cell.read("a").tunnels.items()],  # noqa: E731
                          len(cell.read("a").ledgers))
        if not lab.wait_for(lambda: follow()[1] == len(names) and len(follow()[0]) == len(names), 60, 0.2):
            wrong.append(f"pskd has {follow()} for {names}")
        _, more = cell.pair()
        wrong += [f"the next pairing: {w}" for w in more]
        return ("new" if names == allowed[0] else "old") if died else "not reached", wrong
    finally:
        cell.close()


def change_peer_points(everything=False):
    hows = ((0, 0), (1, 0), (1, 7)) if everything else ((1, 0),)
    return [(what, at, *how) for what, n in (("rename", 5), ("forget", 9))
            for at in range(1, n + 1, 1 if everything else 2) for how in hows]


def crash_in_rename_and_forget(net, points):
    tally = Tally("i9_killed_in_rename_and_forget_it_is_done_or_not_done")
    each([(f"r{i}", point) for i, point in enumerate(points)], lambda j: change_peer_at(net, *j), tally)
    tally.done()


# ---- nothing left: descriptors, memory ----

def busy_seconds(pid):
    """For how long its first thread has run or wanted to."""
    with open(f"/proc/{pid}/schedstat") as f:
        return sum(int(x) for x in f.read().split()[:2]) / 1e9


def turns_in_circles(cell, victim, daemon):
    """I4: a daemon that cannot accept who waits at its socket must not try without end."""
    family, address = socket.AF_INET, ("127.0.0.1", cell.port)
    if victim != "relayd":
        family, address = socket.AF_UNIX, os.path.join(cell.hosts[victim[-1]].runtime, "pairingd.sock")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            s = stack.enter_context(socket.socket(family))
            s.settimeout(2)
            with contextlib.suppress(OSError):
                s.connect(address)
        time.sleep(0.2)
        before = busy_seconds(daemon.pid)
        time.sleep(1)
        return busy_seconds(daemon.pid) - before > 0.5


def exhaust_at(net, name, point):
    """A limit falls on one daemon at a message; it lives, and works again when the limit is gone."""
    victim, what, spare, n = point
    cell = Cell(net, name, step="10s")
    wrong = []
    try:
        earlier, wrong = cell.pair()
        daemon = cell.r.daemons["relayd"] if victim == "relayd" else cell.hosts[victim[-1]].daemons["pairingd"]
        limit, size = limit_of(daemon.pid, what, spare)
        before = resource.prlimit(daemon.pid, limit)
        if n == 0:
            resource.prlimit(daemon.pid, limit, (size, before[1]))
        p = Pairing(cell, {"a": n, "b": n} if n else None)
        if n and p.b:
            stop = lambda: p.a.ended or p.b.ended  # noqa: E731
            p.lines["a"].wait_sent(n, 60, stop) and p.lines["b"].wait_sent(n, 60, stop)
            limit, size = limit_of(daemon.pid, what, spare)
            resource.prlimit(daemon.pid, limit, (size, before[1]))
            for line in p.lines.values():
                line.pass_on()
        wrong += p.end()
        if daemon.alive() and turns_in_circles(cell, victim, daemon):
            wrong.append(f"{victim} turns in circles")
        if not daemon.alive():
            wrong.append(f"{victim} ended with {daemon.proc.poll()}: {daemon.log()[-300:]}")
            revive(cell, victim)
        else:
            resource.prlimit(daemon.pid, limit, before)
        verdict, a, b = settle(cell, earlier, p, wrong)
        recover(cell, p, earlier, a, b, wrong)
        p.close()
        return verdict, wrong
    finally:
        cell.close()


def limit_of(pid, what, spare):
    """(limit, size): spare more than is in use."""
    if what == "descriptors":
        return resource.RLIMIT_NOFILE, max(int(n) for n in os.listdir(f"/proc/{pid}/fd")) + 1 + spare
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    if what == "locked memory":
        return resource.RLIMIT_MEMLOCK, int(status["VmLck"].split()[0]) * 1024 + spare
    return resource.RLIMIT_AS, int(status["VmSize"].split()[0]) * 1024 + spare


def exhaust_points(everything=False):
    points = []
    for victim in ("pairingd-a", "pairingd-b", "relayd"):
        for n in (0, 1, 3, 8) if everything else (0,):
            for spare in (0, 1, 2, 3) if everything else (0, 1):
                points.append((victim, "descriptors", spare, n))
            for spare in () if is_sanitized() else (0, 1 << 16, 1 << 20, 48 << 20) if everything else (1 << 16,):
                points.append((victim, "memory", spare, n or 3))
        if everything and victim != "relayd":
            points.append((victim, "locked memory", 0, 0))
    return points


def exhausted(net, points):
    tally = Tally("i4_without_descriptors_or_memory_a_pairing_fails_clearly_and_the_next_works")
    each([(f"e{i}", point) for i, point in enumerate(points)], lambda j: exhaust_at(net, *j), tally, 4)
    tally.done()


def starve_at(net, name, point):
    """One allocation in so many fails, in one daemon, for one pairing."""
    victim, one_in, seed = point
    control = Control(net, name, f"malloc:1/{one_in}:ENOMEM,mmap:1/{one_in}:ENOMEM", seed)
    cell = Cell(net, name, step="10s", env={victim[-1]: control.env} if victim != "relayd" else None,
                relay_env=control.env if victim == "relayd" else None)
    wrong = []
    try:
        daemon = cell.r.daemons["relayd"] if victim == "relayd" else cell.hosts[victim[-1]].daemons["pairingd"]
        control.set(1, 0)
        p = Pairing(cell)
        wrong += p.end()
        control.set(0, 0)
        if not daemon.alive():
            wrong.append(f"{victim} ended with {daemon.proc.poll()}: {daemon.log()[-300:]}")
            revive(cell, victim)
        verdict, a, b = settle(cell, None, p, wrong)
        recover(cell, p, None, a, b, wrong)
        p.close()
        return verdict, wrong
    finally:
        cell.close()


def starved(net, seed, n):
    if is_sanitized():
        lab.skip("i4_allocations_that_fail_end_a_pairing_and_no_daemon", "the sanitizer's allocator ends the program")
        return
    rng = random.Random(seed)
    points = [(("pairingd-a", "pairingd-b", "relayd")[i % 3], rng.choice((20, 60, 200, 600)), rng.randrange(1, 1 << 30))
              for i in range(n)]
    tally = Tally("i4_allocations_that_fail_end_a_pairing_and_no_daemon")
    each([(f"m{i}", point) for i, point in enumerate(points)], lambda j: starve_at(net, *j), tally)
    tally.done()


# ---- clocks, stops ----

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


def clock_at(net, name, point):
    victim, years, n = point
    control = Control(net, name)
    cell = Cell(net, name, env={victim[-1]: control.env} if victim != "relayd" else None,
                relay_env=control.env if victim == "relayd" else None)
    try:
        p = Pairing(cell, {"a": n, "b": n})
        for line in p.lines.values():
            line.wait_sent(n, 60, lambda: p.a.ended)
        control.set(0, int(years * 365.25 * 86400))
        for line in p.lines.values():
            line.pass_on()
        wrong = p.end()
        verdict, a, b = settle(cell, None, p, wrong)
        if verdict != "agree" or p.acknowledged() != {"a": "active", "b": "active"}:
            wrong.append(f"the clock ended it: {verdict} {p.a.last}")
        recover(cell, p, None, a, b, wrong)
        p.close()
        return verdict, wrong
    finally:
        cell.close()


def clocks(net, seed, rounds=None):
    """Every clock both ways at these rounds; else each one way, at a round of the seed's."""
    rng = random.Random(seed)
    points = [(victim, years, n) for i, victim in enumerate(("pairingd-a", "pairingd-b", "relayd"))
              for years in ((10, -10) if rounds else ((10, -10)[(i + seed) % 2],))
              for n in (rounds or [rng.choice(list(ROUNDS))])]
    tally = Tally("i7_a_clock_ten_years_off_in_the_middle_of_a_pairing_changes_nothing")
    each([(f"t{i}", point) for i, point in enumerate(points)], lambda j: clock_at(net, *j), tally)
    tally.done()


def stop_at(net, name, point):
    """SIGSTOP for a while: shorter than every deadline, it goes on; longer than the relay's or the peer's, all ends."""
    victim, n, step_s, seconds = point
    cell = Cell(net, name, step=f"{step_s}s")
    try:
        earlier, wrong = cell.pair()
        p = Pairing(cell, {"a": n, "b": n})
        for line in p.lines.values():
            line.wait_sent(n, 60, lambda: p.a.ended)
        daemon = cell.r.daemons["relayd"] if victim == "relayd" else cell.hosts[victim[-1]].daemons["pairingd"]
        daemon.signal(signal.SIGSTOP)
        for line in p.lines.values():
            line.pass_on()
        time.sleep(seconds)
        daemon.signal(signal.SIGCONT)
        wrong += p.end()
        verdict, a, b = settle(cell, earlier, p, wrong)
        if 6 * seconds <= step_s and verdict != "agree":
            wrong.append(f"a stop shorter than every deadline ended it: {p.a.last} {p.b.last}")
        recover(cell, p, earlier, a, b, wrong)
        p.close()
        return verdict, wrong
    finally:
        cell.close()


def stopped(net, seed, seconds=60, rounds=None):
    rng = random.Random(seed)
    points = [(victim, n, step, for_s) for victim in ("pairingd-a", "pairingd-b", "relayd")
              for step, for_s in ((20, seconds), (60, 5)) for n in (rounds or [rng.choice((3, 4, 5, 6, 8, 9))])]
    tally = Tally("i9_a_daemon_stopped_for_a_minute_in_a_pairing_ends_it_or_goes_on")
    each([(f"s{i}", point) for i, point in enumerate(points)], lambda j: stop_at(net, *j), tally, len(points))
    tally.done()


def silent_at(net, name, what):
    """pairingd takes connections and says nothing: the command ends with that, within its own deadline."""
    cell = Cell(net, name)
    try:
        wrong = []
        d = cell.a.daemons["pairingd"]
        if what == "first word":
            d.signal(signal.SIGSTOP)
            p = Pairing(cell)
        else:
            # It lives up to the secret, which it has no descriptor to take.
            limit = resource.RLIMIT_NOFILE, limit_of(d.pid, "descriptors", 1)[1]
            resource.prlimit(d.pid, limit[0], (limit[1], limit[1]))
            p = Pairing(cell)
        wrong += p.end()
        code = p.a.last.get("error", {}).get("code", "")
        if p.a.proc.returncode == 0 or not code:
            wrong.append(f"{what}: {p.a.proc.returncode} {p.a.last}")
        p.close()
        return code.rpartition(".")[2] or "none", wrong
    finally:
        cell.close()


def silent(net):
    tally = Tally("i9_a_pairingd_that_says_nothing_is_not_waited_for_for_ever")
    each([(f"w{i}", what) for i, what in enumerate(("first word", "secret"))], lambda j: silent_at(net, *j), tally)
    tally.done()


# ---- old copies, clones ----

def copy_state(cell, x, to):
    shutil.copytree(cell.hosts[x].state("pairingd"), to)


def put_back(cell, x, old):
    """The state of one side is what it once was."""
    cell.hosts[x].daemons["pairingd"].kill()
    shutil.rmtree(cell.hosts[x].state("pairingd"))
    shutil.copytree(old, cell.hosts[x].state("pairingd"))
    cell.start_pairingd(x)


def restored_with_root(net, name, x):
    """A copy in which the root still waits: pskd has it already, keeps its ledger, and it is erased again."""
    cell = Cell(net, name)
    try:
        t, wrong = cell.pair()
        old = os.path.join(net.dir, f"{name}.copy")
        copy_state(cell, x, old)
        root = cell.read(x).row(t)["root"]
        move_roots(cell, wrong)
        path = os.path.join(cell.hosts[x].state("pskd"), "ledgers", f"pairing-{t.hex()}.ledger")
        with open(path, "rb") as f:
            before = f.read()
        put_back(cell, x, old)
        if not lab.wait_for(lambda: not cell.read(x).holds(root), 60, 0.1):
            wrong.append(f"the restored root stays in {cell.read(x).holds(root)}")
        with open(path, "rb") as f:
            if f.read() != before:
                wrong.append("the ledger was made anew from a restored root")
        verdict, more = cell.judge(None, {"a": "active", "b": "active"})
        _, again = cell.pair()
        return verdict, wrong + more + again
    finally:
        cell.close()


def restored_older(net, name, x):
    """A copy from before the present pairing: both can tell, nothing is half, and pairing again repairs it."""
    cell = Cell(net, name)
    try:
        t1, wrong = cell.pair()
        old = os.path.join(net.dir, f"{name}.copy")
        copy_state(cell, x, old)
        _, more = cell.pair()
        move_roots(cell, wrong)
        put_back(cell, x, old)
        if cell.read(x).tunnel_ids() != {t1} or not cell.peers(x):
            wrong.append(f"after the restore: {cell.peers(x)}")
        t3, again = cell.pair()
        if t3:
            move_roots(cell, wrong)
        return "agree" if t3 else "aborted", wrong + more + again
    finally:
        cell.close()


def restored_unspent(net, name, x):
    """A copy from before the PIN was spent: the same code and PIN once more make no second guess."""
    cell = Cell(net, name)
    try:
        wrong = []
        old = os.path.join(net.dir, f"{name}.copy")
        copy_state(cell, x, old)
        p = Pairing(cell, {x: 4})
        p.lines[x].wait_sent(4, 60, lambda: p.a.ended)
        strike(cell, p, f"pairingd-{x}")
        p.lines[x].drop()
        wrong += p.end()
        shutil.rmtree(cell.hosts[x].state("pairingd"))
        shutil.copytree(old, cell.hosts[x].state("pairingd"))
        cell.start_pairingd(x)
        # This line was cut; the same person tries again over a new one.
        port = p.lines[x].port
        second_guess(cell, p, wrong)
        if p.lines[x].port != port or max(line.guesses() for line in p.lines.values()) != 1:
            wrong.append(f"guesses: {[line.guesses() for line in p.lines.values()]}")
        p.close()
        t, more = cell.pair()
        return "aborted" if t else "broken", wrong + more
    finally:
        cell.close()


def cloned(net, name, x):
    """A second machine with a copy of one side's state, and a second daemon on the state itself."""
    cell = Cell(net, name)
    try:
        _, wrong = cell.pair()
        twin = copy_of(cell, net, f"{name}-twin", x)
        shutil.copytree(cell.hosts[x].state("pairingd"), twin.hosts[x].state("pairingd"))
        # The same folder twice: the second one refuses, and says why.
        second = net.host(f"{name}-second")
        try:
            second.start("pairingd", "--state-dir", cell.hosts[x].state("pairingd"), config="", timeout=60)
            wrong.append("two pairingd run on one state")
        except RuntimeError as e:
            if "another pairingd" not in str(e):
                wrong.append(f"the second on one state says {e}")
        twin.start_pairingd(x)
        # The clone pairs: that is the device, and the other side goes on with the newest.
        t2, more = twin.pair()
        wrong += more
        # Nobody pairs with himself.
        own = copy_of(cell, net, f"{name}-own", x)
        own.a, own.b = cell.hosts[x], twin.hosts[x]
        own.hosts = {"a": own.a, "b": own.b}
        p = Pairing(own)
        wrong += p.end()
        codes = [c.last.get("error", {}).get("code", "").rpartition(".")[2] for c in p.commands()]
        if p.acknowledged() != {"a": None, "b": None} or "OwnDevice" not in codes:
            wrong.append(f"a device paired with its clone: {codes}")
        p.close()
        # The original again: the next pairing works at once.
        before = cell.read("a").tunnel_ids() | cell.read("b").tunnel_ids()
        t3, more = cell.pair()
        if t3 in before:
            wrong.append("a tunnel id came again")
        return "agree" if t2 and t3 else "aborted", wrong + more
    finally:
        cell.close()


def copy_of(cell, net, name, x):
    """The same cell with another machine in the place of one."""
    twin = copy.copy(cell)
    host = net.host(name)
    twin.hosts = dict(cell.hosts, **{x: host})
    twin.a, twin.b = twin.hosts["a"], twin.hosts["b"]
    return twin


def old_copies(net):
    tally = Tally("i9_old_copies_of_the_state_give_no_second_guess_and_no_second_root_and_repair_by_pairing")
    each([(run, f"o{i}{x}", x) for i, run in enumerate((restored_with_root, restored_older, restored_unspent)) for x in "ab"],
         lambda j: j[0](net, *j[1:]), tally)
    tally.done()
    tally = Tally("i9_a_cloned_state_harms_no_other_pairing")
    each([(f"q{x}", x) for x in "ab"], lambda j: cloned(net, *j), tally)
    tally.done()


# ---- acknowledgements that are withheld ----

def lose_acknowledgement(cell, wrong, earlier):
    """a's last word does not arrive: a is active, b unconfirmed. The new tunnel's id."""
    p = Pairing(cell, {"a": 9})
    if not p.lines["a"].wait_sent(9, 60, lambda: p.a.ended and p.a.proc.poll()) or not p.a.end():
        wrong.append(f"not reached: {p.a.last}")
    p.lines["a"].drop()
    wrong += p.end()
    if p.acknowledged() != {"a": "active", "b": "prepared"}:
        wrong.append(f"acknowledged {p.acknowledged()}")
    p.close()
    new = cell.read("a").tunnel_ids() - {earlier}
    return new.pop() if len(new) == 1 else None


def replaced_at(net, name, point):
    """b stores a second pairing, of which a hears nothing and which it takes back: the first one is still there."""
    with_earlier, with_pskd = point
    cell = Cell(net, name)
    wrong = []
    try:
        earlier = None
        if with_earlier:
            earlier, wrong = cell.pair()
        if with_pskd:
            move_roots(cell, wrong)
        t = lose_acknowledgement(cell, wrong, earlier)
        if not t:
            return "broken", wrong
        if with_pskd:
            move_roots(cell, wrong)
        p = Pairing(cell, {"b": 8})
        if not lab.wait_for(lambda: len(cell.read("b").tunnel_ids() - {earlier, t}) == 1, 60, 0.05):
            wrong.append(f"b has not stored the second pairing: {p.b.last}")
        # pskd may come just now, and is offered both.
        if with_pskd and with_earlier:
            cell.hosts["b"].daemons["pskd"].stop()
            cell.start_pskd("b")
            lab.wait_for(lambda: not any(r["root"] for r in cell.read("b").pairings), 60, 0.1)
        p.a.kill()
        wrong += p.end()
        p.close()
        for x in "ab":
            if with_pskd:
                cell.hosts[x].daemons["pskd"].stop()
                cell.start_pskd(x)
        a, b = cell.read("a"), cell.read("b")
        verdict, more = cell.judge(earlier, {"a": "active", "b": "prepared"})
        wrong += more
        if a.tunnel_ids() != {t} or b.tunnel_ids() != {earlier, t} - {None}:
            wrong.append(f"a has {sorted(i.hex() for i in a.tunnel_ids())}, b {sorted(i.hex() for i in b.tunnel_ids())}")
        if b.hello(t) is None or a.hello(t) != b.hello(t):
            wrong.append("b has lost the root of what it acknowledged")
        for x, d in (("a", a), ("b", b)):
            shown_as_stored(cell, x, d, wrong)
        confirm(cell, a, b, earlier, wrong)
        move_roots(cell, wrong)
        t2, more = cell.pair()
        wrong += [f"the next pairing: {w}" for w in more]
        if t2:
            move_roots(cell, wrong)
        return verdict, wrong
    finally:
        cell.close()


def confirmed_early_at(net, name, fate):
    """The tunnel proves itself before a's last word comes to b, or while it never does: b says active, not unconfirmed."""
    cell = Cell(net, name)
    wrong = []
    try:
        p = Pairing(cell, {"a": 9})
        if not p.lines["a"].wait_sent(9, 60, lambda: p.a.ended and p.a.proc.poll()) or not p.a.end():
            return "broken", [f"not reached: {p.a.last}"]
        t = next(iter(cell.read("b").tunnel_ids()))
        if cell.seen("b", "a", t) != 0:
            wrong.append("the peer's message is not taken")
        for line in p.lines.values():
            line.pass_on() if fate == "delivered" else line.drop()
        wrong += p.end()
        if p.acknowledged() != {"a": "active", "b": "active"}:
            wrong.append(f"acknowledged {p.acknowledged()}")
        verdict, a, b = settle(cell, None, p, wrong)
        recover(cell, p, None, a, b, wrong)
        p.close()
        return verdict, wrong
    finally:
        cell.close()


def acknowledgements(net):
    tally = Tally("i9_a_pairing_whose_acknowledgement_was_withheld_outlives_a_newer_one_that_is_taken_back")
    each([(f"h{i}", point) for i, point in enumerate(((False, False), (True, False), (False, True), (True, True)))],
         lambda j: replaced_at(net, *j), tally)
    tally.done()
    tally = Tally("i9_a_pairing_that_the_tunnel_confirmed_first_is_told_as_active")
    each([(f"v{i}", fate) for i, fate in enumerate(("delivered", "lost"))],
         lambda j: confirmed_early_at(net, *j), tally)
    tally.done()
