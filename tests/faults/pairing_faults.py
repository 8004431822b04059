"""The scenarios. Each tries many points, some at a time, and makes one verdict of them, with counts."""
import collections
import concurrent.futures
import os
import random
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
            if files := after.holds(r["root"]):
                wrong.append(f"{x}: a moved root is still in {files}")


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
