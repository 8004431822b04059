// node client.mjs URL USER register|login PASSWORD [INVITATION]: @serenity-kit/opaque at an authd. One line of JSON.
import * as opaque from "@serenity-kit/opaque";
import { popKey, sign } from "./pop.mjs";

const [url, user, action, password, invitation] = process.argv.slice(2);
await opaque.ready;

async function post(path, body) {
  const r = await fetch(url + path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const answer = await r.json();
  if (!r.ok) {
    console.log(JSON.stringify({ ok: false, at: path, status: r.status, code: answer.error.code }));
    process.exit(0);
  }
  return answer;
}

const config = await (await fetch(url + "/config")).json();
const identifiers = { client: user, server: config.origin };
const stretching = (ksf) => ({ "argon2id-custom": { iterations: ksf.passes, memory: ksf.memory_kib, parallelism: 1 } });

if (action === "register") {
  const { clientRegistrationState, registrationRequest } = opaque.client.startRegistration({ password });
  const more = invitation ? { invitation } : {};
  const started = await post("/register/start", { user, request: registrationRequest, ...more });
  const { registrationRecord } = opaque.client.finishRegistration({
    clientRegistrationState, registrationResponse: started.response, password, identifiers, keyStretching: stretching(started.ksf),
  });
  await post("/register/finish", { user, record: registrationRecord, ...more });
  console.log(JSON.stringify({ ok: true }));
} else {
  const { clientLoginState, startLoginRequest } = opaque.client.startLogin({ password });
  const started = await post("/login/start", { user, ke1: startLoginRequest });
  const done = opaque.client.finishLogin({
    clientLoginState, loginResponse: started.ke2, password, identifiers, keyStretching: stretching(started.ksf),
  });
  if (!done) {
    console.log(JSON.stringify({ ok: false, at: "client", code: "wrong" }));
    process.exit(0);
  }
  const finished = await post("/login/finish", { login_id: started.login_id, ke3: done.finishLoginRequest });
  const session = { id: finished.session_id, key: popKey(done.sessionKey) };
  const ask = (snonce) => fetch(url + "/api/whoami", { headers: sign(session, url, "GET", "/api/whoami", "", snonce) });
  let r = await ask();
  if (r.status === 401 && r.headers.get("X-SNONCE"))
    r = await ask(r.headers.get("X-SNONCE"));
  console.log(JSON.stringify({ ok: r.ok, status: r.status, whoami: await r.json() }));
}
