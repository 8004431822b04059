"""What two people do with two machines and a relay, in order: install, pair on terminals, use the
tunnel, upgrade over it, crash things, move house, remove it all. One run for each pair of releases.

    scenario.run("12-mixed", "trixie", "bookworm")

Also the parts that the other booted tests begin with: paired_machines() and what Pair can do.
"""
import json
import os
import re
import sys
import time

import lab
import machine

HERE = os.path.dirname(os.path.abspath(__file__))
DAEMONS = ("relayd", "pairingd", "pskd", "tund")
RELAY = "ws://10.7.0.3:7117"


def step(fn, *args, **kw):
    """Run a part; what it does not survive is a failure under its name."""
    began = time.monotonic()
    try:
        return fn(*args, **kw)
    except Exception as e:  # pylint: disable=broad-except
        lab.fail(fn.__name__, f"{type(e).__name__}: {e}")
        return None
    finally:
        print(f"# {fn.__name__}: {time.monotonic() - began:.1f} s", flush=True)


def plain(text):
    """Terminal output without colours and cursor movements."""
    return re.sub(r"\033\[[0-9;?]*[A-Za-z]|\r", "", text)


class Pair:
    """A laptop and a Pi, and a relay beside them, on one switch."""

    def __init__(self, site, laptop="bookworm", pi="bookworm", relay=None, disk="folder", **laptop_options):
        self.site = site
        self.laptop = site.machine("laptop", laptop, disk=disk, **laptop_options)
        self.pi = site.machine("pi", pi, disk=disk)
        self.relay = site.machine("relay", relay or laptop)
        self.all = [self.laptop, self.pi, self.relay]
        site.lan([(self.laptop, "10.7.0.1/24"), (self.pi, "10.7.0.2/24"), (self.relay, "10.7.0.3/24")])
        site.up(*self.all)
        self.before = {}

    def peer_of(self, m):
        return self.pi if m is self.laptop else self.laptop

    # ---- install
    def install(self):
        """On all machines at once; the lab.Results by machine."""
        running = []
        for m in self.all:
            m.push(machine.deb_for(m.release), "/root/handfast.deb")
            for f in ("longtcp", "remote"):
                m.push(os.path.join(HERE, "inside", f), f"/usr/local/bin/{f}", "755")
            running.append((m, m.popen("apt-get", "install", "-y", "--no-install-recommends",
                                       "/root/handfast.deb")))
        done = {}
        for m, p in running:
            out, _ = p.communicate(timeout=180)
            done[m] = lab.Result(p.returncode, out, "")
            m.sh("useradd -m -s /bin/bash -G handfast-admin anna; useradd -m -s /bin/bash stranger", check=True)
        return done

    def serve_relay(self):
        self.relay.systemctl("enable", "relayd-listen.socket", check=True)
        self.relay.systemctl("restart", "relayd", check=True)

    # ---- pairing
    def pair_by_script(self, refresh=False):
        """With a shared secret, no questions. The names are the host names."""
        for m in (self.laptop, self.pi):
            m.write("/root/secret", "a secret of more than sixteen bytes\n", "600")
        one = self.laptop.popen("handfast", "--json", "pair", "--relay", RELAY, "--secret-file",
                                "/root/secret", "--no-sas")
        invitation = None
        for line in one.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "invitation":
                invitation = event["invitation"]
                break
            if "ok" in event:
                raise RuntimeError(line)
        r = self.pi.handfast("--json", "pair", invitation, "--secret-file", "/root/secret", "--no-sas")
        rest = one.stdout.read()
        if r.code != 0 or one.wait(30) != 0:
            raise RuntimeError(f"no pairing: {r} {rest}")

    def pair_by_hand(self, *options, tmux=False):
        """Two people at two terminals. (exit codes, the numbers each saw)"""
        argv = ["handfast", "pair", *options]
        if tmux:
            one = TmuxTerminal(self.laptop, argv, "anna")
        else:
            one = self.laptop.terminal(*argv, user="anna")
        one.read_until("waiting for the other device", 30)
        shown = plain(one.text)
        invitation = re.search(r"handfast pair (\S+@\S+)", shown).group(1)
        pin = re.search(r"^ +(\d{3} \d{3,5}) *$", shown, re.M).group(1)
        two = self.pi.terminal("handfast", "pair", invitation, user="anna")
        two.read_until("stays hidden", 30)
        two.type(pin + "\n")
        numbers = []
        for t in (one, two):
            t.read_until("[1, 2, 3, 0]", 60)
            numbers.append(re.findall(r"([123])\)  (\d{3} \d{3})", plain(t.text)))
        common = {n for _, n in numbers[0]} & {n for _, n in numbers[1]}
        for t, shown in ((one, numbers[0]), (two, numbers[1])):
            t.type(next((k for k, n in shown if n in common), "0") + "\n")
        return (one.end(60), two.end(60)), common, (plain(one.text)[-500:], plain(two.text)[-500:])

    # ---- tunnel
    def tunnel(self, m):
        """What tunnel show says of the one tunnel; {} without."""
        r = m.handfast("--json", "tunnel", "show", self.peer_of(m).hostname)
        try:
            return r.json["result"]["tunnel"]
        except (IndexError, KeyError):
            return {}

    def address(self, m):
        """m's IPv4 address inside the tunnel."""
        for a in self.tunnel(m).get("local_addresses", []):
            if "." in a:
                return a.split("/")[0]
        raise RuntimeError(f"{m.name} has no tunnel address: {self.tunnel(m)}")

    def is_up(self):
        return all(self.tunnel(m).get("state") == "up" for m in (self.laptop, self.pi))

    def wait_up(self, timeout=30):
        """Seconds until both sides say "up"."""
        began = time.monotonic()
        if not lab.wait_for(self.is_up, timeout, 0.2):
            raise RuntimeError("no tunnel after %d s: %s" % (timeout, [
                {k: self.tunnel(m).get(k) for k in ("state", "problem", "endpoint", "candidates", "drops")}
                for m in (self.laptop, self.pi)]))
        return time.monotonic() - began

    def ping(self, m=None, count=1, wait=1):
        """Whether a ping from m reaches the other end of the tunnel."""
        m = m or self.laptop
        r = m.exec("ping", "-n", "-c", str(count), "-i", "0.2", "-W", str(wait), self.there[m])
        return r.code == 0

    def remember_addresses(self):
        self.there = {m: self.address(self.peer_of(m)) for m in (self.laptop, self.pi)}

    def wait_ping(self, m=None, timeout=30):
        """Seconds until a ping passes; None: not in time."""
        began = time.monotonic()
        return time.monotonic() - began if lab.wait_for(lambda: self.ping(m), timeout, 0.05) else None

    # ---- a long TCP connection, and a shell, over the tunnel
    def begin_tcp(self):
        there = self.there[self.laptop]
        self.pi.systemctl("stop", "longtcp", "remote")
        self.laptop.systemctl("stop", "longtcp")
        for name in ("longtcp", "remote"):
            port = {"longtcp": "5001", "remote": "5002"}[name]
            self.pi.exec("systemd-run", f"--unit={name}", "--collect", name, "serve", there, port, check=True)
        time.sleep(0.3)
        self.laptop.exec("systemd-run", "--unit=longtcp", "--collect", "longtcp", "run", there, "5001",
                         "/run/longtcp.json", check=True)
        if not lab.wait_for(lambda: self.tcp().get("echoed", 0) > 5, 10):
            raise RuntimeError(f"no TCP through the tunnel: {self.tcp()}")

    def tcp(self):
        try:
            return json.loads(self.laptop.read("/run/longtcp.json"))
        except (RuntimeError, ValueError):
            return {}

    def tcp_lives(self, name, timeout=20):
        """Check that the connection, the same one, still carries numbers."""
        before = self.tcp()
        lab.wait_for(lambda: self.tcp().get("error") or
                     self.tcp().get("echoed", 0) > before.get("echoed", 0) + 3, timeout, 0.1)
        after = self.tcp()
        return lab.check(name, not after.get("error") and
                         after.get("echoed", 0) > before.get("echoed", 0) + 3, (before, after))

    def remote_shell(self, script, timeout=120):
        """Run a script on the Pi over a TCP connection through the tunnel."""
        return self.laptop.exec("remote", "run", self.there[self.laptop], "5002", input=script,
                                timeout=timeout)

    def begin_load(self, seconds=60):
        self.pi.sh("pgrep -x iperf3 || iperf3 -s -D")
        lab.wait_for(lambda: ":5201" in self.pi.exec("ss", "-Hlnt").out, 20)
        self.laptop.exec("systemd-run", "--unit=load", "--collect", "iperf3", "-c", self.there[self.laptop],
                         "-t", str(seconds))

    def end_load(self):
        self.laptop.systemctl("stop", "load")


class TmuxTerminal:
    """The same as terminal.OnTerminal, in tmux."""

    def __init__(self, m, argv, user):
        self.m, self.user = m, user
        m.exec("tmux", "-L", "t", "new-session", "-d", "-x", "100", "-y", "50",
               " ".join(argv) + "; echo end=$?; sleep 600", user=user, env={"TERM": "xterm"}, check=True)

    @property
    def text(self):
        return self.m.exec("tmux", "-L", "t", "capture-pane", "-p", "-S", "-200", user=self.user).out

    def read_until(self, text, timeout=10):
        if not lab.wait_for(lambda: text in self.text, timeout, 0.2):
            raise RuntimeError(f"no {text!r} in tmux, only {self.text[-500:]!r}")

    def type(self, text):
        self.m.exec("tmux", "-L", "t", "send-keys", "-l", text.rstrip("\n"), user=self.user, check=True)
        self.m.exec("tmux", "-L", "t", "send-keys", "Enter", user=self.user, check=True)

    def end(self, timeout=10):
        found = lab.wait_for(lambda: re.search(r"^end=(\d+)", self.text, re.M), timeout, 0.2)
        return int(found.group(1)) if found else None


def paired_machines(site, **kw):
    """A Pair that is installed, paired, and has its tunnel up."""
    pair = Pair(site, **kw)
    for m, r in pair.install().items():
        if r.code != 0:
            raise RuntimeError(f"{m.name}: {r.out[-800:]}")
    pair.serve_relay()
    pair.pair_by_script()
    pair.wait_up()
    pair.remember_addresses()
    return pair


# ---- the scenario ----------------------------------------------------------------------------------
def files(m):
    """Files that packages and people made: path -> anything that tells a change."""
    return set(m.sh(r"find /etc /usr /var /opt /srv /root /home -xdev \( -path /var/log -o -path /var/cache "
                    r"-o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /root "
                    r"-o -path /usr/local/bin -o -path /var/tmp \) -prune -o -print").out.split("\n"))


def sockets(m):
    """Listening sockets that a network could reach."""
    out = m.exec("ss", "-Hlntup").out
    return [x for x in out.splitlines() if not re.search(r"\s(127\.0\.0\.\d+|\[::1\])(%lo)?:\d+\s", x)]


def installs(pair):
    pair.before = {m: files(m) for m in pair.all}
    done = pair.install()
    lab.check("apt_installs_it", all(r.code == 0 for r in done.values()),
              [r.out[-500:] for r in done.values() if r.code != 0])
    open_ = [x for m in pair.all for x in sockets(m)]
    lab.check("nothing_listens_on_the_network_after_install", not open_, open_)
    failed = [m.systemctl("--failed", "--no-legend", "--plain").out for m in pair.all]
    lab.check("no_unit_failed", not any(failed), failed)
    want = {"pairingd.service": "enabled", "pskd.service": "enabled", "tund.socket": "enabled",
            "relayd.socket": "enabled", "pairingd.socket": "enabled", "pskd.socket": "enabled",
            "relayd-listen.socket": "disabled", "authd.service": "disabled", "handfast.target": "enabled"}
    is_ = {m.name: {u: m.systemctl("is-enabled", u).out.strip() for u in want} for m in pair.all}
    lab.check("enabled_is_what_the_user_expects", all(x == want for x in is_.values()), is_)
    r = [m.systemctl("is-active", "pskd", "pairingd", "tund.socket", "relayd.socket").out.split() for m in pair.all]
    lab.check("started_by_the_installation", all(x == ["active"] * 4 for x in r), r)
    r = pair.laptop.handfast("status", user="anna")
    lab.check("status_answers_a_user_of_the_group", r.code == 0, r)


def pairs_by_hand(pair):
    pair.serve_relay()
    codes, common, text = pair.pair_by_hand("--relay", RELAY)
    lab.check("people_see_one_common_number", len(common) == 1, text)
    lab.check("people_pair_through_the_relay", codes == (0, 0), (codes, text))
    r = [m.systemctl("start", "pskd") for m in (pair.laptop, pair.pi)]
    lab.check("systemctl_start_pskd", all(x.code == 0 for x in r), r)
    took = pair.wait_up()
    print(f"# tunnel up {took:.1f} s after that")
    pair.remember_addresses()
    lab.check("tunnel_is_up", pair.wait_ping(pair.laptop, 10) is not None and
              pair.wait_ping(pair.pi, 10) is not None)


def carries(pair):
    r = pair.laptop.exec("ping", "-n", "-c", "20", "-i", "0.05", "-s", "1300", pair.there[pair.laptop])
    lab.check("ping_loses_nothing", " 0% packet loss" in r.out, r)
    v6 = [a.split("/")[0] for a in pair.tunnel(pair.pi)["local_addresses"] if ":" in a]
    r = pair.laptop.exec("ping", "-n", "-c", "3", "-i", "0.2", v6[0] if v6 else "none")
    lab.check("ping_over_ipv6_inside", r.code == 0, r)
    pair.pi.sh("iperf3 -s -D")
    lab.wait_for(lambda: ":5201" in pair.pi.exec("ss", "-Hlnt").out, 20)
    rates = []
    for back in ([], ["-R"]):
        r = pair.laptop.exec("iperf3", "-J", "-t", "3", "-c", pair.there[pair.laptop], *back, timeout=30)
        try:
            rates.append(json.loads(r.out)["end"]["sum_received"]["bits_per_second"] / 1e6)
        except (ValueError, KeyError):
            rates.append(0)
    print(f"# iperf3: {rates[0]:.0f} and {rates[1]:.0f} Mbit/s")
    lab.check("iperf3_both_ways", min(rates) > 20, (rates, r))


def reloads(pair):
    m = pair.laptop
    old = m.read("/etc/handfast/pskd.yaml").decode()
    pid = m.pid_of("pskd")
    m.write("/etc/handfast/pskd.yaml", old + "\nstart_paired: false\n")
    r = m.systemctl("reload", "pskd")
    lab.check("reload_takes_a_good_file", r.code == 0, (r, m.journal("-u", "pskd", "-n", "5")))
    m.write("/etc/handfast/pskd.yaml", old + "\nmax_tunnels: [oops\n")
    r = m.systemctl("reload", "pskd")
    log = m.journal("-u", "pskd", "-n", "10")
    lab.check("reload_refuses_a_broken_file_and_says_where", r.code != 0 and "pskd.yaml:" in log, (r, log))
    m.write("/etc/handfast/pskd.yaml", old)
    r = m.systemctl("reload", "pskd")
    lab.check("the_same_process_runs_on", r.code == 0 and m.pid_of("pskd") == pid and pair.ping(), r)
    pair.tcp_lives("tcp_lives_through_reloads")


def restarts(pair):
    for m, unit in ((pair.laptop, "pskd"), (pair.pi, "pskd"), (pair.pi, "pairingd"), (pair.laptop, "tund"),
                    (pair.pi, "pskd")):
        pid = m.pid_of(unit)
        r = m.systemctl("restart", unit)
        if r.code != 0 or m.pid_of(unit) in (0, pid):
            lab.fail(f"restart_of_{unit}", (r, m.journal("-u", unit, "-n", "10")))
    took = pair.wait_ping(timeout=20)
    lab.check("tunnel_is_back_after_restarts", took is not None, pair.tunnel(pair.laptop))
    pair.tcp_lives("tcp_lives_through_restarts")


def upgrades_over_the_tunnel(pair):
    for m in (pair.pi, pair.laptop):
        m.push(machine.deb_for(m.release, "9.1"), "/root/newer.deb")
    pids = {d: pair.pi.pid_of(d) for d in ("pskd", "pairingd")}
    r = pair.remote_shell("dpkg -i /root/newer.deb 2>&1; echo upgraded=$?\n")
    lab.check("upgrade_of_the_far_end_reports_back_over_the_tunnel", "upgraded=0" in r.out, r)
    now = {d: pair.pi.pid_of(d) for d in pids}
    lab.check("upgrade_restarted_the_daemons", all(now[d] not in (0, pids[d]) for d in pids), (pids, now))
    r = pair.laptop.exec("apt-get", "install", "-y", "/root/newer.deb", timeout=120)
    lab.check("upgrade_of_the_near_end", r.code == 0, r)
    pair.tcp_lives("tcp_lives_through_upgrades")
    lab.check("upgrade_keeps_the_pairing", "active" in pair.laptop.handfast("peers").out)
    version = pair.pi.exec("dpkg-query", "-W", "-f", "${Version}", "handfast").out
    lab.check("the_newer_version_is_there", version == "9.1", version)


def survives_kills(pair):
    pair.begin_load(90)
    for unit in ("pskd", "pairingd", "tund", "relayd"):
        for m in [pair.relay] if unit == "relayd" else [pair.laptop, pair.pi]:
            if unit == "relayd":
                m.handfast("relay", "status")
            if unit == "tund":
                m.systemctl("start", "tund")
            pid = m.pid_of(unit)
            r = m.exec("kill", "-9", str(pid))
            back = lab.wait_for(lambda: m.pid_of(unit) not in (0, pid) and  # noqa: B023
                                m.show(unit, "ActiveState")["ActiveState"] == "active", 15, 0.2)
            if r.code != 0 or not back:
                lab.fail(f"kill_of_{unit}_on_{m.name}", (r, m.journal("-u", unit, "-n", "12")))
    pair.end_load()
    lab.check("tunnel_is_back_after_kills", pair.wait_ping(timeout=20) is not None, pair.tunnel(pair.laptop))
    pair.tcp_lives("tcp_lives_through_kills_under_load")
    gap = pair.tcp().get("gap", 0)
    print(f"# longest pause of the TCP connection so far: {gap:.1f} s")


def unplugged(pair):
    pair.site.unplug(pair.pi)
    time.sleep(4)
    dead = not pair.ping()
    pair.site.plug(pair.pi)
    took = pair.wait_ping(timeout=40)
    lab.check("unplug_and_replug", dead and took is not None, (dead, took, pair.tunnel(pair.laptop)))
    pair.tcp_lives("tcp_lives_through_replugging", 60)


def moves(pair):
    pair.pi.address("lan0", "10.7.0.12/24")
    took = pair.wait_ping(pair.pi, 60)
    lab.check("new_address_of_the_pi", took is not None, (pair.tunnel(pair.laptop), pair.tunnel(pair.pi)))
    pair.laptop.address("lan0", "10.7.0.11/24")
    took2 = pair.wait_ping(pair.laptop, 60)
    lab.check("new_address_of_the_laptop", took2 is not None, (pair.tunnel(pair.laptop), pair.tunnel(pair.pi)))
    print(f"# tunnel back after {took} and {took2} s")
    pair.tcp_lives("tcp_lives_through_new_addresses", 60)


def reboots(pair):
    for m in (pair.laptop, pair.pi):
        m.exec("systemctl", "reboot", "--no-block")
        m._wait_off(60)
        m.start()
        began = time.monotonic()
        m.wait_up()
        boot = time.monotonic() - began
        took = pair.wait_ping(m, 60)
        lab.check(f"tunnel_is_back_after_reboot_of_{m.name}", took is not None,
                  (pair.tunnel(m), m.journal("-u", "pskd", "-n", "15")))
        print(f"# {m.name}: booted in {boot:.1f} s, tunnel {took} s later")


def pairs_again_on_the_lan(pair):
    for m in (pair.laptop, pair.pi):
        r = m.handfast("peer", "forget", "-y", pair.peer_of(m).hostname)
        if r.code != 0:
            lab.fail("peer_forget", r)
    gone = lab.wait_for(lambda: not any("hf0" in m.exec("ip", "link").out for m in (pair.laptop, pair.pi)), 10)
    lab.check("forgetting_a_peer_removes_its_tunnel", gone)
    codes, common, text = pair.pair_by_hand(tmux=True)
    lab.check("people_pair_on_the_lan_in_tmux", codes == (0, 0), (codes, common, text))
    pair.wait_up()
    pair.remember_addresses()
    lab.check("tunnel_of_the_lan_pairing", pair.wait_ping(timeout=10) is not None)
    lab.check("relay_of_one_session_is_closed",
              lab.wait_for(lambda: ":7118" not in pair.laptop.exec("ss", "-Hlnt").out, 10),
              pair.laptop.exec("ss", "-Hlntp").out)


def purges(pair):
    for m in (pair.laptop, pair.pi):
        r = m.exec("apt-get", "purge", "-y", "handfast", timeout=120)
        lab.check(f"purge_on_{m.name}", r.code == 0, r)
        told = [x for x in (r.out + r.err).splitlines() if x.startswith("handfast:")]
        if m is pair.laptop:
            print("\n".join(f"# {x}" for x in told))
        left = m.sh("ls -l /proc/[0-9]*/exe 2>/dev/null | grep libexec/handfast; ip -o link | grep hf; "
                    "ls -d /run/handfast /var/lib/handfast /etc/handfast 2>/dev/null").out
        lab.check(f"purge_leaves_no_process_device_or_state_on_{m.name}", not left, left)
        lab.check(f"purge_says_what_it_removed_on_{m.name}", any("/var/lib/handfast" in x for x in told), told)
        new = {x for x in files(m) - pair.before[m] if not re.match(
            r"/home/(anna|stranger)|/var/(mail|spool/mail)/|/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?$", x)}
        lab.check(f"purge_leaves_no_file_on_{m.name}", not new, sorted(new)[:20])
        failed = m.systemctl("--failed", "--no-legend", "--plain").out
        lab.check(f"purge_leaves_no_failed_unit_on_{m.name}", not failed, failed)


def run(name, laptop, pi, move=False):
    """move: also to new addresses, which takes half a minute."""
    machine.need(name, {laptop, pi})
    with machine.Site() as site:
        pair = step(Pair, site, laptop, pi, pi)
        if pair:
            step(installs, pair)
            step(pairs_by_hand, pair)
            if getattr(pair, "there", None):
                step(carries, pair)
                step(pair.begin_tcp)
                for part in (reloads, restarts, upgrades_over_the_tunnel, survives_kills, unplugged,
                             *([moves] if move else []), reboots, pairs_again_on_the_lan):
                    step(part, pair)
            step(purges, pair)
    sys.exit(lab.finish())
