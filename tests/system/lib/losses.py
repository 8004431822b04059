"""Two ends of a tunnel whose state is lost, put back or spoilt."""
import os
import shutil

import lab

PORT = 7200
SLOTS = 400


def write_key(host, data, name="key"):
    path = os.path.join(host.dir, name)
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as f:
        f.write(data)
    return path


def declare(host, n, name="t", port=PORT, net="10.9.0", **members):
    role = "initiator" if n == 1 else "responder"
    where = {"endpoint": f"10.99.0.2:{port}"} if n == 1 or "peer" in members else {}
    where.update({"listen": port} if n == 2 or "peer" in members else {})
    if "peer" in members and n == 2:
        where["endpoint"] = f"10.99.0.1:{port}"
    members.update(where, role=role, keepalive="5s", local_address=f"{net}.{n}/30", peer_address=f"{net}.{3 - n}")
    with open(os.path.join(host.etc, "tunnels", f"{name}.yaml"), "w") as f:
        f.writelines(f"{k}: {v}\n" for k, v in members.items())


def show(host, name="t"):
    r = host.handfast("--json", "tunnel", "show", name)
    return r.json["result"]["tunnel"] if r.code == 0 else {"state": f"no answer: {r.err}"}


def problem(host, name="t"):
    return show(host, name).get("problem") or ""


def ping(host, count=1, address="10.9.0.2"):
    return host.run("ping", "-q", "-f", "-c", str(count), "-W", "1", address, check=False, timeout=120).code == 0


def works(a, address="10.9.0.2"):
    return lab.wait_for(lambda: ping(a, 1, address), 90, 0.2)


def says(host, words, name="t"):
    return lab.wait_for(lambda: words in problem(host, name), 90, 0.2)


def ledger(host, name="t"):
    return os.path.join(host.state("pskd"), "ledgers", f"{name}.ledger")


def stopped(host, do):
    host.daemons["pskd"].stop()
    do()
    host.start("pskd", config="")


def copy_state(host, to):
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(host.state("pskd"), to)


def put_back(host, copy):
    shutil.rmtree(host.state("pskd"))
    shutil.copytree(copy, host.state("pskd"))


def start(net, keys, names):
    """Hosts on one switch; the first two are the tunnel's ends."""
    hosts = [net.host(n, netns=True) for n in names]
    net.bridge("sw", [(h, [f"10.99.0.{i + 1}/24"]) for i, h in enumerate(hosts)])
    for n, h in enumerate(hosts[:2], 1):
        declare(h, n, key_file=write_key(h, keys.data))
        h.start("tund")
        h.start("pskd", config="")
    lab.check("tunnel_works_before_anything_is_lost", works(hosts[0]), [show(h) for h in hosts[:2]])
    return hosts
