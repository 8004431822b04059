"""Disks that refuse, descriptors and memory that end, clocks that are wrong, daemons that stand still."""
import contextlib
import os
import random
import resource
import signal
import socket
import time

import lab
from pairing_cell import Cell, Pairing
from pairing_points import AT_A_TIME, Control, Disk, Tally, conclude, each, is_sanitized, limit_of, revive, sweep
from pairing_wire import ROUNDS


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
        verdict = conclude(cell, p, earlier, wrong)
        return verdict if reached else "not reached", wrong
    finally:
        cell.close()


def refusing_disk(net, seed, points, name):
    sweep(net, seed, points, refuse_at, name[:2], f"i4_{name}_at_any_change_of_the_store_is_told_and_survived")


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
    cell = Cell(net, name, step="30s")
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
        verdict = conclude(cell, p, earlier, wrong)
        return verdict, wrong
    finally:
        cell.close()


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
    each([(f"e{i}", point) for i, point in enumerate(points)], lambda j: exhaust_at(net, *j), tally)
    tally.done()


def starve_at(net, name, point):
    """One allocation in so many fails, in one daemon, for one pairing."""
    victim, one_in, seed = point
    control = Control(net, name, f"malloc:1/{one_in}:ENOMEM,mmap:1/{one_in}:ENOMEM", seed)
    cell = Cell(net, name, step="30s", env={victim[-1]: control.env} if victim != "relayd" else None,
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
        verdict = conclude(cell, p, None, wrong)
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
        said, last = p.acknowledged(), p.a.last
        verdict = conclude(cell, p, None, wrong)
        if verdict != "agree" or said != {"a": "active", "b": "active"}:
            wrong.append(f"the clock ended it: {verdict} {last}")
        return verdict, wrong
    finally:
        cell.close()


def clocks(net, seed, rounds=None):
    """Every clock both ways at these rounds; else at one of the seed's."""
    rng = random.Random(seed)
    points = [(victim, years, n) for victim in ("pairingd-a", "pairingd-b", "relayd") for years in (10, -10)
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
        verdict = conclude(cell, p, earlier, wrong)
        if 6 * seconds <= step_s and verdict != "agree":
            wrong.append(f"a stop shorter than every deadline ended it: {p.a.last} {p.b.last}")
        return verdict, wrong
    finally:
        cell.close()


def stopped(net, seed, seconds=60, rounds=None):
    rng = random.Random(seed)
    points = [(victim, n, step, for_s) for victim in ("pairingd-a", "pairingd-b", "relayd")
              for step, for_s in ((20, seconds), (60, 5)) for n in (rounds or [rng.choice((3, 4, 5, 6, 8, 9))])]
    tally = Tally("i9_a_daemon_stopped_for_a_minute_in_a_pairing_ends_it_or_goes_on")
    each([(f"s{i}", point) for i, point in enumerate(points)], lambda j: stop_at(net, *j), tally, 2 * AT_A_TIME)
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
