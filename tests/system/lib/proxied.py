"""What a reverse proxy in front of authd and a service must let pass, and what not: clients that sign, a service that
checks Content-Digest, and the claims, which are the same whatever proxy it is.

    with proxied.running(net, "caddy", configure, lambda path: ["caddy", "run", "--config", path]) as site:
        proxied.check(site)
"""
import contextlib
import http.client
import http.server
import itertools
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import lab
import opaque

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
AUTHD = """listen: ["127.0.0.1:{port}"]
origin: https://login.example.org
proxies: ["127.0.0.1"]
metrics: ["127.0.0.1"]
registration: open
argon2id:
  memory: 19MiB
  passes: 2
"""
BODY = b"payload"


class Service(http.server.BaseHTTPRequestHandler):
    """Says what arrived; refuses a body that is not that of Content-Digest."""
    protocol_version = "HTTP/1.1"
    asked = []

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        Service.asked.append(self.path)
        right = self.headers.get("Content-Digest") == opaque.content_digest(body)
        # As WSGI and CGI read them, a hyphen and an underscore are one.
        said = [(k.replace("_", "-").lower(), v) for k, v in self.headers.items()]
        text = json.dumps({"user": self.headers.get("X-Auth-User"), "session": self.headers.get("Authorization"), "path": self.path,
                           "users": [v for k, v in said if k == "x-auth-user"],
                           "left": [v for k, v in said if k == "x-auth-expires-in"]}).encode()
        self.send_response(200 if right else 400)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def log_message(self, *args):
        pass


def make_certificate(folder, name):
    r = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", "-subj", f"/CN={name}.example.org",
                        "-addext", f"subjectAltName=DNS:{name}.example.org"], capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(r.stderr)


class Client(opaque.Client):
    """By TLS to nginx, whatever the name."""

    def __init__(self, host, port, folder):
        super().__init__(f"https://{host}")
        self.port, self.trust = port, f"{folder}/{host.split('.')[0]}.pem"

    def connect(self):
        c = http.client.HTTPConnection(self.authority, timeout=30)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        c.sock = ssl.create_default_context(cafile=self.trust).wrap_socket(plain, server_hostname=self.authority)
        return c


def check_forgeries(app):
    """What a client says of itself, however it spells it, is not what the service reads."""
    forged = [[("X-Auth-User", "root"), ("X-Auth-Expires-In", "999999999")], [("X_Auth_User", "root"), ("X-Auth_User", "root")],
              [("X_Auth-User", "root"), ("x_auth_user", "root"), ("X_Auth_Expires_In", "999999999")],
              [("X-Auth-Expires_In", "999999999"), ("X_Auth-Expires-In", "999999999"), ("X-Auth_Expires-In", "999999999")],
              [("Connection", "X-Auth-User")], [("Connection", "close, X-Auth-User"), ("X_Auth_User", "root")],
              [("Connection", "X-Auth-Expires-In, close"), ("X_Auth_Expires_In", "999999999"), ("X-Auth_Expires_In", "999999999")]]
    bad = []
    app.snonce = app.get("/notes").headers.get("X-SNONCE")
    for fields in forged:
        r = app.send("GET", "/notes", [*app.sign("GET", "/notes"), *fields])
        o = r.json if r.status == 200 else {}
        if r.status == 200 and (o["users"] != ["nina"] or len(o["left"]) != 1 or not 0 < int(o["left"][0]) <= 12 * 3600):
            bad.append((fields, o))
        elif r.status not in (200, 400, 401):
            bad.append((fields, r))
    lab.check(f"i8_a_client_cannot_say_who_it_is: {len(forged)}", not bad, bad)
    r = app.send("GET", "/notes", [*app.sign("GET", "/notes"), ("Connection", "Content-Digest")])
    lab.check("a_digest_that_connection_names_arrives_or_nothing_does", r.status in (200, 401), r)


def check_foreign_hosts(app):
    """Signed for another service, and sent here with its name: the name in the proof is this service's."""
    before, got = len(Service.asked), {}
    app.snonce = app.get("/notes").headers.get("X-SNONCE")
    for host in ("evil.example", "login.example.org", "app.example.org.evil.example", "evil.example:443"):
        for target in ("/notes", "https://app.example.org/notes"):
            fields = app.sign("GET", "/notes", authority=host)
            try:
                got[host, target] = app.raw("GET", target, None, [("Host", host), *fields]).status
            except OSError as e:
                got[host, target] = repr(e)
    lab.check(f"i7_a_request_for_another_authority_does_not_pass: {len(got)}", len(Service.asked) == before, got)
    r = app.raw("GET", "/notes", None, [("Host", "APP.example.org:443"), *app.sign("GET", "/notes")])
    lab.check("its_own_name_may_be_spelt_as_http_lets_it", r.status == 200, r)


def check(site):
    login, app = site.client("login"), site.client("app")
    r = login.register("nina", b"password")
    lab.check("registration_passes_the_proxy", r.status == 201, r)
    r = login.login("nina", b"password")
    lab.check("login_passes_the_proxy", r.status == 200 and login.signed("GET", "/session").status == 200, r)
    r = login.get("/verify")
    lab.check("verify_is_not_to_be_had_from_outside", r.status == 404, r)
    r = login.get("/metrics")
    lab.check("metrics_are_not_to_be_had_from_outside", r.status == 404, r)
    app.session, app.key = login.session, login.key
    r = app.get("/notes")
    lab.check("an_unsigned_request_does_not_pass", r.status == 401 and not Service.asked, r)
    r = app.send("POST", "/notes", app.sign("POST", "/notes", BODY, ts=int(time.time())), BODY)
    app.snonce = r.headers.get("X-SNONCE")
    lab.check("a_refused_client_gets_a_nonce", r.status == 401 and app.snonce and "snonce=" in r.headers.get("WWW-Authenticate", ""), r)
    target = "/notes/%2e%2e/a?q=%2F..%2f&&r"
    fields = app.sign("POST", target, BODY)
    r = app.send("POST", target, fields, BODY)
    lab.check("a_signed_request_passes_with_its_raw_target", r.status == 200 and r.json["user"] == "nina", r)
    lab.check("the_service_sees_no_session", r.json and r.json["session"] is None, r)
    lab.check("it_passes_once", app.send("POST", target, fields, BODY).status == 401)
    signed = lambda: app.sign("POST", "/notes?a=1", BODY)  # noqa: E731
    before = len(Service.asked)
    got = {name: app.send(method, path, signed(), body).status for name, method, path, body in
           (("method", "PUT", "/notes?a=1", BODY), ("path", "POST", "/other?a=1", BODY), ("query", "POST", "/notes?a=2", BODY),
            ("spelling", "POST", "/note%73?a=1", BODY))}
    got["digest"] = app.send("POST", "/notes?a=1", [(k, opaque.content_digest(b"x") if k == "Content-Digest" else v) for k, v in signed()],
                             BODY).status
    lab.check("what_was_changed_on_the_way_does_not_pass", set(got.values()) == {401} and len(Service.asked) == before, got)
    r = app.send("POST", "/notes?a=1", signed(), b"payloae")
    lab.check("a_changed_body_is_refused_by_the_service", r.status == 400, r)
    forged = [("X-Forwarded-Uri", "/notes?a=1"), ("X-Forwarded-Method", "POST"), ("X-Forwarded-Host", "app.example.org"), ("X-Auth-User", "root")]
    r = app.send("POST", "/other", [*signed(), *forged], BODY)
    r2 = app.send("POST", "/notes?a=1", [*signed(), *forged], BODY)
    lab.check("a_client_cannot_speak_as_the_proxy", r.status == 401 and r2.status == 200 and r2.json["user"] == "nina", (r, r2))
    check_forgeries(app)
    check_foreign_hosts(app)


def check_traefik():
    """Traefik is not run here: its example must take away what the ones that are run do."""
    with open(f"{ROOT}/conf/examples/proxies/traefik.yaml") as f:
        text = f.read()
    spellings = [n.replace("-", "{}").format(*marks) for n in ("X-Auth-User", "X-Auth-Expires-In")
                 for marks in itertools.product("-_", repeat=n.count("-"))]
    kept = [n for n in (*spellings, "Connection") if f'          {n}: ""\n' not in text]
    order = re.search(r"middlewares: \[(.*)\]", text)[1].split(", ")
    lab.check(f"the_traefik_example_drops_what_clients_say_of_themselves: {len(spellings)}",
              not kept and order.index("plain-fields") < order.index("handfast"), (kept, order))


def replaced(text, *pairs):
    """An example with ports and paths of the test: each must be there."""
    for was, now in pairs:
        if was not in text:
            raise RuntimeError(f"the example has no {was}")
        text = text.replace(was, now)
    return text


class Site:
    def __init__(self, host, process, tls, said):
        self.host, self.process, self.tls, self.said = host, process, tls, said

    def client(self, name):
        return Client(f"{name}.example.org", self.tls, self.host.dir)


@contextlib.contextmanager
def running(net, name, configure, command):
    """authd, a service and a proxy: configure(folder, authd's port, TLS port, service's port) makes the proxy's
    configuration of the example."""
    authd, tls = lab.free_port(), lab.free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = net.host(name)
    for who in ("app", "login"):
        make_certificate(host.dir, who)
    path = os.path.join(host.dir, f"{name}.conf")
    with open(path, "w") as f:
        f.write(configure(host.dir, authd, tls, server.server_address[1]))
    host.start("authd", config=AUTHD.format(port=authd))
    with open(os.path.join(host.dir, "out"), "w+") as errors:
        env = dict(host.env(), HOME=host.dir, XDG_DATA_HOME=host.dir, XDG_CONFIG_HOME=host.dir)
        process = host.popen(*command(path), stdout=errors, stderr=errors, env=env, cwd=host.dir)

        def is_up():
            with socket.socket() as k:
                return process.poll() is not None or k.connect_ex(("127.0.0.1", tls)) == 0

        up = lab.wait_for(is_up, 30) and process.poll() is None
        with open(errors.name) as f:
            said = f.read()
        yield Site(host, process, tls, said) if lab.check(f"{name}_takes_the_example", up, said[-500:]) else None
        process.terminate()
        process.wait(20)
    server.shutdown()
