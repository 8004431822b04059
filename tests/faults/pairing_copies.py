"""States that are put back and cloned, and acknowledgements that are withheld."""
import copy
import os
import shutil

import lab
from pairing_cell import Cell, Pairing
from pairing_points import Tally, conclude, confirm, each, move_roots, second_guess, shown_as_stored, strike


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
            shown_as_stored(cell.peers(x), x, d, wrong)
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
        verdict = conclude(cell, p, None, wrong)
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
