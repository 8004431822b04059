"""Two hosts with a tunnel, and a router between them whose way can be made narrow: for tests of packet sizes."""
import os
import socket
import threading

import lab
import psk2

PORT = 7200
A, B = "10.99.0.2", "10.98.0.2"
A6, B6 = "fd01::2", "fd02::2"
# IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: probe
DEAF = {socket.AF_INET: (socket.IPPROTO_IP, 10, 3), socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 3)}


def declare(host, **members):
    with open(os.path.join(host.etc, "tunnels", "t.yaml"), "w") as f:
        f.writelines(f"{k}: {v}\n" for k, v in members.items())


def show(host):
    r = host.handfast("--json", "tunnel", "show", "t")
    return r.json["result"]["tunnel"] if r.code == 0 else {"state": f"no answer: {r.err}", "drops": {}}


def start_pair(a, b, v6=False, **members):
    keys, endpoint = psk2.KeyFile.random(2000), f'"[{B6}]:{PORT}"' if v6 else f"{B}:{PORT}"
    for h, role, more in ((a, "initiator", {"endpoint": endpoint}), (b, "responder", {"listen": PORT})):
        path = os.path.join(h.dir, "key")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as f:
            f.write(keys.data)
        declare(h, key_file=path, role=role, local_address=f"10.9.0.{1 + (h is b)}/30,fd09::{1 + (h is b)}/64",
                peer_address=f"10.9.0.{2 - (h is b)},fd09::{2 - (h is b)}", **more, **members)
        h.start("tund")
        h.start("pskd", config="")
    return lab.wait_for(lambda: show(a)["state"] == "up" and show(b)["state"] == "up", 60, 0.1)


class Sniffer:
    """Packets that a host's interface carries, as the host sees them."""

    def __init__(self, host, interface):
        self.sock = psk2.socket_in(host, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.sock.bind((interface, 3))
        self.sock.settimeout(0.2)
        self.packets, self.over = [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                self.packets.append(self.sock.recv(65536))
            except (TimeoutError, socket.timeout):
                if self.over:
                    return

    def stop(self):
        self.over = True
        self.thread.join()
        self.sock.close()
        return self.packets


def found(host, size, timeout=60):
    """The path MTU is known to be that."""
    return lab.wait_for(lambda: (show(host).get("path_mtu_state"), show(host).get("path_mtu")) == ("found", size),
                        timeout, 0.2)


def mtu_of(host):
    t = show(host)
    return t.get("path_mtu_state"), t.get("path_mtu"), t["drops"]


def ping(host, address, size, *more, count=1):
    """One that may not be cut up, of size bytes with its headers."""
    headers = 48 if ":" in address else 28
    return host.run("ping", "-c", str(count), "-i", "0.2", "-W", "5", "-M", "do", "-s", str(size - headers), *more,
                    address, check=False)


def stream(client, server, address, length=3_000_000, deaf=False):
    """A TCP stream of that many bytes; how many arrived. deaf: it believes nobody who says what fits."""
    listener = psk2.socket_in(server, socket.AF_INET6, socket.SOCK_STREAM)
    listener.bind(("::", 9002))
    listener.listen(1)
    sock = psk2.socket_in(client, socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(60)
    if deaf:
        sock.setsockopt(*DEAF[sock.family])
    got = 0

    def send():
        try:
            sock.connect((address, 9002))
            sock.sendall(bytes(length))
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        listener.settimeout(60)
        conn, _ = listener.accept()
        conn.settimeout(60)
        while data := conn.recv(65536):
            got += len(data)
        conn.close()
    except OSError:
        pass
    sender.join(60)
    sock.close()
    listener.close()
    return got


def narrow(router, mtu, tell=True):
    """The way between the hosts carries mtu bytes; the network says so, or not."""
    router.run("nft", "flush ruleset")
    router.run("nft", "add table inet f; add chain inet f o { type filter hook output priority 0; }")
    if not tell:
        router.run("nft", "add rule inet f o icmp type destination-unreachable drop")
        router.run("nft", "add rule inet f o icmpv6 type packet-too-big drop")
    for name, net4, net6 in (("eth0", "10.99.0.0/24", "fd01::/64"), ("eth1", "10.98.0.0/24", "fd02::/64")):
        # In the place of the kernel's own, which over IPv6 would else be preferred.
        for family, net, metric in (("-4", net4, ()), ("-6", net6, ("metric", "256"))):
            if router.run("ip", family, "route", "show", net).out:
                router.run("ip", family, "route", "replace", net, "dev", name, *metric, "mtu", "lock", str(mtu))


def flush_routes(*hosts):
    """Forget what the kernel has learnt."""
    for h in hosts:
        h.run("ip", "route", "flush", "cache")
        h.run("ip", "-6", "route", "flush", "cache")


def restart_and_find(a, b, size):
    for h in (a, b):
        h.daemons["pskd"].stop()
    for h in (a, b):
        h.start("pskd", config="")
    return found(a, size) and found(b, size)


def lay_out(net, v6=False, names=("a", "b", "router")):
    a, b, router = (net.host(n, netns=True) for n in names)
    if v6:
        net.link(a, f"{A6}/64", router, "fd01::1/64", "eth0", "eth0")
        net.link(b, f"{B6}/64", router, "fd02::1/64", "eth0", "eth1")
        for h, gateway in ((a, "fd01::1"), (b, "fd02::1")):
            h.run("ip", "-6", "route", "add", "default", "via", gateway)
    else:
        net.link(a, f"{A}/24", router, "10.99.0.1/24", "eth0", "eth0")
        net.link(b, f"{B}/24", router, "10.98.0.1/24", "eth0", "eth1")
        for h, gateway in ((a, "10.99.0.1"), (b, "10.98.0.1")):
            h.run("ip", "route", "add", "default", "via", gateway)
    router.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    return a, b, router
