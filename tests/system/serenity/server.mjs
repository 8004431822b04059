// node server.mjs PORT [FILL]: @serenity-kit/opaque as a server with authd's paths. Says "ready" when it listens.
// With FILL, so many users and sessions of the size of real ones are there already.
import { createServer } from "node:http";
import { randomBytes } from "node:crypto";
import * as opaque from "@serenity-kit/opaque";
import { check, popKey } from "./pop.mjs";

const port = Number(process.argv[2]);
const origin = `http://127.0.0.1:${port}`;
const ksf = { name: "argon2id", memory_kib: 19456, passes: 2, parallelism: 1 };
await opaque.ready;
const serverSetup = opaque.server.createSetup();
const records = new Map(), logins = new Map(), sessions = new Map(), nonces = new Set();
for (let i = 0; i < Number(process.argv[3] ?? 0); i++) {
  records.set(`user${i}@example.org`, randomBytes(192).toString("base64url"));
  sessions.set(randomBytes(16).toString("base64url"), { user: `user${i}@example.org`, key: randomBytes(32) });
}
const identifiers = (user) => ({ client: user, server: origin });
const refusal = (code) => ({ error: { code, text: code } });

function register({ user, request }) {
  return [200, { response: opaque.server.createRegistrationResponse({ serverSetup, userIdentifier: user, registrationRequest: request })
    .registrationResponse }];
}

function login({ user, ke1 }) {
  const { serverLoginState, loginResponse } = opaque.server.startLogin({
    serverSetup, userIdentifier: user, registrationRecord: records.get(user) ?? null, startLoginRequest: ke1,
    identifiers: identifiers(user),
  });
  const id = randomBytes(16).toString("base64url");
  logins.set(id, { user, serverLoginState });
  return [200, { login_id: id, ke2: loginResponse }];
}

function finish({ login_id, ke3 }) {
  const { user, serverLoginState } = logins.get(login_id);
  logins.delete(login_id);
  const { sessionKey } = opaque.server.finishLogin({ finishLoginRequest: ke3, serverLoginState, identifiers: identifiers(user) });
  const id = randomBytes(16).toString("base64url");
  sessions.set(id, { user, key: popKey(sessionKey) });
  return [200, { session_id: id, expires_in_s: 3600 }];
}

function whoami(req, body) {
  const session = sessions.get((req.headers.authorization ?? "").replace("Bearer ", ""));
  const fresh = session && check(session.key, origin, req.method, req.url, req.headers, body) && !nonces.has(req.headers["x-nonce"]);
  nonces.add(req.headers["x-nonce"]);
  return fresh ? [200, { user: session.user }] : [401, refusal("wrong_proof")];
}

function answer(req, body) {
  if (req.url === "/config")
    return [200, { origin, registration: "open", ksf }];
  if (req.url.startsWith("/api/whoami"))
    return whoami(req, body);
  const asked = JSON.parse(body);
  switch (req.url) {
    case "/register/start": return register(asked);
    case "/register/finish": records.set(asked.user, asked.record); return [201, { user: asked.user }];
    case "/login/start": return login(asked);
    case "/login/finish": return finish(asked);
    default: return [404, refusal("not_found")];
  }
}

createServer(async (req, res) => {
  const chunks = [];
  for await (const chunk of req)
    chunks.push(chunk);
  let told;
  try {
    told = answer(req, Buffer.concat(chunks));
  } catch (e) {
    told = [400, refusal(String(e))];
  }
  const text = JSON.stringify(told[1]);
  res.writeHead(told[0], { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) }).end(text);
}).listen(port, "127.0.0.1", () => console.log("ready"));
