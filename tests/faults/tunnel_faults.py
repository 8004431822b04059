"""What happens to machines, done to the ends of a tunnel under traffic. Each fault is bounded and seeded, ends with
the recorder's verdict on the whole of it, and prints what it counted."""
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import time

import lab
import state
import tunnel
from tunnel import Disk, Pair

KINDS = ("keyfile", "pairing", "prototype")


def disk_of(h):
    return Disk(h.state("pskd"), os.path.join(h.dir, "disk.img"))


# ---- what was acknowledged ----------------------------------------------------------------------

class Promises:
    """Changes by command that were answered, and what must be there whatever happens after. Of one that was cut
    short, all of it or nothing."""
    VERBS = ("add", "up", "down", "burn", "remove")

    def __init__(self, pair):
        self.pair, self.random, self.made = pair, random.Random(pair.seed + 1), 0
        self.known = {h: {} for h in pair.hosts}  # name: (enabled, at least this slot)
        self.doubtful = {h: {} for h in pair.hosts}  # name: what it is instead, or None: not there
        self.done = dict.fromkeys(self.VERBS, 0)  # acknowledged
        self.refused, self.under_way = [], {}
        self.cut_short = {"answered": 0, "old": 0, "new": 0}

    @property
    def count(self):
        return sum(self.done.values())

    def _next(self, h):
        """One more change for h, of the kind that was made least: argv, the name, and what it is after."""
        known, r = self.known[h], self.random
        can = [("add", None)]
        for name, (enabled, _) in sorted(known.items()):
            can += [(v, name) for v in ("up", "down", "remove", *(["burn"] if enabled else ()))]
        least = min(self.done[v] for v, _ in can)
        verb, name = r.choice([c for c in can if self.done[c[0]] == least])
        if verb == "add":
            self.made += 1
            name = f"x{self.made}"
            path = os.path.join(h.dir, f"{name}.key")
            with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as f:
                f.write(r.randbytes(120 * 100))
            return ["add", name, "--key-file", path, "--role", "initiator", "--endpoint", "10.99.0.250:9"], name, (False, 0)
        enabled, slot = known[name]
        return {"up": (["up", name, "--timeout", "1s"], name, (True, slot)),
                "down": (["down", name], name, (False, slot)),
                "remove": (["remove", name], name, None),
                "burn": (["burn", name, "--to-slot", str(slot + 1)], name, (enabled, slot + 1))}[verb]

    def _is_now(self, h, name, after):
        if after is None:
            self.known[h].pop(name, None)
        else:
            self.known[h][name] = after

    def change(self, h):
        """One more change on h, acknowledged when this returns. What it was."""
        what, name, after = self._next(h)
        result = h.handfast("--json", "tunnel", *what)
        said = f"{' '.join(what[:2])}: {result.code} {result.out[-200:] if result.code else ''}"
        # 6: nobody answers there, but that it is wanted is acknowledged.
        if result.code == 0 or what[0] == "up" and result.code == 6:
            self.done[what[0]] += 1
            self._is_now(h, name, after)
        else:
            self.refused.append(said)
        return said

    def begin(self, h):
        """One more change on h, that something is to happen in; end() is to follow."""
        what, name, after = self._next(h)
        self.under_way[h] = what, name, after, h.popen(f"{lab.BUILD}/bin/handfast", "--json", "tunnel", *what,
                                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self):
        """After it has happened: what of those changes was answered all the same, and what is in doubt."""
        for h, (what, name, after, process) in self.under_way.items():
            if process.wait(30) == 0:
                self.done[what[0]] += 1
                self.cut_short["answered"] += 1
                self._is_now(h, name, after)
            else:
                self.doubtful[h][name] = after
        self.under_way = {}

    def broken(self, h):
        """What of it is not so (h's pskd runs); "" when all is."""
        r = h.handfast("--json", "tunnel", "list")
        if r.code != 0:
            return f"no list: {r}"
        there = {t["name"]: t for t in r.json["result"]["tunnels"]}
        there.pop("t", None)
        try:
            stored = set(state.tunnels(h.state("pskd"))) - {"t"}
        except ValueError as e:
            return f"a tunnel's file is not whole: {e}"
        if stored != set(there):
            return f"{sorted(stored)} are stored and {sorted(there)} are there"
        for name, new in self.doubtful[h].items():
            old = self.known[h].get(name)
            # A burn that is done is also no less than before: the new one first.
            found = [w for w, x in (("new", new), ("old", old)) if not self._missing(h, there, name, x)]
            if not found:
                return f"{name} is neither {old} nor {new}: {there.get(name)} {self._mark(h, name)}"
            self.cut_short[found[0]] += 1
            self._is_now(h, name, new if found[0] == "new" else old)
        self.doubtful[h] = {}
        for name in set(there) - set(self.known[h]):
            return f"{name} was removed and is there"
        return next((why for n, x in self.known[h].items() if (why := self._missing(h, there, n, x))), "")

    def _mark(self, h, name):
        path = os.path.join(h.state("pskd"), "ledgers", f"{name}.ledger")
        return state.Ledger.read(path).mark if os.path.exists(path) else None

    def _missing(self, h, there, name, what):
        """Why name is not what; "" when it is."""
        if what is None:
            return f"{name} is there" if name in there else ""
        if name not in there:
            return f"{name} was added and is not there"
        if there[name]["enabled"] != what[0]:
            return f"{name} was set to {what[0]} and is not"
        mark = self._mark(h, name)
        if mark is None or mark < what[1] * 1000:
            return f"{name} was burned to slot {what[1]} and is at {mark}"
        return ""

    def report(self, suffix, turns):
        """None was refused, and there were enough of them to say something."""
        least = max(1, turns // 8)
        lab.check(f"i9_changes_are_taken_{suffix}", not self.refused, f"{len(self.refused)}: {self.refused[:3]}")
        lab.check(f"i9_enough_was_acknowledged_{suffix}", min(self.done.values()) >= least, f"{self.done}, {least} of each")
        lab.check(f"i9_enough_was_cut_short_{suffix}", sum(self.cut_short.values()) >= turns // 2, self.cut_short)
        print(f"# {suffix}: acknowledged {self.done}, cut short {self.cut_short}")


def change_or_begin(promises, victims, turn):
    """What the fault of this turn comes after, or into."""
    for h in victims:
        if turn % 2:
            for _ in range(2):
                promises.change(h)
        else:
            promises.begin(h)
    if turn % 2 == 0:
        time.sleep(promises.random.uniform(0, 0.05))


def sides(pair, turn):
    """Which hosts a fault hits in this turn: either, and every fourth time both at once."""
    return pair.hosts if turn % 4 == 3 else [pair.random.choice(pair.hosts)]


class Tally:
    """Conditions of many rounds, and one line for each in the end."""

    def __init__(self, suffix):
        self.suffix, self.rounds, self.bad = suffix, {}, {}

    def note(self, claim, ok, why=""):
        self.rounds[claim] = self.rounds.get(claim, 0) + 1
        if not ok:
            self.bad.setdefault(claim, []).append(str(why)[:300])
        return ok

    def report(self):
        for claim, n in self.rounds.items():
            bad = self.bad.get(claim, [])
            lab.check(f"{claim}_{self.suffix}_{n}_times", not bad, f"{len(bad)} of {n}: {bad[:2]}")


# ---- the process ends, the power ends -----------------------------------------------------------

def end_lives(pair, claim, n, pause, hit, after=lambda pair: None):
    """hit(pair, victims) ends processes n times at random moments, every fourth time of both sides at once, after a
    change or in the middle of one."""
    tally, promises, both = Tally(claim), Promises(pair), 0
    for h in pair.hosts:
        promises.change(h)
    for turn in range(n):
        victims = sides(pair, turn)
        both += len(victims) == 2
        time.sleep(pair.random.uniform(0.02, pause))
        change_or_begin(promises, victims, turn)
        hit(pair, victims)
        promises.end()
        for h in victims:
            why = pair.mark_holds(h)
            tally.note("i1_mark_covers_what_was_sent", not why, why)
            pair.start(h)
        after(pair)
        if not tally.note("tcp_recovers", pair.recovers(), "") and turn < n - 1:
            tally.bad["tcp_recovers"].append(pair.shows())
            break
        for h in victims:
            why = promises.broken(h)
            tally.note("i9_acknowledged_is_there", not why, why)
    print(f"# {claim}: seed {pair.seed}, {n} times, {both} of both sides, {promises.count} changes acknowledged")
    tally.report()
    promises.report(claim, n)
    pair.verdict(claim)


def kills(net, kind, seed, n):
    """kill -9 at random times."""
    end_lives(Pair(net, kind, seed), f"kill_9_{kind}", n, 0.4, lambda pair, victims: pair.kill(*victims))


def kills_with(net, name, settings, in_use, seed, n):
    """The same, where the kernel or the processor helps less, or otherwise."""
    pair, tally = Pair(net, "keyfile", seed, settings=settings), Tally(name)
    used = [pair.show(h) for h in pair.hosts]
    lab.check(f"is_in_use_{name}", all(in_use(u) for u in used), [(u["offload"], u.get("aead")) for u in used])
    for turn in range(n):
        victims = sides(pair, turn)
        time.sleep(pair.random.uniform(0.1, 0.6))
        pair.kill(*victims)
        for h in victims:
            why = pair.mark_holds(h)
            tally.note("i1_mark_covers_what_was_sent", not why, why)
            pair.start(h)
        if not tally.note("tcp_recovers", pair.recovers(), ""):
            break
    tally.report()
    v = pair.verdict(f"kill_9_{name}")
    lab.check(f"datagrams_leave_{name}_{'together' if any('udp-gso' in u['offload'] for u in used) else 'one_by_one'}",
              (v.together > v.packets / 10) == any("udp-gso" in u["offload"] for u in used), f"{v.together} of {v.packets}")


def cut(pair, victims):
    """Power cut: the copy of each disk holds what was on it when the last instruction was done."""
    pair.began = time.monotonic()
    for h in victims:
        pair.freeze(h)
    copies = {h: pair.disks[h].freeze() for h in victims}
    pair.kill(*victims)
    for h in victims:
        pair.disks[h].restart(copies[h])
        # And what lay in memory alone: /run.
        for name in os.listdir(h.runtime):
            if name.endswith(".received"):
                os.unlink(os.path.join(h.runtime, name))


def flood(pair):
    """handfast-tunnel(7): after a power cut up to 256 packets of a prototype peer are refused. Here they are."""
    for p in [h.popen("ping", "-q", "-n", "-f", "-c", "600", "-w", "3", "-W", "1", address, stdout=subprocess.DEVNULL)
              for h, address in zip(pair.hosts, reversed(pair.addresses))]:
        p.wait(10)


def power_cuts(net, kind, seed, n):
    end_lives(Pair(net, kind, seed, disk_of), f"power_cut_{kind}", n, 0.5, cut,
              flood if kind == "prototype" else lambda pair: None)


CONTROL_TRIES = 8  # a sync of the whole system, by anybody, saves a disk from its power cut: then once more


def power_cut_control(net, seed):
    """The same with a disk that only says that it synced: mark and recorder must show it, or they show nothing."""
    pair = Pair(net, "prototype", seed, disk_of,
                env=tunnel.injected(FAULTS="fdatasync:*:noop", FAULT_PATH=".ledger"))
    behind = turns = 0
    on_disk = {h: pair.ledger(h).mark for h in pair.hosts}
    while turns < CONTROL_TRIES and not (behind and pair.recorder.book.verdict.repeats):
        h = pair.hosts[turns % 2]
        turns += 1
        # It has written a mark since, which is not on the disk unless somebody saw to it.
        lab.wait_for(lambda h=h: pair.recorder.highest(h.name) > on_disk[h] and pair.ledger(h).mark > on_disk[h], 30, 0.02)
        cut(pair, [h])
        behind += "ledger says" in pair.mark_holds(h)
        on_disk[h] = pair.ledger(h).mark
        pair.start(h)
        pair.recovers(10)
    v = pair.recording()
    lab.check("power_cut_shows_a_ledger_that_is_not_synced", behind and v.repeats and v.is_sound(), f"{behind} of {turns} behind, {v}")
    print(f"# without fdatasync: {behind} of {turns} marks behind, {len(v.repeats)} repeats seen")


def forgotten_change_control(net, seed):
    """Nothing but ledgers is synced: a change that was acknowledged must be missing after the cut, and be missed."""
    pair = Pair(net, "keyfile", seed, disk_of, env=tunnel.injected(FAULTS="fsync:*:noop"))
    promises, missed, turns = Promises(pair), 0, 0
    while turns < CONTROL_TRIES and not missed:
        turns += 1
        what = promises.change(pair.a)
        cut(pair, [pair.a])
        pair.start(pair.a)
        missed += bool(promises.broken(pair.a))
    pair.traffic.stop()
    pair.recorder.stop()
    lab.check("power_cut_shows_a_change_that_is_not_synced", missed > 0, what)
    print(f"# without fsync: {missed} of {turns} acknowledged changes were gone, and missed")


# ---- a record half written ----------------------------------------------------------------------

# Where a field of a record begins that decides something, and the sectors' edges: handfast-ledger(5).
FIELD_EDGES = (8, 16, 24, 32, 152, 160, 168, 176, 184, 192, 240, 272, 304, 312, 336, 448, 4056, 4064, 4072, 4088)
SECTOR_EDGES = tuple(range(0, 4097, 512))


def torn_writes(net, kind, seed, edges):
    """pskd is killed in the middle of writing a record, at each of these lengths."""
    pair, tally = Pair(net, kind, seed), Tally(f"torn_ledger_{kind}")
    plans = {h: edges[i::2] for i, h in enumerate(pair.hosts)}
    controls = {h: os.path.join(h.dir, "control") for h in pair.hosts}

    def start(h, at):
        """Now with the next edge waiting for its moment."""
        set_control(controls[h], 0)
        edge = plans[h][at] if at < len(plans[h]) else None
        pair.start(h, env={} if edge is None else tunnel.injected(FAULTS=f"pwrite:1:torn={edge}",
                                                                  FAULT_PATH=pair.ledgers[h], FAULT_CONTROL=controls[h]))
        return edge

    torn = done = 0
    # One side after the other, so that each life is young and reserves in small blocks.
    for h in pair.hosts:
        pair.pskd(h).stop()
        pair.began = time.monotonic()
        edge = start(h, 0)
        for turn in range(len(plans[h])):
            if not tally.note("tcp_recovers", pair.recovers(), edge):
                tally.bad["tcp_recovers"].append(pair.shows())
                break
            set_control(controls[h], 1)
            died = lab.wait_for(lambda h=h: not pair.pskd(h).alive(), 60, 0.01)
            pair.kill(h)
            done += tally.note("died_while_writing", died, edge)
            torn += pair.ledger(h).is_torn
            why = pair.mark_holds(h)
            tally.note("i1_mark_covers_what_was_sent", not why, f"{edge}: {why}")
            edge = start(h, turn + 1)
        tally.note("tcp_recovers", pair.recovers(), "in the end")
    print(f"# seed {seed}: {done} writes cut short at {' '.join(map(str, edges))}; {torn} records were lost by it")
    lab.check(f"torn_ledger_{kind}_lost_records", torn >= len(edges) // 3, torn)
    tally.report()
    pair.verdict(f"torn_ledger_{kind}")


def set_control(path, armed, shift=0):
    """The two numbers that fault-inject.so looks at."""
    with open(path, "r+b" if os.path.exists(path) else "wb") as f:
        f.write(struct.pack("=qq", armed, shift))


# ---- disks that say no --------------------------------------------------------------------------

def tmpfs_of(h):
    lab._run("mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "hf-full", h.state("pskd"))


def small_key(h, name):
    path = os.path.join(h.dir, f"{name}.key")
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as f:
        f.write(os.urandom(120 * 100))
    return path


def add(h, name):
    return h.handfast("--json", "tunnel", "add", name, "--key-file", small_key(h, name), "--role", "initiator",
                      "--endpoint", "10.99.0.250:9")


def full_disk(net, kind, seed, medium):
    """No byte is left where the state is: ledgers are written in place, and what is new is refused whole."""
    pair = Pair(net, kind, seed, {"tmpfs": tmpfs_of, "ext4": disk_of}[medium])
    claim = f"full_{medium}_{kind}"
    for h in pair.hosts:
        with open(os.path.join(h.state("pskd"), "filler"), "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass
    before = [pair.recorder.highest(h.name) for h in pair.hosts]
    for h in pair.hosts:
        r = add(h, "more")
        lab.check(f"{claim}_adding_is_refused_on_{h.name}", r.code != 0 and "space" in r.out, r)
        lab.check(f"{claim}_nothing_half_made_on_{h.name}", "more" not in state.tunnels(h.state("pskd")) and
                  not any("more" in p for p in state.ledger_paths(h.state("pskd"))), os.listdir(h.state("pskd")))
    # Far more than what was reserved before the disk was full.
    far = lab.wait_for(lambda: all(pair.recorder.highest(h.name) > b + 3000 for h, b in zip(pair.hosts, before)), 60)
    lab.check(f"{claim}_traffic_goes_on", far, f"{before} {[pair.recorder.highest(h.name) for h in pair.hosts]}")
    for victims in ([pair.a], [pair.b], pair.hosts):
        pair.kill(*victims)
        for h in victims:
            why = pair.mark_holds(h)
            lab.check(f"i1_mark_covers_what_was_sent_{claim}_{h.name}", not why, why)
            pair.start(h)
        pair.check_recovers(f"{claim}_tcp_recovers_{len(victims)}_killed")
    for h in pair.hosts:
        os.unlink(os.path.join(h.state("pskd"), "filler"))
        r = add(h, "more")
        lab.check(f"{claim}_with_space_it_is_added_on_{h.name}", r.code == 0, r)
    pair.verdict(claim)


def read_only_disk(net, kind, seed):
    """The filesystem goes read-only under a running pskd: it uses up what is reserved, says so, and stops sending."""
    pair = Pair(net, kind, seed, disk_of)
    claim, h = f"read_only_disk_{kind}", pair.a
    folder = h.state("pskd")
    device = os.path.basename(lab._run("findmnt", "-n", "-o", "SOURCE", folder).out.strip())
    # What is told to fail must be this test's own disk, and nobody else's.
    with open(f"/sys/block/{device}/loop/backing_file") as f:
        if f.read().strip() != pair.disks[h].image:
            raise RuntimeError(f"{device} is not on {pair.disks[h].image}")
    with open(f"/sys/fs/ext4/{device}/trigger_fs_error", "w") as f:
        f.write("a test")
    lab.check(f"{claim}_is_read_only", not _writable(folder), folder)
    said = lab.wait_for(lambda: "ledger cannot be written" in (pair.show(h).get("problem") or ""), 60, 0.2)
    lab.check(f"{claim}_is_told", said, pair.show(h))
    # What is reserved is used up first.
    first = -1
    while first != pair.recorder.highest("a"):
        first = pair.recorder.highest("a")
        time.sleep(1)
    time.sleep(2)
    settled = pair.recorder.settle()
    lab.check(f"i1_{claim}_nothing_is_sent_beyond_the_mark", settled and first == pair.recorder.highest("a") and
              first < pair.ledger(h).mark, f"{first} {pair.recorder.highest('a')} {pair.ledger(h).mark}")
    logged = "read-only" in pair.pskd(h).log().lower() or "ledger" in pair.pskd(h).log()
    lab.check(f"{claim}_is_logged", logged, pair.pskd(h).log()[-400:])
    r = add(h, "more")
    lab.check(f"{claim}_adding_is_refused", r.code != 0 and "ead-only" in r.out, r)
    pair.kill(h)
    try:
        pair.start(h, timeout=10)
        told = pair.show(h)
        print(f"# a new life on it: {told['state']}, {told.get('problem')}")
        lab.check(f"{claim}_a_new_life_does_not_send", told["state"] != "up", told)
    except RuntimeError as e:
        lab.check(f"{claim}_a_new_life_says_why_it_cannot", "ead-only" in str(e), e)
    pair.kill(h)
    settled = pair.recorder.settle()
    lab.check(f"i1_{claim}_nothing_more_was_sent", settled and pair.recorder.highest("a") == first,
              pair.recorder.highest("a"))
    lab._run("umount", "-l", folder)
    lab._run("e2fsck", "-fy", pair.disks[h].image, check=False)
    pair.disks[h]._mount()
    pair.began = time.monotonic()
    pair.start(h)
    pair.check_recovers(f"{claim}_writable_again_and_tcp_recovers")
    pair.verdict(claim)


def _writable(folder):
    try:
        with open(os.path.join(folder, "probe"), "w"):
            pass
        os.unlink(os.path.join(folder, "probe"))
        return True
    except OSError:
        return False


# ---- copies -------------------------------------------------------------------------------------

def copy_state(h, name):
    to = os.path.join(h.dir, f"copy-{name}")
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(h.state("pskd"), to)
    return to


def put_back(h, copy):
    shutil.rmtree(h.state("pskd"))
    shutil.copytree(copy, h.state("pskd"))


def restored(net, kind, seed, n):
    """State folders put back to copies of several ages, of either side or both, while the other went on."""
    pair, tally = Pair(net, kind, seed), Tally(f"restored_{kind}")
    copies = {h: [] for h in pair.hosts}
    for age in range(4):
        for h in pair.hosts:
            copies[h].append(copy_state(h, age))
        time.sleep(0.7)
    ages = []
    for turn in range(n):
        victims = sides(pair, turn)
        time.sleep(pair.random.uniform(0.1, 0.6))
        pair.kill(*victims)
        time.sleep(pair.random.uniform(0, 0.3))
        for h in victims:
            age = pair.random.randrange(len(copies[h]))
            ages.append(age)
            put_back(h, copies[h][age])
            pair.start(h)
        if not tally.note("tcp_recovers", pair.recovers(), ages):
            tally.bad["tcp_recovers"].append(pair.shows())
            break
        if turn % 3 == 2:  # and a younger copy for the next
            for h in pair.hosts:
                copies[h].append(copy_state(h, len(copies[h])))
    print(f"# seed {seed}: {n} times restored, from copies number {' '.join(map(str, ages))}")
    tally.report()
    pair.verdict(f"restored_{kind}")


def restored_prototype_control(net, seed):
    """What the documentation excepts, and the recorder's living proof: this does repeat, and it sees it."""
    pair = Pair(net, "prototype", seed)
    copy, mark = copy_state(pair.a, 0), pair.ledger(pair.a).mark
    # It has sent what the copy did not know of.
    lab.wait_for(lambda: pair.recorder.highest("a") > mark, 60, 0.02)
    pair.kill(pair.a)
    put_back(pair.a, copy)
    pair.start(pair.a)
    seen = lab.wait_for(lambda: pair.recorder.book.verdict.repeats, 30, 0.1)
    v = pair.recording()
    lab.check("recorder_sees_a_restored_prototype_repeat", seen and v.is_sound(), v)


def cloned(net, kind, seed, seconds):
    """A copy of a machine's disk runs beside the original, against the same peer."""
    pair = Pair(net, kind, seed, more_hosts=("c",))
    claim, a, c = f"cloned_{kind}", pair.a, pair.others[0]
    time.sleep(1)
    # As a disk is cloned: at one moment, while the original runs.
    pair.freeze(a)
    shutil.copytree(a.state("pskd"), c.state("pskd"))
    os.kill(pair.pskd(a).pid, signal.SIGCONT)
    for name in ("key",):
        if os.path.exists(os.path.join(a.dir, name)):
            shutil.copy(os.path.join(a.dir, name), os.path.join(c.dir, name))
    if kind == "pairing":
        identity = tunnel.Identity(c, pair.identities[a].key)
        identity.peers = dict(pair.identities[a].peers)
    else:
        pair.declare(c, "initiator", 0)
    c.start("tund")
    pair.start(c)
    other = tunnel.Traffic([c], [None, pair.addresses[1]], seed + 5, tunnel.ECHO_PORT)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.5)
        if pair.random.random() < 0.3:  # it starts again, and makes a session of its own
            c.daemons["pskd"].kill()
            pair.start(c)
    other.stop()
    both = [pair.recorder.highest(h.name) for h in (a, c)]
    lab.check(f"{claim}_both_instances_sent", min(both) > 0, both)
    c.daemons["pskd"].kill()
    pair.began = time.monotonic()
    # Two that leapfrog each other give up much: beyond a hundredth of a key file somebody has to agree.
    burns = 0
    while pair.traffic.flows(3) is None and time.monotonic() - pair.began < 120:
        for h in pair.hosts:
            if pair.show(h)["state"] == "needs-burn":
                burns += 1
                r = h.handfast("--json", "tunnel", "burn", "t")
                lab.check(f"{claim}_burn_is_taken_on_{h.name}", r.code == 0, r)
    pair.check_recovers(f"{claim}_alone_again_tcp_recovers", 20)
    print(f"# seed {seed}: {burns} burns were asked for")
    pair.verdict(claim)


# ---- nothing is left ----------------------------------------------------------------------------

def limits(pid, what, soft):
    """prlimit of a running process, its soft limit alone."""
    hard = resource.prlimit(pid, what)[1]
    resource.prlimit(pid, what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def exhausted(net, kind, seed):
    """No descriptor is left; then no memory. The tunnel goes on or says why not, and all is well again after."""
    pair = Pair(net, kind, seed)
    h = pair.a
    pid = pair.pskd(h).pid
    was = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    limits(pid, resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{pid}/fd")))
    lab.check(f"no_descriptors_{kind}_traffic_goes_on", pair.traffic.flows(20) is not None, pair.pskd(h).log()[-300:])
    hung = [h.popen(f"{lab.BUILD}/bin/handfast", "tunnel", "list", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(3)]
    before = cpu_of(pid)
    time.sleep(1.5)
    lab.check(f"no_descriptors_{kind}_does_not_spin", cpu_of(pid) - before < 1.2, cpu_of(pid) - before)
    pair.began = time.monotonic()
    pair.kill(pair.b)
    pair.start(pair.b)
    pair.check_recovers(f"no_descriptors_{kind}_a_session_is_made")
    limits(pid, resource.RLIMIT_NOFILE, was)
    again = lab.wait_for(lambda: h.handfast("tunnel", "list", timeout=10).code == 0, 30)
    lab.check(f"no_descriptors_{kind}_control_answers_again", again and pair.pskd(h).alive(), pair.pskd(h).log()[-300:])
    for p in hung:
        p.kill()
        p.wait()

    limits(pid, resource.RLIMIT_AS, size_of(pid))
    silent = []
    for n in range(5):
        for what in (["list"], ["show", "t"], ["down", "nosuch"]):
            r = h.handfast("--json", "tunnel", *what, timeout=20)
            silent += [f"{n} {what[0]}: {r}"] if r.code == 124 else []
        r = h.handfast("--json", "tunnel", "add", f"more{n}", "--key-file", small_key(h, f"more{n}"), "--role", "initiator",
                       "--endpoint", "10.99.0.250:9", timeout=20)
        silent += [f"{n} add: {r}"] if r.code == 124 else []
    lab.check(f"no_memory_{kind}_every_call_is_answered", not silent, silent)
    flows = pair.traffic.flows(20) is not None
    lab.check(f"no_memory_{kind}_traffic_goes_on", flows and pair.pskd(h).alive(), pair.pskd(h).log()[-300:])
    limits(pid, resource.RLIMIT_AS, resource.RLIM_INFINITY)

    # Too little to begin with: it ends and says so, or does without.
    for what, name, soft in ((resource.RLIMIT_NOFILE, "descriptors", 9), (resource.RLIMIT_AS, "memory", 10 << 20)):
        pair.kill(h)
        why = pair.mark_holds(h)
        lab.check(f"i1_mark_covers_what_was_sent_no_{name}_{kind}", not why, why)
        flag = {"descriptors": "--nofile", "memory": "--as"}[name]
        try:
            pair.start(h, wrapper=("prlimit", f"{flag}={soft}"), timeout=10)
            print(f"# {kind}: began with a limit of {soft} for {name}")
            pair.kill(h)
        except RuntimeError as e:
            lab.check(f"too_few_{name}_{kind}_is_said", len(str(e)) > 40 and "-11:" not in str(e) and "-6:" not in str(e), e)
    pair.began = time.monotonic()
    pair.start(h)
    pair.check_recovers(f"exhausted_{kind}_tcp_recovers")
    pair.verdict(f"exhausted_{kind}")


def failing_memory(net, kind, seed, seconds):
    """One allocation in so many fails, for a while and again. Whatever that ends is said, and repeats nothing."""
    pair = Pair(net, kind, seed)
    h, ends, rounds = pair.a, [], 0
    control, log = os.path.join(h.dir, "control"), os.path.join(h.dir, "faults")
    end = time.monotonic() + seconds
    while time.monotonic() < end or rounds < 2:
        rounds += 1
        set_control(control, 0)
        pair.pskd(h).stop()
        one_in = pair.random.choice((3, 20, 200))
        pair.start(h, env=tunnel.injected(FAULTS=f"malloc:1/{one_in}:ENOMEM,mmap:1/{one_in}:ENOMEM", FAULT_LOG=log,
                                        FAULT_SEED=pair.random.randrange(1 << 30), FAULT_CONTROL=control))
        set_control(control, 1)
        for _ in range(3):
            h.handfast("--json", "tunnel", "list", timeout=10)
            h.handfast("--json", "tunnel", "show", "t", timeout=10)
            add(h, f"m{rounds}")
        pair.kill(pair.b)
        pair.start(pair.b)
        time.sleep(0.5)
        set_control(control, 0)
        if not pair.pskd(h).alive():
            ends.append(pair.pskd(h).proc.returncode)
            pair.began = time.monotonic()
            pair.start(h)
        if not pair.recovers():
            lab.fail(f"failing_memory_{kind}_tcp_recovers", f"{rounds}, 1/{one_in}: {pair.shows()}")
            break
    else:
        lab.ok(f"failing_memory_{kind}_tcp_recovers_{rounds}_times")
    lab.check(f"failing_memory_{kind}_ends_by_no_signal", not any(e is None or e < 0 for e in ends), ends)
    with open(log) as f:
        refused = len(f.readlines())
    lab.check(f"failing_memory_{kind}_was_refused", refused > 0, refused)
    print(f"# seed {seed}: {rounds} rounds, {refused} allocations refused, pskd ended in {len(ends)} rounds")
    pair.verdict(f"failing_memory_{kind}")


def cpu_of(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def size_of(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[0]) * 4096


# ---- time ---------------------------------------------------------------------------------------

def clocks(net, kind, seed, jumps):
    """The wall clock jumps by ten years, both ways, under running daemons and between lives; of each side in turn, once
    there, once back and once to where it should be in three turns of its own."""
    pair, tally = Pair(net, kind, seed), Tally(f"clock_{kind}")
    controls = {h: os.path.join(h.dir, "control") for h in pair.hosts}
    for h in pair.hosts:
        set_control(controls[h], 0)
        pair.pskd(h).stop()
        pair.start(h, env=tunnel.injected(FAULT_CONTROL=controls[h]))
    tally.note("tcp_recovers", pair.recovers(), "")
    ten_years = 10 * 365 * 86400
    clocks_of = {h: pair.random.sample((-ten_years, 0, ten_years), 3) for h in pair.hosts}
    for turn in range(jumps):
        h = pair.hosts[turn % 2]
        set_control(controls[h], 0, clocks_of[h][turn // 2 % 3])
        tally.note("traffic_goes_on", pair.traffic.flows(30) is not None, turn)
        other = pair.random.choice(pair.hosts)
        pair.kill(other)
        why = pair.mark_holds(other)
        tally.note("i1_mark_covers_what_was_sent", not why, why)
        pair.start(other, env=tunnel.injected(FAULT_CONTROL=controls[other]))
        if not tally.note("i7_tcp_recovers", pair.recovers(), turn):
            tally.bad["i7_tcp_recovers"].append(pair.shows())
            break
    tally.report()
    pair.verdict(f"clock_{kind}")


def stopped(net, kind, seed, who, seconds):
    """SIGSTOP for a minute: to the peer it is as if the machine slept."""
    pair = Pair(net, kind, seed)
    h = pair.hosts[who]
    claim = f"stopped_{seconds}_s_{'initiator' if who == 0 else 'responder'}_{kind}"
    pair.freeze(h)
    time.sleep(seconds)
    pair.began = time.monotonic()
    os.kill(pair.pskd(h).pid, signal.SIGCONT)
    pair.check_recovers(f"tcp_recovers_{claim}")
    lab.check(f"both_live_{claim}", all(pair.pskd(x).alive() for x in pair.hosts), pair.shows())
    time.sleep(1)
    pair.verdict(claim)


# ---- which of them ------------------------------------------------------------------------------

def scenarios(seed, full):
    """[(name, function(net))]; full: the numbers of make test-long. What waits a minute comes first."""
    r, found = random.Random(seed), []

    def take(fn, *args):
        number = r.randrange(1 << 30)
        kind = [args[0]] if args and args[0] in KINDS else []
        more = [["initiator", "responder"][args[1]]] if fn is stopped else [args[1]] if fn is full_disk else []
        name = "_".join([fn.__name__, *kind, *more])
        found.append((name, lambda net: fn(net, *kind, number, *args[len(kind):])))

    edges = sorted({*SECTOR_EDGES, *FIELD_EDGES, *(range(0, 520, 8) if full else ())})
    r.shuffle(edges)
    stops = [(k, i) for k in KINDS for i in (0, 1)] if full else [("keyfile", 0), ("pairing", 1)]
    for kind, side in stops:
        take(stopped, kind, side, 60)
    for kind in KINDS if full else ("keyfile",):
        take(read_only_disk, kind)
    for kind in KINDS:
        take(kills, kind, 200 if full else 20)
    for i, kind in enumerate(KINDS):
        take(torn_writes, kind, edges if full else edges[i::3])
    for kind in KINDS:
        take(power_cuts, kind, 100 if full else 8)
    take(power_cut_control)
    take(forgotten_change_control)
    take(restored_prototype_control)
    for kind in KINDS[:2]:
        take(restored, kind, 60 if full else 6)
        take(cloned, kind, 60 if full else 5)
    for kind, medium in [(k, m) for k in KINDS for m in ("tmpfs", "ext4")] if full else \
            (("keyfile", "ext4"), ("prototype", "tmpfs")):
        take(full_disk, kind, medium)
    for kind in KINDS if full else ("pairing",):
        take(clocks, kind, 40 if full else 6)
    for kind in KINDS if full else ("pairing",):
        take(exhausted, kind)
    for kind in KINDS if full else ("keyfile",):
        take(failing_memory, kind, 120 if full else 6)
    return found


def choices(seed, n):
    """[(name, function(net))]: kills with each offload off, on both sides and on one, and with each AEAD."""
    r, found = random.Random(seed), []

    def take(name, a, b, in_use):
        number = r.randrange(1 << 30)
        found.append((name, lambda net: kills_with(net, name, (a + "\n", b + "\n"), in_use, number, n)))

    for off in ("vnet-header", "tso", "uso", "udp-gso", "udp-gro"):
        setting = f"offload: -{off}"
        take("without_" + off.replace("-", "_"), setting, setting, lambda u, off=off: off not in u["offload"])
    take("without_any_offload", "offload: none", "offload: none", lambda u: not u["offload"])
    take("offloads_on_one_side", "offload: none", "offload: all", lambda u: True)
    for aead in ("libsodium", "ipsec-mb"):
        take("with_" + aead.replace("-", "_"), f"aead: {aead}", f"aead: {aead}", lambda u, aead=aead: u.get("aead") == aead)
    return found
