"""Daemons, commands and lines that die: between messages, and at each change of what they store."""
import os
import signal

import lab
from pairing_cell import Cell, Pairing
from pairing_points import Disk, Tally, conclude, each, move_roots, revive, strike, sweep, wait_for_death
from pairing_wire import ROUNDS


# ---- between messages ----

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
        verdict = conclude(cell, p, earlier, wrong)
        return verdict, wrong
    finally:
        cell.close()


def kill_between_messages(net, seed, points):
    sweep(net, seed, points, kill_at, "k", "i9_killed_between_messages_both_agree_or_say_unconfirmed_and_recover",
          "i3_killed_between_messages_a_pin_is_spent_before_it_is_used_and_guessed_once")


# ---- at a change of what is stored ----

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
        verdict = conclude(cell, p, earlier, wrong, code_again=died)
        return verdict if died else "not reached", wrong
    finally:
        cell.close()


def crash_in_store(net, seed, points):
    sweep(net, seed, points, crash_at, "c", "i9_killed_at_each_change_of_the_store_what_was_acknowledged_is_there",
          "i3_with_the_power_cut_a_pin_is_spent_before_it_is_used_and_guessed_once")


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
