"""Whether a secret stands in argv or environment of a process that the test started (I5)."""
import os
import re


def _descendants():
    """This process and all below it."""
    parent = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                parent[int(pid)] = int(f.read().rpartition(")")[2].split()[1])
        except OSError:
            pass
    mine = {os.getpid()}
    while True:
        more = {p for p, up in parent.items() if up in mine} - mine
        if not more:
            return mine
        mine |= more


def find(secret):
    """Places where it stands alone; six digits inside a longer number are chance."""
    alone = re.compile(rb"(?<![0-9A-Za-z])" + re.escape(secret.encode()) + rb"(?![0-9A-Za-z])")
    found = []
    for pid in _descendants() - {os.getpid()}:
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as f:
                    if alone.search(f.read()):
                        found.append(f"/proc/{pid}/{name}")
            except OSError:
                pass
    return found
