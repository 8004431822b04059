/*
 * The file of a backup: its passphrase, sealing and opening, and the pieces
 * inside. What the pieces mean is the daemons' business; names and lists for
 * showing are read here.
 *
 * Inside is a bundle (proto/bundle.h): "about.json", "config/" with the files of
 * /etc/handfast, and under "pairingd/", "pskd/" and "authd/" what these daemons gave out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/archive.h"
#include "ctl/failure.h"

struct ctl;
struct json_t;
struct secret;

#define BACKUP_VERSION 1
#define PASSPHRASE_MIN 8
#define PASSPHRASE_MAX 1024

/*
 * From --passphrase-file ("-": standard input), or asked for on the terminal, twice when it is
 * new. EXIT_DONE with *out, or an exit code with *f filled.
 */
int backup_passphrase(const struct ctl *c, bool is_new, struct secret **out, struct failure *f);

/* Read the file ("-": standard input) as it is. EXIT_DONE with *out, or an exit code with *f filled. */
int backup_read(const char *path, struct pages *out, struct failure *f);

/*
 * Before a passphrase is asked for: whether this is a backup that we can read at all. EXIT_DONE, or
 * an exit code with *f filled.
 */
int backup_check_head(const char *path, const struct pages *sealed, struct failure *f);

/* Open and check the bundle inside, name by name. EXIT_DONE with *out, or an exit code with *f filled. */
int backup_open(const char *path, const struct pages *sealed, const struct secret *passphrase,
		struct pages *out, struct failure *f);

/*
 * What is inside, for showing: {"made_at", "host", "version", "id", "config": [], "peers": [],
 * "tunnels": [{"name", "kind", "key_file"}], "logins": {"origin", "users"} or null}. A new reference, NULL when it makes no sense or there is no memory.
 */
struct json_t *backup_contents(const struct pages *bundle);

/* The tunnels that pskd could not give out, as sentences: a new reference to an array. */
struct json_t *backup_unreadable(const struct pages *bundle);
/* Names of what no backup holds, and of what this one could not: a new reference to an array of sentences. */
struct json_t *backup_left_out(const struct pages *bundle);

/* The same for people; result is backup_contents()' or has its members. */
void backup_contents_text(const struct ctl *c, const struct json_t *result);
