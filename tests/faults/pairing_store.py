"""What pairingd and pskd have on disk, read without them, and whether two devices agree.

Roots are compared one way: both a root and the ledger that it was moved to give
the hello key of handfast-ledger(5).
"""
import hashlib
import hmac
import json
import os
import shutil
import sqlite3
import tempfile


def hkdf(salt, ikm, info, n):
    """HKDF-SHA-256 of RFC 5869."""
    prk = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    out, block, i = b"", b"", 1
    while len(out) < n:
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out += block
        i += 1
    return out[:n]


def hello_of_root(root, tunnel_id):
    chain = hkdf(tunnel_id, root, b"handfast ratchet 1", 32)
    return hkdf(b"", hkdf(b"", chain, b"slot", 60)[28:60], b"hello", 32)


def read_ledger(path):
    """The hello key of the newest whole record, or None."""
    with open(path, "rb") as f:
        data = f.read()
    best = None
    for at in (0, 4096):
        r = data[at:at + 4096]
        if len(r) == 4096 and r[:16] == b"handfast ledger\n" and hashlib.sha256(r[:4064]).digest() == r[4064:]:
            generation = int.from_bytes(r[20:28], "big")
            if not best or generation > best[0]:
                best = (generation, r[80:112])
    return best[1] if best else None


class Device:
    """One device's state as it lies on the disk."""

    def __init__(self, pairingd_dir, pskd_dir):
        self.dir = pairingd_dir
        self.pairings, self.attempts, self.failures = [], [], 0
        self.key = None
        self.problem = None
        self._read_db()
        self.ledgers = {}
        folder = os.path.join(pskd_dir, "ledgers")
        for n in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if n.startswith("pairing-") and n.endswith(".ledger"):
                self.ledgers[bytes.fromhex(n[len("pairing-"):-len(".ledger")])] = read_ledger(os.path.join(folder, n))
        folder = os.path.join(pskd_dir, "tunnels")
        self.tunnels = {}
        for n in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if n.endswith(".json"):
                with open(os.path.join(folder, n)) as f:
                    self.tunnels[n[:-len(".json")]] = json.load(f)

    def _read_db(self):
        with tempfile.TemporaryDirectory(prefix="handfast-read-") as tmp:
            for n in ("pairings.db", "pairings.db-wal"):
                path = os.path.join(self.dir, n)
                if os.path.exists(path):
                    shutil.copy(path, os.path.join(tmp, n))
            if not os.path.exists(os.path.join(tmp, "pairings.db")):
                return
            db = sqlite3.connect(os.path.join(tmp, "pairings.db"))
            try:
                db.row_factory = sqlite3.Row
                if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                    self.problem = "the store is damaged"
                    return
                # A store that was cut off before its first table holds nothing.
                if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'peer'").fetchone()[0]:
                    self.pairings = [dict(r) for r in db.execute("SELECT * FROM peer")]
                    self.attempts = [dict(r) for r in db.execute("SELECT * FROM attempt ORDER BY number")]
                    self.failures = db.execute("SELECT failures FROM guard").fetchone()[0]
            finally:
                db.close()

    def row(self, tunnel_id):
        return next((r for r in self.pairings if r["tunnel_id"] == tunnel_id), None)

    def tunnel_ids(self):
        return {r["tunnel_id"] for r in self.pairings}

    def is_spent(self, code):
        return any(a["code"] == code for a in self.attempts)

    def hello(self, tunnel_id):
        """The one-way image of the root, wherever it is; None: it is nowhere."""
        row = self.row(tunnel_id)
        if row and row["root"] and len(row["root"]) == 32:
            return hello_of_root(row["root"], tunnel_id)
        return self.ledgers.get(tunnel_id)

    def holds(self, needle):
        """Files of pairingd's in which these bytes lie."""
        found = []
        for n in sorted(os.listdir(self.dir)):
            with open(os.path.join(self.dir, n), "rb") as f:
                if needle in f.read():
                    found.append(n)
        return found


def peer_id(public_key):
    return hashlib.sha256(public_key).digest()[:16]


def judge(a, b, key_a, key_b, earlier, acknowledged):
    """What became of a pairing between two devices. earlier: the tunnel id that both had before, or
    None. acknowledged: {"a": state that its command was answered with, …}. The pair of a verdict
    ("agree", "unconfirmed", "aborted") and a list of what is wrong."""
    wrong = []
    for d, name in ((a, "a"), (b, "b")):
        if d.problem:
            wrong.append(f"{name}: {d.problem}")
    new = (a.tunnel_ids() | b.tunnel_ids()) - {earlier}
    # A pairing that was stored is one pairing, on however many sides.
    if len(new) > 1:
        wrong.append(f"{len(new)} new pairings")
    verdict = "aborted"
    usable = False
    for t in new:
        rows = {"a": a.row(t), "b": b.row(t)}
        for name, peer_key in (("a", key_b), ("b", key_a)):
            r = rows[name]
            if r and (r["public_key"] != peer_key or r["id"] != peer_id(peer_key)):
                wrong.append(f"{name} has pinned another key")
        if rows["a"] and rows["b"]:
            hellos = a.hello(t), b.hello(t)
            if None in hellos:
                wrong.append("a root is lost")
            elif hellos[0] != hellos[1]:
                wrong.append("the roots differ")
            if rows["a"]["role"] == rows["b"]["role"]:
                wrong.append("both have one role")
            usable = not wrong
            verdict = "agree" if rows["a"]["active"] and rows["b"]["active"] else "unconfirmed"
        else:
            name = "a" if rows["a"] else "b"
            verdict = "unconfirmed"
            if rows[name]["active"]:
                wrong.append(f"{name} says active, and the other side has nothing")
            if (a if name == "a" else b).hello(t) is None:
                wrong.append(f"{name} lost the root of what it stored")
    for name, d in (("a", a), ("b", b)):
        said = acknowledged.get(name)
        rows = [r for r in d.pairings if r["tunnel_id"] != earlier]
        if said and not rows:
            wrong.append(f"{name} acknowledged a pairing that is not there")
        if said == "active" and not any(r["active"] for r in rows):
            wrong.append(f"{name} acknowledged active and is not")
        if said == "active" and not usable:
            wrong.append(f"{name} acknowledged active and the two cannot work")
        if earlier and not usable and not (d.row(earlier) and d.row(earlier)["active"] and d.hello(earlier)):
            wrong.append(f"{name} lost the earlier pairing to one that failed")
    return verdict, wrong
