"""A client in sixty lines: all that handfast-auth(7) tells, over what RFC 9807 tells (lib/opaque.py's OPAQUE).

    auth_client.py URL USER PASSWORD register [INVITATION] | request METHOD PATH [BODY] | fields METHOD PATH [BODY]
"""
import base64
import hashlib
import hmac
import json
import os
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import opaque


def ask(url, method, path, body=b"", fields=()):
    r = urllib.request.Request(url + path, body or None, {"Content-Type": "application/json", **dict(fields)}, method=method)
    try:
        with urllib.request.urlopen(r, timeout=60) as a:
            return a.status, a.headers, json.load(a)
    except urllib.error.HTTPError as a:
        return a.code, a.headers, json.load(a)


def must(url, method, path, **members):
    status, _, answer = ask(url, method, path, json.dumps(members).encode() if members else b"")
    if status >= 300:
        sys.exit(f"{path}: {answer['error']['code']}")
    return answer


def register(url, user, password, more):
    origin, (blind, request) = must(url, "GET", "/config")["origin"], opaque.blind(password)
    a = must(url, "POST", "/register/start", user=user, request=opaque.b64(request), **more)
    record = opaque.make_record(password, blind, opaque.unb64(a["response"]), user.encode(), origin.encode(), a["ksf"])
    return must(url, "POST", "/register/finish", user=user, record=opaque.b64(record), **more)


def login(url, user, password):
    half = opaque.Login(password, user.encode(), must(url, "GET", "/config")["origin"].encode())
    a = must(url, "POST", "/login/start", user=user, ke1=opaque.b64(half.ke1))
    ke3, key = half.finish(opaque.unb64(a["ke2"]), a["ksf"])
    session = must(url, "POST", "/login/finish", login_id=a["login_id"], ke3=opaque.b64(ke3))["session_id"]
    return session, hmac.digest(hmac.digest(bytes(32), key, "sha256"), b"handfast pop\1", "sha256")


def sign(url, session, key, method, path, body, snonce=None):
    u, when, nonce = urllib.parse.urlsplit(url), snonce or str(int(time.time())), opaque.b64(os.urandom(16))
    digest = "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"
    texts = ["handfast-pop-v1", "nonce" if snonce else "time", u.scheme, u.netloc, method, path, when, nonce, digest]
    mac = hmac.digest(key, b"".join(struct.pack(">I", len(t)) + t.encode() for t in texts), "sha256")
    return {"Authorization": f"Bearer {session}", "X-SNONCE" if snonce else "X-TS": when, "X-NONCE": nonce,
            "Content-Digest": digest, "X-POP": opaque.b64(mac)}


url, user, password, what, *rest = sys.argv[1:]
if what == "register":
    print(json.dumps(register(url, user, password.encode(), {"invitation": rest[0]} if rest else {})))
else:
    session, key = login(url, user, password.encode())
    asked = rest[0], rest[1], (rest[2] if len(rest) > 2 else "").encode()
    status, headers, answer = ask(url, *asked, sign(url, session, key, *asked))
    snonce = headers.get("X-SNONCE")
    if what == "fields":
        sys.exit(print("".join(f"{k}: {v}\n" for k, v in sign(url, session, key, *asked, snonce).items()), end=""))
    if status == 401 and snonce:
        status, headers, answer = ask(url, *asked, sign(url, session, key, *asked, snonce))
    print(json.dumps({"status": status, "answer": answer}))
