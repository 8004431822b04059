"""Whether two kinds of requests can be told apart: by their answers, and by the time these take.

    a = Kind("known", 10000, lambda: request)       # bytes; further steps may hold ticket_for(…)
    b = Kind("unknown", 10000, lambda: request)
    measure(server, [a, b], rng)                    # an authlab.Server
    compare(a.waited[0], b.waited[0])               # Verdict

The kinds come mixed at random on one connection, so that whatever the machine does meanwhile falls on both. tools/http-times
asks and holds two clocks: what the client waited, and what the daemon worked, which others on the machine change less. Samples
are tested by Mann and Whitney's U (normal approximation) and Kolmogorov and Smirnov's D. How much a single look tells is
"later", the chance that one of b takes longer than one of a: 0.5 where nothing is to be seen.
"""
import bisect
import collections
import math
import os
import re
import statistics
import struct
import subprocess

import lab

# What is random, or the time, in every answer: compared by its length alone.
LENGTH_ALONE = re.compile(rb"\r\n(x-snonce|www-authenticate|date|retry-after): *([^\r]*)", re.I)
# Requests that are made ahead: a server's nonce in them must not get old before they go out.
BATCH = 1000
ROOM = b"~"


def ticket_for(length):
    """Stands in a request for the login's ticket in the answer before."""
    return ROOM * length


def ask(server, requests):
    """[(nanoseconds waited, nanoseconds the daemon worked, the whole answer), …]"""
    heads = ((len(r), max(r.find(ROOM), 0), r.count(ROOM)) for r in requests)
    out = subprocess.run([os.path.join(lab.BUILD, "tests/tools/http-times"), str(server.port), str(server.daemon.pid)],
                         input=b"".join(struct.pack("=III", *h) + r for h, r in zip(heads, requests)),
                         stdout=subprocess.PIPE, check=True).stdout
    answers, at = [], 0
    while at < len(out):
        waited, worked, n = struct.unpack_from("=QQI4x", out, at)
        answers.append((waited, worked, out[at + 24:at + 24 + n]))
        at += 24 + n
    return answers


def form(data):
    """What may not differ: status line, every header field with its value or the value's length, the body's length, and all of
    it where nothing was given."""
    head, body = data.split(b"\r\n\r\n", 1)
    head = LENGTH_ALONE.sub(lambda m: b"\r\n%s: %d bytes" % (m[1], len(m[2])), head)
    return head, len(body) if head[9:10] == b"2" else body


class Kind:
    def __init__(self, name, n, *steps):
        self.name, self.n, self.steps = name, n, steps
        self.waited, self.worked, self.forms = ([[] for _ in steps] for _ in range(3))


def measure(server, kinds, rng, begin=None):
    """So many of each kind as it says. begin() comes before each thousand."""
    order = [k for k in kinds for _ in range(k.n)]
    rng.shuffle(order)
    for i in range(0, len(order), BATCH):
        if begin:
            begin()
        steps = [(k, j) for k in order[i:i + BATCH] for j in range(len(k.steps))]
        for (k, j), (waited, worked, answer) in zip(steps, ask(server, [k.steps[j]() for k, j in steps])):
            k.waited[j].append(waited)
            k.worked[j].append(worked)
            k.forms[j].append(form(answer))


class Verdict(collections.namedtuple("Verdict", "n m later z p d median_a median_b")):
    def __str__(self):
        return (f"medians {self.median_a:.1f} and {self.median_b:.1f} us, P(later) {self.later:.4f}, Mann-Whitney z {self.z:+.2f} "
                f"p {self.p:.3g}, Kolmogorov-Smirnov D {self.d:.4f}")

    @property
    def shows(self):
        """Whether one look tells more than noise: a thirtieth above even, and five standard deviations of this many."""
        spread = math.sqrt((self.n + self.m + 1) / (12 * self.n * self.m))
        return abs(self.later - 0.5) > max(1 / 30, 5 * spread)


def compare(a, b):
    """Two-sample tests of times in nanoseconds."""
    x, y = sorted(a), sorted(b)
    n, m = len(x), len(y)
    u = ties = d = 0
    for v in set(x + y):
        x0, x1, y0, y1 = bisect.bisect_left(x, v), bisect.bisect_right(x,
                                                                       v), bisect.bisect_left(y, v), bisect.bisect_right(y, v)
        u += (y1 - y0) * (x0 + (x1 - x0) / 2)
        t = x1 - x0 + y1 - y0
        ties += t ** 3 - t
        d = max(d, abs(x1 / n - y1 / m))
    s = math.sqrt(n * m / 12 * ((n + m + 1) - ties / ((n + m) * (n + m - 1))))
    z = (u - n * m / 2) / s if s else 0.0
    return Verdict(n, m, u / (n * m), z, math.erfc(abs(z) / math.sqrt(2)), d, statistics.median(x) / 1e3,
                   statistics.median(y) / 1e3)
