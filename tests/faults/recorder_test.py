"""The recorder tested: what it must report, planted; what it must not, too."""
import hashlib
import os
import socket

import lab
import psk2
import recorder
import state


class Planted:
    """A key file in memory, as both the recorder and the maker of packets see it."""

    def __init__(self, prototype=False):
        self.maker = psk2.KeyFile.random(20)
        self.material = recorder.KeyFile.__new__(recorder.KeyFile)
        self.material.data, self.material.prototype = self.maker.data, prototype
        self.material.hello_key = recorder.hkdf(self.material.half(0, 1)[2], b"hello")
        self.book = recorder.Book([self.material])

    def session(self, number, hear=True):
        """A session of the maker's; its BIND goes over the recorded wire unless hear is False."""
        nonces, ids = (os.urandom(32), os.urandom(32)), (os.urandom(16), os.urandom(16))
        bind = psk2.handshake(self.maker, psk2.BIND, 0, ids[0], *nonces, number, echo=(ids[1], 0, 0))
        if hear:
            self.book.feed("a", bind)
        return psk2.Session(self.maker, number, *nonces, *ids), bind


def check_repeats():
    p = Planted()
    s, _ = p.session(1)
    for direction in (0, 1):
        for n in (0, 1, 999, 1000, 5000):
            p.book.feed("ab"[direction], s.seal(direction, n, b"E" + bytes(40)))
    again = s.seal(0, 1000, b"E" + b"another packet under the same nonce")
    p.book.feed("c", again)
    v = p.book.close()
    lab.check("recorder_reports_a_planted_repeat", v.repeats == [("c", 0, 1000, 1)] and v.packets == 11 and v.pairs == 10
              and v.unopened == 0, v)
    lab.check("recorder_knows_who_sent_how_far", v.highest == {"a": 5000, "b": 5000, "c": 1000}, v.highest)


def check_sessions():
    p = Planted()
    (s, _), (other, _) = p.session(1), p.session(257)
    for n in range(10):
        p.book.feed("a", s.seal(0, n, b"E"))
        p.book.feed("a", other.seal(0, n, b"E"))
    v = p.book.close()
    lab.check("recorder_takes_another_session_for_another_key", not v.repeats and v.packets == 20 and v.sessions == 2, v)


def check_order():
    p = Planted()
    s, bind = p.session(3, hear=False)
    p.book.feed("b", s.seal(1, 0, b""))
    p.book.feed("a", bind)
    v = p.book.close()
    lab.check("recorder_waits_for_a_bind", v.packets == 1 and v.unopened == 0, v)


def check_unknown():
    p = Planted()
    s, _ = p.session(1)
    stranger, _ = Planted().session(1)
    silent, _ = p.session(2, hear=False)
    good = s.seal(0, 0, b"E" + bytes(20))
    p.book.feed("a", good)
    p.book.feed("a", good[:-1] + bytes([good[-1] ^ 1]))
    p.book.feed("a", stranger.seal(0, 1, b"E"))
    p.book.feed("a", silent.seal(0, 2, b"E"))
    p.book.feed("a", psk2.Session(p.maker).seal(0, 3, b"E"))
    p.book.feed("a", b"PSK2")
    v = p.book.close()
    lab.check("recorder_counts_what_it_cannot_open", v.packets == 1 and v.unopened == 5 and not v.is_sound(), v)


def check_prototype():
    p = Planted(prototype=True)
    s = psk2.Session(p.maker)
    for n in (0, 1, 2, 1):
        p.book.feed("a", s.seal(0, n, b"E"))
    v = p.book.close()
    lab.check("recorder_reports_a_repeat_of_a_prototype", [r[2] for r in v.repeats] == [1] and v.packets == 4, v)


def check_death():
    """A recorder that dies on the way is not one that saw nothing wrong."""
    for dies in (False, True):
        with lab.Lab() as net:
            host = net.host("x", netns=True)
            p, fed = Planted(), []
            s, bind = p.session(1)
            r = recorder.Recorder([p.material], [(host, "lo")])
            feed = r.book.feed

            def fail_later(tap, datagram, feed=feed, fed=fed, dies=dies):
                fed.append(tap)
                if dies and len(fed) > 5:
                    raise ValueError("planted")
                feed(tap, datagram)

            r.book.feed = fail_later
            with psk2.socket_in(host, socket.AF_INET, socket.SOCK_DGRAM) as out:
                for d in (bind, *(s.seal(0, n, b"E") for n in range(10))):
                    out.sendto(d, ("127.0.0.1", 9))
                settled = r.settle()
            v = r.stop()
            if dies:
                lab.check("recorder_that_died_is_not_sound", not settled and not v.is_sound() and "planted" in v.broken
                          and v.packets == 4 and v.lost > 0, v)
            else:
                lab.check("recorder_hears_a_wire", settled and v.is_sound() and v.packets == 10, v)


def check_ratchet():
    """Against the manual's own formulas, by another implementation of HKDF."""
    root, tunnel_id = os.urandom(32), os.urandom(16)
    chains = [psk2.hkdf(root, b"handfast ratchet %d" % d, tunnel_id) for d in (0, 1)]
    ratchet, chain = recorder.Ratchet(*chains), chains[1]
    for _ in range(7):
        chain = psk2.hkdf(chain, b"next")
    slot = psk2.hkdf(chain, b"slot", None, 60)
    lab.check("recorder_follows_a_ratchet", ratchet.half(7, 1) == (slot[:16], slot[16:28], slot[28:]))


def check_state():
    def block(generation, reserved):
        fields = dict.fromkeys(state.FIELDS, 0)
        fields.update({n: bytes(32) for n in ("fingerprint", "hello_key", "table", "edge", "tx_chain", "rx_chain")})
        fields.update(magic=b"handfast ledger\n", version=1, kind=1, generation=generation, tunnel_id=bytes(16),
                      tx_reserved=reserved, tx_limit=5000)
        b = state.RECORD.pack(*fields.values())
        b += bytes(state.BLOCK - 32 - len(b))
        return b + hashlib.sha256(b).digest()

    def mark(data):
        return state.Ledger(data).mark

    older, newer = block(7, 1000), block(8, 2000)
    lab.check("state_reader_takes_the_newer_record", mark(older + newer) == mark(newer + older) == 2000)
    lab.check("state_reader_goes_forward_when_one_is_torn", mark(older + newer[:300] + older[300:]) == 6000 and
              mark(older) == 6000)
    lab.check("state_reader_knows_a_ledger_that_says_nothing", mark(bytes(8192)) is None and mark(b"") is None)


def run():
    for check in (check_repeats, check_sessions, check_order, check_unknown, check_prototype, check_death,
                  check_ratchet, check_state):
        check()
