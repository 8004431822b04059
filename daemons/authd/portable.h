/*
 * What of authd goes into a backup: users with their records, and the server's keys; and how it comes back, all
 * or nothing. Sessions, invitations and what a login counted are in none: a backup is old, and what ended since
 * must not begin anew. It leaves through authd.export.
 *
 * Pieces: "keys/ID.key", 96 bytes, of each generation in use; "server.json"; "users/NNNN.json", in order of names.
 */
#pragma once

struct export;
struct keys;
struct service;
struct state;

#define PORTABLE_VERSION 1

/* Adds all pieces: an export_fn's body. 0 or a negative errno. */
int portable_export(struct export *e, struct state *s, struct keys *k);

/*
 * `authd --import`: read a bundle from standard input, check it as if a stranger had sent it, and, unless --check
 * was given, put it in place of what is in the state folder: users alone only with --replace. Prints a JSON object; an exit code.
 */
int portable_import(struct service *svc);
