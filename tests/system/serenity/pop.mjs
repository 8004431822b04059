// Proof of possession as handfast-auth(7) has it, from that page alone.
import { createHash, createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";

export const popKey = (sessionKey) =>
  Buffer.from(hkdfSync("sha256", Buffer.from(sessionKey, "base64url"), "", "handfast pop", 32));

export const digestOf = (body) => `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;

export function mac(key, mode, url, method, target, when, nonce, digest) {
  const { protocol, host } = new URL(url);
  const h = createHmac("sha256", key);
  for (const text of ["handfast-pop-v1", mode, protocol.slice(0, -1), host, method, target, when, nonce, digest]) {
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    h.update(length).update(bytes);
  }
  return h.digest();
}

export function sign(session, url, method, target, body, snonce) {
  const when = snonce ?? String(Math.floor(Date.now() / 1000));
  const nonce = randomBytes(16).toString("base64url");
  const digest = digestOf(body);
  return {
    Authorization: `Bearer ${session.id}`,
    [snonce ? "X-SNONCE" : "X-TS"]: when,
    "X-NONCE": nonce,
    "Content-Digest": digest,
    "X-POP": mac(session.key, snonce ? "nonce" : "time", url, method, target, when, nonce, digest).toString("base64url"),
  };
}

export function check(key, url, method, target, headers, body) {
  const snonce = headers["x-snonce"];
  const wanted = mac(key, snonce ? "nonce" : "time", url, method, target, snonce ?? headers["x-ts"], headers["x-nonce"],
                     headers["content-digest"]);
  const given = Buffer.from(headers["x-pop"] ?? "", "base64url");
  return given.length === wanted.length && timingSafeEqual(given, wanted) && headers["content-digest"] === digestOf(body);
}
