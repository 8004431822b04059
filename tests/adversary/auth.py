"""Somebody on the line between `handfast auth` and authd, with TLS off: every message of a login, a registration and a
signed request under every attack; and somebody who has seen all of it, without a password.

What may not happen: a session that is not its user's, or one that somebody opens who has no password; a signed request
that does something else than was signed, or does it twice; a password that is stretched less than the client's floor; no end;
a crash. Two things are beyond OPAQUE without TLS and not counted: who replaces a record while it is registered (RFC 9807
section 5 wants a channel that is authenticated; the client takes none but this machine without it), and who invents
answers to what was asked, as "you are logged in": that session works nowhere.
"""
import collections
import json
import os
import random
import re
import socket
import subprocess
import threading
import time

import authlab
import lab
import opaque
from opaque import b64, unb64

COUNTS = ("attacks", "wrong successes", "downgrades", "second guesses", "hangs", "crashes")
DEADLINE_S = 90
LANES = 4
LEAST = 40  # attacks, however slow the machine
PASSWORD = "correct horse battery staple"


class Message:
    """A request or an answer, to be looked at and changed."""

    def __init__(self, start, fields, body):
        self.start, self.fields, self.body = start, list(fields), body

    def copy(self):
        return Message(self.start, self.fields, self.body)

    def bytes(self):
        fields = [(k, v) for k, v in self.fields if k.lower() not in ("content-length", "transfer-encoding", "expect",
                                                                      "connection")]
        head = "\r\n".join([self.start, *(f"{k}: {v}" for k, v in fields), f"Content-Length: {len(self.body)}",
                            "Connection: close"])
        return head.encode("latin-1") + b"\r\n\r\n" + self.body

    @property
    def path(self):
        return self.start.split(" ")[1] if " " in self.start else ""

    def json(self):
        try:
            o = json.loads(self.body)
            return o if isinstance(o, dict) else {}
        except ValueError:
            return {}

    def put(self, o):
        self.body = json.dumps(o).encode()


def receive(k):
    """One message, or None."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = k.recv(65536)
        if not part:
            return None
        data += part
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    fields = [tuple(x.split(": ", 1)) if ": " in x else (x.split(":", 1)[0], "") for x in lines[1:]]
    n = next((int(v) for k_, v in fields if k_.lower() == "content-length"), 0)
    if any(k_.lower() == "expect" for k_, _ in fields):
        k.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(body) < n:
        part = k.recv(65536)
        if not part:
            break
        body += part
    return Message(lines[0], fields, body[:n] if n else b"")


class Line:
    """In front of authd. attack: (path, "ask" or "answer", function(line, message, asked) -> message or None to hang up)."""

    def __init__(self, authd_port):
        self.authd, self.attack, self.reached = authd_port, None, 0
        self.seen = collections.defaultdict(list)  # (path, way) -> messages as they came
        self.sent_finish = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                k, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(k,), daemon=True).start()

    def ask_authd(self, raw):
        """The answer to these bytes, or None."""
        with socket.create_connection(("127.0.0.1", self.authd), timeout=30) as k:
            k.sendall(raw)
            try:
                return receive(k)
            except (OSError, ValueError):
                return None

    def touch(self, way, message, asked):
        path = asked.path.split("?")[0]
        self.seen[path, way].append(message.copy())
        if self.attack and self.attack[:2] == (path, way):
            self.reached += 1
            return self.attack[2](self, message.copy(), asked)
        return message

    def serve(self, k):
        try:
            with k:
                k.settimeout(30)
                asked = receive(k)
                if not asked:
                    return
                if asked.path in ("/login/finish", "/register/finish"):
                    self.sent_finish += 1
                sent = self.touch("ask", asked, asked)
                answer = self.ask_authd(sent.bytes() if isinstance(sent,
                                                                   Message) else sent) if sent is not None else None
                answer = self.touch("answer", answer, asked) if answer else None
                if answer:
                    k.sendall(answer.bytes() if isinstance(answer, Message) else answer)
        except OSError:
            pass


# ---- attacks on one message: function(line, message, asked) ----

def drop(line, m, asked):
    return None


def twice(line, m, asked):
    """To authd, the second answer counts; to the client, two in a row."""
    if m is asked or m.start == asked.start:
        line.ask_authd(m.bytes())
        return m
    return m.bytes() + m.bytes()


def late(line, m, asked):
    time.sleep(1)
    return m


def cut(n):
    def act(line, m, asked):
        raw = m.bytes()
        return raw[:len(raw) * n // 8]
    return act


def cut_body(line, m, asked):
    m.body = m.body[:len(m.body) // 2]
    return m


def longer(line, m, asked):
    m.body += m.body
    return m


def huge(line, m, asked):
    o = m.json()
    o["more"] = "x" * 20000
    m.put(o)
    return m


def as_list(line, m, asked):
    m.body = b"[" + m.body + b"]"
    return m


def reflect(line, m, asked):
    """What was sent comes back as the answer."""
    return Message("HTTP/1.1 200 OK", [("Content-Type", "application/json")], asked.body)


def status(code):
    def act(line, m, asked):
        m.start = f"HTTP/1.1 {code} X"
        return m
    return act


def elsewhere(line, m, asked):
    m.start, m.fields = "HTTP/1.1 307 X", [*m.fields, ("Location", f"http://127.0.0.1:{line.authd}{asked.path}")]
    return m


def of_before(user):
    """The same message of an earlier login, of the same user or of another."""
    def act(line, m, asked):
        way = "ask" if m.start == asked.start else "answer"
        old = line.book.get((user, asked.path.split("?")[0], way))
        if not old:
            return m
        # A request keeps its own form; what was said in it is the old one.
        m.body = old.body
        return m
    return act


def field_of_before(user, name):
    def act(line, m, asked):
        way = "ask" if m.start == asked.start else "answer"
        old = line.book.get((user, asked.path.split("?")[0], way))
        o = m.json()
        if old and name in old.json():
            o[name] = old.json()[name]
            m.put(o)
        return m
    return act


def change(name, how):
    def act(line, m, asked):
        o = m.json()
        o[name] = how(o.get(name))
        m.put(o)
        return m
    return act


def without(name):
    def act(line, m, asked):
        o = m.json()
        o.pop(name, None)
        m.put(o)
        return m
    return act


def flip(at):
    """A bit of a byte string, at a share of its length."""
    def how(v):
        try:
            data = bytearray(unb64(v))
        except (ValueError, TypeError):
            return "x"
        i = min(int(len(data) * at), len(data) - 1)
        data[i] ^= 1
        return b64(bytes(data))
    return how


def zeros(v):
    return b64(bytes(len(v) * 3 // 4)) if isinstance(v, str) else 0


def header(name, how):
    """A field of a signed request; how(value) gives another, or None to take it away."""
    def act(line, m, asked):
        m.fields = [(k, how(v) if k.lower() == name.lower() else v) for k, v in m.fields]
        m.fields = [(k, v) for k, v in m.fields if v is not None]
        return m
    return act


def header_twice(name):
    def act(line, m, asked):
        m.fields += [(k, v) for k, v in m.fields if k.lower() == name.lower()]
        return m
    return act


def request_line(method=None, path=None):
    def act(line, m, asked):
        was = m.start.split(" ")
        m.start = " ".join([method or was[0], path or was[1], was[2]])
        return m
    return act


def other_body(line, m, asked):
    m.put({"to": "bob", "note": "evil"})
    return m


def body_and_digest(line, m, asked):
    m = other_body(line, m, asked)
    return header("Content-Digest", lambda v: opaque.content_digest(m.body))(line, m, asked)


def session_of_another(line, m, asked):
    return header("Authorization", lambda v: f"Bearer {line.others_session}")(line, m, asked)


def own_server(line, m, asked):
    """KE2 of a server with keys of its own, for a password that it guesses."""
    ke1, name, origin = unb64(asked.json()["ke1"]), asked.json()["user"].encode(), f"http://127.0.0.1:{line.port}".encode()
    oprf, private = opaque.random_scalar(), opaque.random_scalar()
    public = opaque.base(private)
    ksf = {"memory_kib": 19456, "passes": 2}
    r, request = opaque.blind(b"123456")
    record = opaque.make_record(b"123456", r, opaque.multiply(oprf, request) + public, name, origin, ksf)
    nonce = os.urandom(32)
    pad = opaque.expand(record[32:96], nonce + b"CredentialResponsePad", 128)
    masked = bytes(x ^ y for x, y in zip(pad, public + record[96:]))
    secret, share = opaque.derive_dh(os.urandom(32))
    response = opaque.multiply(oprf, ke1[:32]) + nonce + masked + os.urandom(32) + share
    prk = opaque.extract(opaque.multiply(secret, ke1[64:]) + opaque.multiply(private, ke1[64:]) +
                         opaque.multiply(secret, record[:32]))
    preamble = opaque.sha512(b"OPAQUEv1-", opaque.lv(b""), opaque.lv(name), ke1, opaque.lv(origin), response)
    handshake = opaque._label(prk, b"HandshakeSecret", preamble)
    o = m.json()
    o["ke2"] = b64(response + opaque.mac(opaque._label(handshake, b"ServerMAC", b""), preamble))
    m.put(o)
    return m


def invented(**members):
    def act(line, m, asked):
        return Message("HTTP/1.1 200 OK", [("Content-Type", "application/json")],
                       json.dumps({**m.json(), **members}).encode())
    return act


WEAK = [{"memory_kib": 8}, {"memory_kib": 19455}, {"passes": 1}, {"passes": 0}, {"parallelism": 2},
        {"name": "identity"}, {"name": "scrypt"},
        {"memory_kib": 1 << 30}, {"memory_kib": -1}, {"passes": 1 << 31}, {"passes": 1000}]
OTHER = [{"memory_kib": 20000}, {"passes": 3}]


def ksf(part):
    return change("ksf", lambda v: {**(v if isinstance(v, dict) else {}), **part})


ANY = {"drop": drop, "twice": twice, "late": late, **{f"cut {n}/8": cut(n) for n in (0, 1, 4, 7)}, "cut body": cut_body,
       "longer": longer,
       "huge": huge, "list": as_list}
ANSWERS = {"reflect": reflect, **{f"status {c}": status(c) for c in (100, 200, 201, 204, 401, 429, 500)},
           "redirect": elsewhere}
FIELDS = {("/login/start", "ask"): ("user", "ke1"), ("/login/start", "answer"): ("login_id", "ke2", "ksf"),
          ("/login/finish", "ask"): ("login_id", "ke3"),
          ("/login/finish", "answer"): ("session_id", "expires_in_s", "renew"),
          ("/config", "answer"): ("origin", "ksf", "suite", "registration")}
HEADERS = ("Authorization", "X-SNONCE", "X-NONCE", "Content-Digest", "X-POP", "Host")


def on_login():
    for (path, way), names in [*FIELDS.items(), (("/config", "ask"), ())]:
        for name, act in {**ANY, **(ANSWERS if way == "answer" else {})}.items():
            yield path, way, name, act
        for user in ("alice", "bob"):
            yield path, way, f"of {user} before", of_before(user)
        for f in names:
            for user in ("alice", "bob"):
                yield path, way, f"{f} of {user} before", field_of_before(user, f)
            yield path, way, f"without {f}", without(f)
            for name, how in (("null", lambda v: None), ("number", lambda v: 7), ("empty", lambda v: ""),
                              ("zeros", zeros), ("list", lambda v: [v])):
                yield path, way, f"{f} {name}", change(f, how)
    for f, path, way in (("ke1", "/login/start", "ask"), ("ke2", "/login/start", "answer"),
                         ("ke3", "/login/finish", "ask"), ("login_id", "/login/finish", "ask"),
                         ("session_id", "/login/finish", "answer")):
        for at in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1):
            yield path, way, f"{f} bit at {at}", change(f, flip(at))
    yield "/login/start", "answer", "own server", own_server
    yield "/login/start", "answer", "random server", change("ke2", lambda v: b64(os.urandom(320)))
    yield "/login/start", "ask", "of another name", change("user", lambda v: "bob")
    yield "/login/finish", "answer", "invented session", invented(session_id=b64(bytes(32)), expires_in_s=100,
                                                                  renew=False)
    for part in WEAK:
        yield "/config", "answer", f"weak {part}", ksf(part)
        yield "/login/start", "answer", f"weak {part}", ksf(part)
    for part in OTHER:
        yield "/login/start", "answer", f"other {part}", ksf(part)


def on_request():
    path = "/api/transfer"
    for name, act in ANY.items():
        yield path, "ask", name, act
    for name, act in {**ANY, **ANSWERS}.items():
        yield path, "answer", name, act
    for h in HEADERS:
        for name, how in (("changed", lambda v: v[:-2] + ("A" if v[-2] != "A" else "B") + v[-1]),
                          ("gone", lambda v: None), ("empty", lambda v: ""), ("longer", lambda v: v + "A")):
            yield path, "ask", f"{h} {name}", header(h, how)
        yield path, "ask", f"{h} twice", header_twice(h)
    yield path, "ask", "body", other_body
    yield path, "ask", "body and digest", body_and_digest
    yield path, "ask", "another's session", session_of_another
    yield path, "ask", "as time", lambda line, m, asked: header("X-SNONCE", lambda v: None)(
        line, Message(m.start, [*m.fields, ("X-TS", str(int(time.time())))], m.body), asked)
    for method, to in (("PUT", None), ("GET", "/session"), (None, "/logout"), (None, "/unregister"),
                       (None, "/api/transfer?x"), (None, "/api//transfer"),
                       (None, "/register/start")):
        yield path, "ask", f"to {method} {to}", request_line(method, to)


def on_register():
    """What may be done to it without TLS is much (see above); it ends, and nobody's password is stretched less."""
    fields = {("/register/start", "ask"): ("user", "request"), ("/register/start", "answer"): ("response", "ksf"),
              ("/register/finish", "ask"): ("user", "record"), ("/register/finish", "answer"): ("user",)}
    for (path, way), names in fields.items():
        for name, act in {**ANY, **(ANSWERS if way == "answer" else {})}.items():
            yield path, way, name, act
        for f in names:
            yield path, way, f"without {f}", without(f)
            for name, how in (("null", lambda v: None), ("zeros", zeros), ("bit", flip(0.3)), ("last bit", flip(1))):
                yield path, way, f"{f} {name}", change(f, how)
        if "user" in names:
            yield path, way, "alice's name", change("user", lambda v: "alice")
    for part in WEAK:
        yield "/register/start", "answer", f"weak {part}", ksf(part)


class Victim:
    """alice, by the real command."""

    def __init__(self, host, line):
        self.host, self.url = host, f"http://127.0.0.1:{line.port}"
        self.state, self.pw = os.path.join(host.dir, "victim"), os.path.join(host.dir, "pw")
        os.makedirs(self.state)
        with open(self.pw, "w") as f:
            f.write(PASSWORD + "\n")

    def run(self, *args):
        """(code, text), or None when it did not end."""
        env = dict(self.host.env(), XDG_STATE_HOME=self.state)
        p = subprocess.Popen([f"{lab.BUILD}/bin/handfast", "auth", *args], env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, preexec_fn=os.setsid)
        try:
            out = p.communicate(timeout=DEADLINE_S)[0]
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            return None
        return p.returncode, out.decode(errors="replace")

    def login(self):
        return self.run("login", self.url, "alice", "--password-file", self.pw)

    def request(self, *args):
        return self.run("request", *args)


class Score:
    """What all lanes share."""

    def __init__(self, rng, only=None):
        rows = [("login", *a) for a in on_login()] + [("request", *a) for a in on_request()] + \
            [("register", *a) for a in on_register()]
        self.there = len(rows)
        self.todo = [(n, *a) for n, a in enumerate(rows) if only in (None, n)]
        rng.shuffle(self.todo)
        self.counts, self.findings, self.ends = collections.Counter({c: 0 for c in COUNTS}), [], collections.Counter()
        self.unreached = self.notes = 0
        self.lock = threading.Lock()

    def next(self):
        with self.lock:
            return self.todo.pop() if self.todo else None

    def add(self, reached, end):
        with self.lock:
            self.counts["attacks"] += 1
            self.unreached += not reached
            self.ends[end] += 1

    def found(self, what, name, why):
        with self.lock:
            self.counts[what] += 1
            self.findings.append(f"{what}: {name}: {why}")


class Lane:
    """An authd, a line in front of it, and its victim."""

    def __init__(self, net, n, score):
        self.score, self.wanted, self.is_in, self.users = score, set(), False, 0
        self.line = Line(lab.free_port())
        self.url = f"http://127.0.0.1:{self.line.port}"
        self.host = net.host(f"auth{n}")
        limits = "limits:\n  request_timeout: 2s\n  sessions_per_user: 1000\n"
        self.daemon = self.host.start("authd", config=f"listen: [\"127.0.0.1:{self.line.authd}\"]\norigin: {self.url}\nregistration: open\n"
                                                      f"{authlab.CHEAP}{authlab.PATIENT}{limits}")
        self.victim = Victim(self.host, self.line)
        self.bob = self.member("bob")
        self.member("alice")
        self.line.others_session = self.bob.session
        self.line.book = {(user, *k): ms[-1] for user in ("alice", "bob") for k, ms in self.look(user).items()}

    def member(self, user):
        c = opaque.Client(self.url)
        if c.register(user, PASSWORD.encode()).status != 201 or c.login(user, PASSWORD.encode()).status != 200:
            raise RuntimeError(user)
        return c

    def look(self, user):
        """What an honest login looks like."""
        self.line.seen.clear()
        opaque.Client(self.url).login(user, PASSWORD.encode())
        return dict(self.line.seen)

    def end_of(self, name, r):
        """Whether the command ended well; as commands do, in any case."""
        if r is None:
            self.score.found("hangs", name, f"no end in {DEADLINE_S} s")
        elif r[0] < 0 or r[0] > 100:
            self.score.found("crashes", name, r)
        if not self.daemon.alive():
            self.score.found("crashes", name, "authd is gone")
        return r is not None and r[0] == 0

    def whoami(self):
        self.line.attack = None
        r = self.victim.request(f"{self.url}/api/whoami")
        return bool(r and r[0] == 0 and '"alice"' in r[1])

    def attack_login(self, path, way, act, name, what):
        self.line.attack, self.line.reached, self.line.sent_finish = (path, way, act), 0, 0
        self.line.seen.clear()
        r = self.victim.login()
        reached, finishes = self.line.reached, self.line.sent_finish
        good, self.is_in = self.end_of(name, r), False
        if good:
            self.is_in = self.whoami()
        self.line.attack = None
        self.score.add(reached, "in" if good else "refused")
        # Whoever answers the last step says what he likes; up to there, who is in is in with the server.
        if good and not self.is_in and (path, way) != ("/login/finish", "answer"):
            self.score.found("wrong successes", name, r)
        if what.startswith("weak") and (finishes or good):
            self.score.found("downgrades", name, r)
        self.try_loot(name)

    def try_loot(self, name):
        """What passed on the line, also when it is sent once more, is good for nothing without the key."""
        answers = self.line.seen["/login/finish", "answer"][-1:]
        answers += [a for m in self.line.seen["/login/finish", "ask"][-1:] if (a := self.line.ask_authd(m.bytes()))]
        thief = opaque.Client(f"http://127.0.0.1:{self.line.authd}")
        for a in answers:
            id_ = a.json().get("session_id")
            if not isinstance(id_, str) or not re.fullmatch(r"[\w-]{43}", id_):
                continue
            for key in (bytes(32), unb64(id_)):
                thief.session, thief.key, thief.snonce = id_, key, None
                if thief.signed("GET", "/session").status < 400:
                    self.score.found("wrong successes", name, "a session is good without its key")

    def attack_request(self, path, way, act, name, what):
        if not self.is_in and not self.enter():
            self.score.found("wrong successes", name, "the victim cannot log in")
            return
        note = f"note {len(self.wanted)}"
        self.wanted.add(note)
        self.line.seen.clear()
        self.line.attack, self.line.reached = (path, way, act), 0
        r = self.victim.request("-X", "POST", "-H", "Content-Type: application/json", "-d",
                                json.dumps({"to": "bob", "note": note}), f"{self.url}{path}")
        self.end_of(name, r)
        self.line.attack = None
        self.score.add(self.line.reached, "answered" if r and r[0] == 0 else "not answered")
        # Once more what authd may have seen already, and then once more what it has.
        for m in self.line.seen[path, "ask"] * 2:
            self.line.ask_authd(m.bytes())
        self.is_in = self.whoami() if "logout" in what or "register" in what else self.is_in
        if "logout" in what and not self.is_in:
            self.score.found("wrong successes", name, "logged out by a request for something else")

    def attack_register(self, path, way, act, name, what):
        self.line.attack, self.line.reached, self.line.sent_finish = (path, way, act), 0, 0
        self.users += 1
        r = self.victim.run("register", self.url, f"new{self.users}", "--password-file", self.victim.pw)
        self.line.attack = None
        self.score.add(self.line.reached, "registered" if self.end_of(name, r) else "not registered")
        if what.startswith("weak") and self.line.sent_finish:
            self.score.found("downgrades", name, r)

    def enter(self):
        self.line.attack = None
        self.is_in = self.end_of("login", self.victim.login()) and self.whoami()
        return self.is_in

    def work(self, end):
        while (time.monotonic() < end or self.score.counts["attacks"] < LEAST) and (a := self.score.next()):
            n, kind, path, way, what, act = a
            attack = {"login": self.attack_login, "request": self.attack_request, "register": self.attack_register}
            attack[kind](path, way, act, f"a{n} {path} {way} {what}", what)
        if not self.enter():
            self.score.found("wrong successes", "afterwards", "the victim cannot log in")
        self.judge_notes()
        if self.daemon.stop() != 0:
            self.score.found("crashes", "authd", self.daemon.log()[-400:])

    def judge_notes(self):
        """bob got what alice wrote, each at most once, and nothing else."""
        got, after, more = collections.Counter(), 0, True
        while more:
            page = self.bob.signed("GET", f"/api/transfers?after={after}").json
            got.update(t["note"] for t in page["transfers"])
            after, more = page["transfers"][-1]["id"] if page["transfers"] else after, page["more"]
        for note, n in got.items():
            if note not in self.wanted or n > 1:
                self.score.found("wrong successes", "a note", f"{note!r} {n} times")
        with self.score.lock:
            self.score.notes += len(got)


def campaign(net, seconds, seed, only=None):
    """The score of as many attacks as there is time for, in an order of the seed's; only: that one."""
    score = Score(random.Random(seed), only)
    end = time.monotonic() + seconds
    broken = []

    def work(lane):
        try:
            lane.work(end)
        except Exception as e:  # a lane that breaks has shown nothing
            broken.append(f"{type(e).__name__}: {e}")

    lanes = [threading.Thread(target=work, args=(Lane(net, n, score),)) for n in range(LANES)]
    for t in lanes:
        t.start()
    for t in lanes:
        t.join()
    if broken:
        raise RuntimeError("; ".join(broken))
    return score


def summary(counts):
    return ", ".join(f"{c} {counts[c]}" for c in COUNTS)
