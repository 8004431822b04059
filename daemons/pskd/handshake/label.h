/*
 * Labels: identities that nobody signs for. Ours is a salted hash of what is
 * particular to this machine; a peer's is what it says. Lists of them allow or
 * revoke. A label tells honest machines apart and proves nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "proto/psk_handshake.h"

/* What begins the hash of every label. */
#define LABEL_CONTEXT "psk-tunnel/v1"
#define LABEL_SALT_MAX 128
#define LABEL_SERIAL_MAX 256

/* The first half alone may be given, of which the rest is not looked at. */
struct label {
	uint8_t id[PSKH_IDENTITY_LEN];
	uint8_t len; /* 8 or 16 */
};

struct label_list {
	struct label *v;
	size_t n;
};

/*
 * For configuration tables: NULL, or what would be accepted. A label is 16 or 32 hex digits; where keys are good, too,
 * a public key in base64 or hex stands for the identity that is made of it. A source is one that label_serial() knows.
 */
const char *label_check(const char *value);
const char *label_check_or_key(const char *value);
/* Whether two such values name the same identity, and whether one names this. */
bool label_same(const char *a, const char *b);
bool label_names(const char *value, const uint8_t id[static PSKH_IDENTITY_LEN]);
const char *label_check_source(const char *value);
const char *label_check_salt(const char *value);

/* From texts that were checked; *out, which was zeroed or a list, is replaced. 0 or -ENOMEM (unchanged). */
int label_list_set(struct label_list *out, const struct config_list *texts);
void label_list_done(struct label_list *l);
bool label_list_has(const struct label_list *l, const uint8_t id[static PSKH_IDENTITY_LEN]);

/*
 * What the first of these sources says that says anything of use: "machine-id", "device-tree", "product-uuid",
 * "board-serial", "credential" (handfast.serial), or a file's path. White space and NULs around it are left out, and
 * what vendors write into every board is none. Its length, with *source; 0: none of them can be used.
 */
size_t label_serial(uint8_t out[static LABEL_SERIAL_MAX], const struct config_list *sources, const char **source);
/* SHA-256 of context, salt and serial, cut. */
void label_make(uint8_t out[static PSKH_IDENTITY_LEN], const void *salt, size_t salt_len, const uint8_t *serial,
		size_t serial_len);
