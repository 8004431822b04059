"""Machines that lose power while they pair and while they carry traffic, and boot again from what their
disk had at that instant.

A cut: the file system that holds the image is frozen, all processes of the machine are killed before
any write that waits could return to them, the image is copied, and the machine boots from the copy. So
nothing that was not on the device survives; what was acknowledged as durable must.
"""
import json
import os
import random
import subprocess
import time

import lab
import machine
import scenario

HERE = os.path.dirname(os.path.abspath(__file__))
RELAY = scenario.RELAY


class Sniffer:
    """Watches the laptop's port of the switch, the whole time."""

    def __init__(self, site, pair):
        hub, port = pair.laptop.ports["lan0"]
        self.path = os.path.join(site.dir, "sniffed.json")
        self.proc = subprocess.Popen(["nsenter", f"--net={hub.path}", "--", "/usr/bin/python3",
                                      f"{HERE}/inside/sniff", port, self.path],
                                     preexec_fn=machine._die_with_parent)
        lab.wait_for(lambda: os.path.exists(self.path), 10)

    def tell(self):
        time.sleep(0.5)
        with open(self.path) as f:
            return json.load(f)

    def close(self):
        self.proc.terminate()
        self.proc.wait()


def peers_of(m):
    r = m.handfast("--json", "peers")
    if r.code != 0:
        raise RuntimeError(f"{m.name}: {r}")
    return r.json["result"]["peers"]


def agree(a, b):
    """Whether two lists of peers fit: what one has as active the other has at least as prepared."""
    if not a and not b:
        return True
    if a and b:
        return True
    return all(p["state"] == "prepared" for p in a + b)


def forget_all(pair):
    for m in (pair.laptop, pair.pi):
        for p in peers_of(m):
            m.handfast("peer", "forget", "-y", p["name"])


# What the inviting side's command tells on the way; "ok" is its last line.
STEPS = ("key-exchange", "identities", "peer-stores", "ok", "confirmation", "handshake", "negotiation", "peer-joins")


def told(line):
    event = json.loads(line) if line.startswith("{") else {}
    return "ok" if "ok" in event else event.get("step") or event.get("event"), event


def cut_while_pairing(pair, victim, step, delay, n):
    """Both begin to pair; the power goes delay seconds after the inviting side told the step."""
    for m in (pair.laptop, pair.pi):
        m.write("/root/secret", "a secret of more than sixteen bytes\n", "600")
    one = pair.laptop.popen("handfast", "--json", "pair", "--relay", RELAY, "--secret-file", "/root/secret", "--no-sas")
    passed = []
    for line in one.stdout:
        name, event = told(line)
        passed.append(name)
        if name == "invitation":
            pair.pi.popen("handfast", "--json", "pair", event["invitation"], "--secret-file", "/root/secret", "--no-sas")
        if name in (step, "ok"):
            break
    time.sleep(delay)
    victim.power_cut()
    victim.up()
    # The other side ends its wait by itself; a person would press Ctrl-C.
    other = pair.peer_of(victim)
    other.sh("pkill -INT -x handfast; true")
    active = lab.wait_for(lambda: victim.systemctl("is-active", "pairingd", "pskd").out.split() == ["active"] * 2, 20)
    a, b = peers_of(victim), peers_of(other)
    states = [[(p["name"], p["state"], p["tunnel_root"]) for p in x] for x in (a, b)]
    print(f"# cut {n}: {victim.name} {delay * 1000:.0f} ms after {passed[-1]}: {states}")
    lab.check(f"stores_agree_after_cut_{n}", active and agree(a, b), states)
    if a and b:
        # Also where the last word of the pairing was lost: the tunnel's first packet is one.
        lab.wait_for(pair.is_up, 40, 0.2)
        now = lab.wait_for(lambda: [p["state"] for m in (victim, other) for p in peers_of(m)] == ["active"] * 2, 10)
        lab.check(f"tunnel_of_the_pairing_after_cut_{n}", pair.is_up() and now,
                  ([peers_of(m) for m in (victim, other)], [pair.tunnel(m) for m in (victim, other)]))
    return bool(a or b)


def cut_under_load(pair, sniffer, victim, delay, n):
    pair.begin_tcp()
    pair.pi.sh("pgrep -x iperf3 >/dev/null || iperf3 -s -D")
    lab.wait_for(lambda: ":5201" in pair.pi.exec("ss", "-Hlnt").out, 20)
    pair.laptop.exec("systemd-run", "--collect", "iperf3", "-c", pair.there[pair.laptop], "-t", "60", "-b", "24M")
    time.sleep(delay)
    before = sniffer.tell()
    slot = pair.tunnel(victim).get("slot_sent", 0)
    victim.power_cut()
    began = time.monotonic()
    victim.up()
    booted = time.monotonic() - began
    took = pair.wait_ping(victim, 60)
    lab.check(f"tunnel_is_back_after_cut_{n}", took is not None,
              (pair.tunnel(victim), victim.journal("-u", "pskd", "-n", "15")))
    after = sniffer.tell()
    now = pair.tunnel(victim)
    print(f"# cut {n}: {victim.name} under load, {after['packets'] - before['packets']} packets since; booted in "
          f"{booted:.1f} s, tunnel {took} s later; slot {slot} to {now.get('slot_sent')}")
    lab.check(f"i1_no_sequence_is_sent_twice_after_cut_{n}", after["repeated"] == 0 and after["back"] == 0 and
              after["packets"] > before["packets"], after)
    lab.check(f"i1_marks_went_forward_in_cut_{n}", now.get("slot_sent", -1) >= slot and not now.get("rollback"),
              (slot, now))
    failed = victim.systemctl("--failed", "--no-legend", "--plain").out
    lab.check(f"no_unit_failed_after_cut_{n}", not failed, failed)


def run(name, cuts, seed):
    """Half of the cuts while pairing, half under load, the victims by turns."""
    machine.need(name)
    rng = random.Random(seed)
    with machine.Site() as site:
        pair = scenario.step(scenario.Pair, site, disk="image")
        if not pair:
            return lab.finish()
        for m, r in pair.install().items():
            if r.code != 0:
                lab.fail("installs", (m.name, r.out[-500:]))
        pair.serve_relay()
        for m in (pair.laptop, pair.pi):
            m.exec("sync", "-f", "/root")
        victims = [pair.laptop, pair.pi]
        for n in range(1, cuts // 2 + 1):
            scenario.step(cut_while_pairing, pair, victims[n // 2 % 2], STEPS[(n - 1) % len(STEPS)],
                          rng.uniform(0.0, 0.04), n)
            scenario.step(forget_all, pair)
        scenario.step(pair.pair_by_script)
        scenario.step(pair.wait_up)
        pair.remember_addresses()
        sniffer = Sniffer(site, pair)
        for n in range(cuts // 2 + 1, cuts + 1):
            scenario.step(cut_under_load, pair, sniffer, victims[n % 2], rng.uniform(0.5, 2.5), n)
        sniffer.close()
        for m in victims:
            lab.check(f"the_pairing_is_still_there_on_{m.name}", [p["state"] for p in peers_of(m)] == ["active"],
                      peers_of(m))
    return lab.finish()
