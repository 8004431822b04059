"""The relay API on FastAPI and uvicorn, for comparison: sessions, roles, forwarding, size limit, ping.

    relay-peer.py PORT
"""
import base64
import json
import secrets
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
app = FastAPI()
sessions = {}


def frame(type_, payload):
    return json.dumps({"type": type_, "proto": "handfast-relay", "ver": 1, "payload": payload})


@app.post("/session")
def create():
    code = "".join(secrets.choice(ALPHABET) for _ in range(8))
    id_b64 = base64.b64encode(secrets.token_bytes(16)).decode()
    sessions[code] = {"id": id_b64, "roles": {}, "seq": {"alice": 0, "bob": 0}}
    return {"session_code": code, "session_id_b64": id_b64, "expires_in_s": 1800}


def checked(text, last_seq):
    """The message, or None when it must be refused."""
    if len(text) > 16384:
        return None
    m = json.loads(text)
    if m.get("type") == "ping":
        return m
    seq = m.get("payload", {}).get("seq")
    if m.get("type") != "packet" or not isinstance(seq, int) or seq <= last_seq:
        return None
    return m


@app.websocket("/ws/{code}/{role}")
async def relay(ws: WebSocket, code: str, role: str):
    s = sessions.get(code)
    await ws.accept()
    if not s or role not in ("alice", "bob") or role in s["roles"]:
        await ws.close(4404)
        return
    other = "bob" if role == "alice" else "alice"
    s["roles"][role] = ws
    await ws.send_text(frame("hello", {"session_code": code, "role": role, "session_id_b64": s["id"],
                                       "expires_in_s": 1800, "last_seq": 0}))
    if other in s["roles"]:
        await s["roles"][other].send_text(frame("peer_joined", {"role": role}))
        await ws.send_text(frame("peer_joined", {"role": other}))
    try:
        while True:
            m = checked(await ws.receive_text(), s["seq"][role])
            if m is None:
                await ws.close(1008)
                break
            if m["type"] == "ping":
                await ws.send_text(frame("pong", {}))
                continue
            s["seq"][role] = m["payload"]["seq"]
            if other in s["roles"]:
                await s["roles"][other].send_text(frame("relay", {"from": role, "msg": m}))
    except WebSocketDisconnect:
        pass
    finally:
        s["roles"].pop(role, None)
        if other in s["roles"]:
            await s["roles"][other].send_text(frame("peer_left", {"role": role}))


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
