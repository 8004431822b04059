"""An independent reader of pskd's state folder: what a ledger says that may have been used, from handfast-ledger(5)
alone. Nothing here shares code with pskd."""
import hashlib
import json
import os
import struct

BLOCK, RECORD = 4096, struct.Struct(">16sIQBBBB32s16s32sQ32sQQIQQIQQ32s32s32s")
FIELDS = ("magic", "version", "generation", "kind", "role", "handshaken", "flags", "fingerprint", "tunnel_id",
          "hello_key", "slots", "table", "tx_next", "tx_reserved", "tx_limit", "rx_high", "rx_mark", "rx_limit",
          "erase_to", "erased", "edge", "tx_chain", "rx_chain")


def read_block(block):
    """The fields of one record, or None: not whole."""
    if len(block) != BLOCK or hashlib.sha256(block[:-32]).digest() != block[-32:]:
        return None
    r = dict(zip(FIELDS, RECORD.unpack_from(block)))
    return r if r["magic"] == b"handfast ledger\n" and r["version"] in (1, 2) else None


class Ledger:
    """Both records, judged as the manual says."""

    def __init__(self, data):
        found = [read_block(data[i * BLOCK:(i + 1) * BLOCK]) for i in range(2)]
        whole = sorted((r for r in found if r), key=lambda r: r["generation"])
        self.whole = len(whole)
        self.newest = whole[-1] if whole else None
        self.is_torn = len(whole) < 2 or whole[1]["generation"] != whole[0]["generation"] + 1

    @classmethod
    def read(cls, path):
        with open(path, "rb") as f:
            return cls(f.read())

    @property
    def mark(self):
        """The first sequence that a later life may send with; None: no life can begin with this ledger."""
        if not self.newest:
            return None
        return self.newest["tx_reserved"] + (self.newest["tx_limit"] if self.is_torn else 0)

    def chains(self):
        """The chains of both directions where the marks are: slot 0's, while nothing was used."""
        own, other = self.newest["tx_chain"], self.newest["rx_chain"]
        return (own, other) if self.newest["role"] == 0 else (other, own)


def ledger_paths(folder):
    d = os.path.join(folder, "ledgers")
    return sorted(os.path.join(d, n) for n in os.listdir(d) if n.endswith(".ledger")) if os.path.isdir(d) else []


def tunnels(folder):
    """{name: what its file says}, of the tunnels that were made by command or by a pairing."""
    d, found = os.path.join(folder, "tunnels"), {}
    for n in os.listdir(d) if os.path.isdir(d) else ():
        if n.endswith(".json"):
            with open(os.path.join(d, n)) as f:
                found[n[:-5]] = json.load(f)
    return found


def left_over(folder):
    """Files of a write that never ended."""
    return [os.path.join(at, n) for at, _, names in os.walk(folder) for n in names
            if not n.endswith((".ledger", ".chunks", ".json"))]
