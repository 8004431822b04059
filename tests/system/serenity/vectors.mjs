// node vectors.mjs OPAQUE-FIXED >tests/vectors/serenity.h: one registration and login of our client with their server, and
// one of their client with our server, whose random choices are fixed (tests/tools/opaque-fixed.c). Where they have
// none of their own, both must have answered the same.
import { execFileSync } from "node:child_process";
import * as opaque from "@serenity-kit/opaque";

const tool = process.argv[2], password = "correct horse battery", userIdentifier = "zoe";
const identifiers = { client: userIdentifier, server: "https://login.example.org" };
const keyStretching = { "argon2id-custom": { iterations: 2, memory: 19456, parallelism: 1 } };
const ours = (...words) => execFileSync(tool, words, { encoding: "utf8" }).trim().split("\n");
const hex = (text) => Buffer.from(text, "base64url").toString("hex");
const text = (bytes) => Buffer.from(bytes, "hex").toString("base64url");
await opaque.ready;

const serverSetup = opaque.server.createSetup();
const keys = hex(serverSetup).slice(0, 192);
const must = (right, what) => { if (!right) throw new Error(what); };

function ourClient() {
  const [request] = ours("request");
  const { registrationResponse } = opaque.server.createRegistrationResponse({
    serverSetup, userIdentifier, registrationRequest: text(request) });
  const response = hex(registrationResponse), [record] = ours("record", response), [ke1] = ours("ke1");
  must(response === ours("response", keys, request)[0], "the servers answer differently");
  const { serverLoginState, loginResponse } = opaque.server.startLogin({
    serverSetup, userIdentifier, registrationRecord: text(record), startLoginRequest: text(ke1), identifiers });
  const ke2 = hex(loginResponse), [ke3, key] = ours("ke3", ke2);
  const { sessionKey } = opaque.server.finishLogin({ finishLoginRequest: text(ke3), serverLoginState, identifiers });
  must(hex(sessionKey) === key, "the keys differ");
  return { request, response, record, ke1, ke2, ke3, session_key: key };
}

function theirClient() {
  const { clientRegistrationState, registrationRequest } = opaque.client.startRegistration({ password });
  const request = hex(registrationRequest), [response] = ours("response", keys, request);
  const { registrationRecord } = opaque.client.finishRegistration({
    clientRegistrationState, registrationResponse: text(response), password, identifiers, keyStretching });
  const { clientLoginState, startLoginRequest } = opaque.client.startLogin({ password });
  const record = hex(registrationRecord), ke1 = hex(startLoginRequest), [ke2] = ours("ke2", keys, record, ke1);
  const done = opaque.client.finishLogin({ clientLoginState, loginResponse: text(ke2), password, identifiers, keyStretching });
  must(done, "their client does not take our server's answer");
  return { request, response, record, ke1, ke2, ke3: hex(done.finishLoginRequest), session_key: hex(done.sessionKey) };
}

function lines(value) {
  const parts = value.match(/.{1,88}/g).map((part) => `"${part}"`);
  return parts.join("\n\t\t");
}

const member = ([name, value]) => `\t.${name} =\n\t\t${lines(value)},\n`;
const vector = (name, values) =>
  `static const struct serenity_vector ${name} = {\n${Object.entries(values).map(member).join("")}};\n`;
console.log(`/*
 * OPAQUE-3DH between us and the npm package @serenity-kit/opaque 1.1.0, by tests/system/serenity/vectors.mjs: a clone
 * without a network tests against it with these. What we chose is in opaque_fixed.h. Hex.
 */
#pragma once

struct serenity_vector {
	const char *request, *response, *record, *ke1, *ke2, *ke3, *session_key;
};

/* OPRF seed and private key of the server, whoever is. */
static const char serenity_keys[] =
	${lines(keys).replaceAll("\t\t", "\t")};

${vector("our_client_their_server", ourClient())}
${vector("their_client_our_server", theirClient()).trimEnd()}`);
