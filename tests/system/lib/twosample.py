"""Whether two kinds of requests can be told apart: by their answers, and by the time these take.

    a = Kind("known", lambda before: request)       # bytes; further steps get the answer of the one before
    b = Kind("unknown", lambda before: request)
    measure(("127.0.0.1", port), pid, [a, b], rng, 10000, seconds)
    compare(a.waited[0], b.waited[0])               # Verdict

The kinds come mixed at random on one connection, so that whatever the machine does meanwhile falls on both. Two clocks: what
the client waited, and what the daemon worked, which others on the machine change less. Samples are tested by Mann and
Whitney's U (normal approximation) and Kolmogorov and Smirnov's D. How much a single look tells is "later", the chance
that one of b takes longer than one of a: 0.5 where nothing is to be seen.
"""
import bisect
import collections
import gc
import math
import re
import socket
import statistics
import time

# What is random, or the time, in every answer: compared by its length alone.
LENGTH_ALONE = {b"x-snonce", b"www-authenticate", b"date", b"retry-after"}
# Samples of each kind that are taken however long they take.
LEAST = 400


class Connection:
    """Kept alive; asks one thing after the other."""

    def __init__(self, address):
        self.s = socket.create_connection(address, timeout=60)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        self.s.close()

    def ask(self, request):
        """(nanoseconds waited, the whole answer)"""
        begun = time.perf_counter_ns()
        self.s.sendall(request)
        data = self.s.recv(65536)
        while not is_whole(data):
            part = self.s.recv(65536)
            if not part:
                raise ConnectionError(f"closed after {data[:200]!r}")
            data += part
        return time.perf_counter_ns() - begun, data


def is_whole(data):
    at = data.find(b"\r\n\r\n")
    if at < 0:
        return False
    m = re.search(rb"\r\ncontent-length: *(\d+)", data[:at], re.I)
    return len(data) >= at + 4 + (int(m[1]) if m else 0)


def form(data):
    """What may not differ: status line, every header field with its value or the value's length, the body's length."""
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.split(b"\r\n")
    fields = []
    for line in lines[1:]:
        k, v = line.split(b":", 1)
        fields.append((k, len(v) if k.lower() in LENGTH_ALONE else v))
    return lines[0], tuple(fields), len(body)


class Kind:
    def __init__(self, name, *steps):
        self.name, self.steps = name, steps
        self.waited, self.worked, self.forms = ([[] for _ in steps] for _ in range(3))


def measure(address, pid, kinds, rng, n, seconds):
    """n of each kind, or as many as there is time for."""
    order = [k for k in kinds for _ in range(n)]
    rng.shuffle(order)
    clock = (~pid << 3) | 2  # the process's, clock_getcpuclockid(3)
    c = Connection(address)
    for _ in range(20):
        c.ask(b"GET /healthz HTTP/1.1\r\nHost: warm\r\n\r\n")
    end = time.monotonic() + seconds
    gc.collect()
    gc.disable()
    try:
        for i, k in enumerate(order):
            if i > 2 * LEAST and time.monotonic() > end:
                break
            answer = None
            for j, step in enumerate(k.steps):
                request = step(answer)
                before = time.clock_gettime_ns(clock)
                ns, answer = c.ask(request)
                k.forms[j].append(form(answer))
                # By now the daemon waits again, as a rule.
                k.worked[j].append(time.clock_gettime_ns(clock) - before)
                k.waited[j].append(ns)
    finally:
        gc.enable()
        c.close()


class Verdict(collections.namedtuple("Verdict", "n m later z p d median_a median_b")):
    def __str__(self):
        return (f"medians {self.median_a:.1f} and {self.median_b:.1f} us, P(later) {self.later:.4f}, Mann-Whitney z {self.z:+.2f} "
                f"p {self.p:.3g}, Kolmogorov-Smirnov D {self.d:.4f}")

    @property
    def shows(self):
        """Whether one look tells more than noise: a twentieth above even, and five standard deviations of this many."""
        spread = math.sqrt((self.n + self.m + 1) / (12 * self.n * self.m))
        return abs(self.later - 0.5) > max(0.05, 5 * spread)


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
