"""Tunnels between the same two hosts, for benchmarks: pskd as it is configured, and its peers.

start(name, a, b) makes one and gives a Tunnel, or raises Missing where a program is not installed. All of one
run live in the namespaces of hosts a (10.99.0.1) and b (10.99.0.2).
"""
import atexit
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import lab

HERE = os.path.dirname(os.path.abspath(__file__))
PLAIN = f"{lab.BUILD}/tests/bench/pskd-plain"
WIREGUARD_GO = os.environ.get("WIREGUARD_GO") or shutil.which("wireguard-go")
WIREGUARD_GO_NEW = os.environ.get("WIREGUARD_GO_NEW")
MTU = 1420
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Missing(Exception):
    """A program that this contender needs is not here."""


class Tunnel:
    """name, the far end's address inside, and the processes that carry the packets, the near end's first."""

    def __init__(self, name, version, address, pids, own_pid=None):
        self.name, self.version, self.address, self.pids = name, version, address, pids
        self.own_pid = own_pid or pids[0]


def first_line(*argv):
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return r.stdout.strip().split("\n")[0]


def need(*programs):
    for p in programs:
        if not p or not shutil.which(p):
            raise Missing(f"{os.path.basename(p or 'a program')} is not installed")


def beside(host, name):
    """Another set of folders in the namespace of host."""
    h = host.lab.host(f"{host.name}-{name}")
    h.netns = host.netns
    return h


def write_secret(path, data):
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as f:
        f.write(data)
    return path


# ---- pskd ------------------------------------------------------------------------------------

def start_pskd(name, a, b, config, index, program=None, through=None, **members):
    """One tunnel between daemons of its own; index: of its network 10.9.index.0/30, which no other has.
    through: the port of a proxy on b, which the initiator takes for the peer's."""
    port = 7200 + index
    ends = [f"10.99.0.2:{through or port}", None if through else f"10.99.0.1:{port}"]
    # 20 MB of key: 174 million packets in each direction.
    data = os.urandom(120 * 174000)
    hosts, pids = [beside(h, name) for h in (a, b)], []
    wrapper = ("sh", "-c", 'shift; exec "$0" "$@"', program) if program else ()
    for n, h in enumerate(hosts):
        spec = {"key_file": write_secret(os.path.join(h.dir, "key"), data), "role": ("initiator", "responder")[n],
                "listen": port, "endpoint": ends[n], "local_address": f"10.9.{index}.{n + 1}/30",
                "peer_address": f"10.9.{index}.{2 - n}", "mtu": MTU, **members}
        with open(os.path.join(h.etc, "tunnels", "bench.yaml"), "w") as f:
            f.writelines(f"{k}: {v}\n" for k, v in spec.items() if v is not None)
        h.start("tund")
        pids.append(h.start("pskd", config=config, wrapper=wrapper, timeout=30).pid)
    version = first_line(f"{lab.BUILD}/bin/pskd", "--version").replace("pskd ", "")
    t = Tunnel(name, version, f"10.9.{index}.2", pids)
    t.hosts = hosts
    return t


def seals(t):
    """What both ends of a pskd say that seals packets."""
    shown = t.hosts[0].handfast("--json", "tunnel", "show", "bench").json["result"]["tunnel"]
    return shown["aead"], shown.get("aead_note") or ""


def pskd_ipsec_mb(a, b):
    r = lab._run(f"{lab.BUILD}/bin/pskd", "--check", "--config", a.config("try", "aead: ipsec-mb\n"), check=False)
    if r.code != 0:
        raise Missing((r.out + r.err).strip())
    return start_pskd("pskd ipsec-mb", a, b, "aead: ipsec-mb\n", 1)


def pskd_sodium(a, b):
    return start_pskd("pskd libsodium", a, b, "aead: libsodium\n", 2)


def pskd_plain(a, b):
    if not os.path.exists(PLAIN):
        raise Missing("not built: make benches")
    return start_pskd("pskd plain", a, b, "", 3, PLAIN)


# ---- others ----------------------------------------------------------------------------------

def forget(path):
    if os.path.exists(path):
        os.unlink(path)


def wireguard(a, b, name, program, index, through=None, mtu=MTU):
    need(program, "wg")
    port = 51820 + index
    private = [a.run("wg", "genkey").out.strip() for _ in (a, b)]
    public = [a.run("wg", "pubkey", input=k).out.strip() for k in private]
    pids = []
    for i, h in enumerate((a, b)):
        # The name is also that of a socket in /run/wireguard, which namespaces share.
        dev = f"hfw{os.getpid() % 100000}{index}{'ab'[i]}"
        key_path = write_secret(os.path.join(h.dir, f"{dev}.key"), private[i].encode())
        sock = f"/run/wireguard/{dev}.sock"
        forget(sock)
        atexit.register(forget, sock)
        p = h.popen(program, "-f", dev, env=dict(os.environ, WG_PROCESS_FOREGROUND="1", LOG_LEVEL="error"), **QUIET)
        if not lab.wait_for(lambda s=sock: os.path.exists(s), 10):
            raise RuntimeError(f"{name} does not come up")
        h.run("wg", "set", dev, "listen-port", str(port), "private-key", key_path, "peer", public[1 - i],
              *(("endpoint", f"10.99.0.{2 - i}:{through or port}") if i == 0 or not through else ()), "allowed-ips", f"10.9.{index}.0/24")
        h.run("ip", "addr", "add", f"10.9.{index}.{i + 1}/24", "dev", dev)
        h.run("ip", "link", "set", dev, "mtu", str(mtu), "up")
        pids.append(p.pid)
    return Tunnel(name, first_line(program, "--version").replace("wireguard-go ", ""), f"10.9.{index}.2", pids)


def wireguard_go(a, b):
    return wireguard(a, b, "wireguard-go", WIREGUARD_GO, 10)


def wireguard_go_new(a, b):
    if not WIREGUARD_GO_NEW:
        raise Missing("WIREGUARD_GO_NEW names none")
    return wireguard(a, b, "wireguard-go new", WIREGUARD_GO_NEW, 11)


def address(host, dev, index, n):
    if not lab.wait_for(lambda: host.run("ip", "link", "show", dev, check=False).code == 0, 10):
        raise RuntimeError(f"no device {dev}")
    host.run("ip", "addr", "replace", f"10.9.{index}.{n + 1}/24", "dev", dev)
    host.run("ip", "link", "set", dev, "mtu", str(MTU), "up")


def fastd(a, b):
    need("fastd")
    index, pids, keys = 12, [], []
    for h in (a, b):
        out = h.run("fastd", "--machine-readable", "--generate-key").out.split()
        path = os.path.join(h.dir, "fastd.conf")
        write_secret(path, f'secret "{out[0]}";\n'.encode())
        public = h.run("fastd", "--machine-readable", "-c", path, "--show-key").out.split()[-1]
        keys.append((out[0], public))
    for n, h in enumerate((a, b)):
        text = (f'mode tun; interface "fst{n}"; mtu {MTU}; method "salsa2012+umac"; log to stderr level error;\n'
                f'bind 10.99.0.{n + 1}:10000; secret "{keys[n][0]}";\n'
                f'peer "other" {{ key "{keys[1 - n][1]}"; remote 10.99.0.{2 - n}:10000; }}\n')
        p = h.popen("fastd", "-c", write_secret(os.path.join(h.dir, "fastd.conf"), text.encode()), **QUIET)
        pids.append(p.pid)
        address(h, f"fst{n}", index, n)
    return Tunnel("fastd", first_line("fastd", "--version").replace("fastd ", "") + ", salsa2012+umac", f"10.9.{index}.2", pids)


def openvpn(a, b):
    need("openvpn", "openssl")
    index, pids, prints, files = 13, [], [], []
    for h in (a, b):
        key, cert = os.path.join(h.dir, "ovpn.key"), os.path.join(h.dir, "ovpn.crt")
        h.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
              "-subj", f"/CN={h.name}", "-keyout", key, "-out", cert)
        prints.append(h.run("openssl", "x509", "-in", cert, "-noout", "-fingerprint", "-sha256").out.strip().split("=")[1])
        files.append((key, cert))
    for n, h in enumerate((a, b)):
        role = ("--tls-client", "--remote", "10.99.0.2", "1194") if n == 0 else ("--tls-server", "--dh", "none")
        p = h.popen("openvpn", "--dev", f"ovp{n}", "--dev-type", "tun", "--proto", "udp", "--local", f"10.99.0.{n + 1}",
                    "--port", "1194", "--ifconfig", f"10.9.{index}.{n + 1}", f"10.9.{index}.{2 - n}", *role,
                    "--peer-fingerprint", prints[1 - n], "--key", files[n][0], "--cert", files[n][1],
                    "--data-ciphers", "CHACHA20-POLY1305", "--cipher", "CHACHA20-POLY1305", "--tun-mtu", str(MTU),
                    "--sndbuf", "4194304", "--rcvbuf", "4194304", "--verb", "0", **QUIET)
        pids.append(p.pid)
    return Tunnel("OpenVPN", first_line("openvpn", "--version").split(" [")[0].replace("OpenVPN ", ""), f"10.9.{index}.2", pids)


def python(a, b):
    index, pids, data = 14, [], os.urandom(120 * 20000)
    for n, h in enumerate((a, b)):
        key = write_secret(os.path.join(h.dir, "python.key"), data)
        p = h.popen(sys.executable, os.path.join(HERE, "python_tunnel.py"), f"pyt{n}", key, str(n), f"10.99.0.{n + 1}",
                    f"10.99.0.{2 - n}", "7100", **QUIET)
        pids.append(p.pid)
        address(h, f"pyt{n}", index, n)
    return Tunnel("Python", f"{sys.version.split()[0]}, PSK2 by select", f"10.9.{index}.2", pids)


ALL = {"pskd-ipsec-mb": pskd_ipsec_mb, "pskd-libsodium": pskd_sodium, "pskd-plain": pskd_plain, "wireguard-go": wireguard_go,
       "wireguard-go-new": wireguard_go_new, "fastd": fastd, "openvpn": openvpn, "python": python}


# ---- measuring -------------------------------------------------------------------------------

def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            user, system = f.read().rpartition(")")[2].split()[11:13]
        total += int(user) + int(system)
    return total / os.sysconf("SC_CLK_TCK")


def cpu_ms(pids):
    """Finer, of all their threads: what idle ones spend does not fill a tick of the clock above."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
    return total / 1e6


def resident(pids):
    """Megabytes of the larger one."""
    sizes = []
    for pid in pids:
        with open(f"/proc/{pid}/status") as f:
            sizes.append(next(int(x.split()[1]) for x in f if x.startswith("VmRSS:")))
    return max(sizes) * 1024 / 1e6


def serve(host, port=5201):
    """An iperf3 server, ready."""
    host.popen("iperf3", "-s", "-p", str(port), **QUIET)
    if not lab.wait_for(lambda: f":{port} " in host.run("ss", "-Hltn").out, 10):
        raise RuntimeError("iperf3 does not listen")


def iperf(host, to, seconds, *more):
    """iperf3's end report; raises RuntimeError."""
    for _ in range(5):
        r = host.run("iperf3", "-J", "-c", to, "-t", str(seconds), "--connect-timeout", "5000", *more, timeout=seconds + 30, check=False)
        answer = json.loads(r.out or "{}")
        why = answer.get("error") or (r.err if r.code != 0 else None)
        if not why:
            return answer["end"]
        # Between two tests the server closes its socket for a moment, and resets who has just come.
        if answer.get("intervals") or not any(s in why for s in ("unable to connect", "busy", "reset by peer")):
            break
        time.sleep(0.3)
    raise RuntimeError(f"iperf3 {' '.join(more)} to {to}: {why}")


def socket_buffer():
    """As large as this machine allows, to 4 MB. By default 195 packets of 256 bytes fill iperf3's: those of one
    millisecond, while whoever receives waits three or four for a processor."""
    limits = [4 << 20]
    for name in ("rmem_max", "wmem_max"):
        with open(f"/proc/sys/net/core/{name}") as f:
            limits.append(int(f.read()))
    return min(limits)


def udp(host, to, seconds, payload):
    """Datagrams as fast as they go: how many arrived, and in how many seconds."""
    got = iperf(host, to, seconds, "-u", "-b", "0", "-l", str(payload), "-w", str(socket_buffer()))["sum_received"]
    return got["bytes"] / payload, got["seconds"]


def ping_ms(host, to, count=100):
    out = host.run("ping", "-q", "-n", "-c", str(count), "-i", "0.01", "-W", "1", to, timeout=60, check=False).out
    return float(out.rsplit("= ", 1)[1].split("/")[1])


def carries(host, to, timeout=30):
    return lab.wait_for(lambda: host.run("ping", "-c", "1", "-W", "1", to, check=False).code == 0, timeout)


def median(values):
    """Of what was measured; None of nothing."""
    good = [v for v in values if v is not None]
    return statistics.median(good) if good else None
