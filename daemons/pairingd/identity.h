/* Who this device is: its Ed25519 key, made once, and its name and addresses. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/sign.h"
#include "proto/identity_msg.h"

struct seal_key;

enum identity_news {
	IDENTITY_AS_BEFORE,
	IDENTITY_MADE,	 /* there was none */
	IDENTITY_SEALED, /* it lay open, and does no longer */
};

/* Outcomes of identity_load(). */
enum {
	IDENTITY_E_SEALED = 1, /* it is sealed, and there is no state key */
	IDENTITY_E_OTHER_KEY,  /* it is sealed under another one */
};

/*
 * Load the key from dir, or make it when there is none (durable before it is
 * used). With a state key (seal; NULL: none) the file is sealed under it, now if it was not. 0; an
 * outcome above; -EBADMSG when the file is no key, -EPERM when others may read it; or the errno of
 * reading or writing.
 */
int identity_load(struct sign_key **out, const char *dir, const struct seal_key *seal, enum identity_news *news);

/*
 * Write the key to path, mode 0600, sealed unless seal is NULL; durable when it returns 0, else a negative errno.
 * An open key takes the place of no other file: -EEXIST.
 */
int identity_save(const struct sign_key *key, const char *path, const struct seal_key *seal);
/* Overwrite and remove a key file; none is fine. 0 or a negative errno. */
int identity_remove(const char *path);
/* The same for what was left of key files whose writing was cut off. The state folder must be held. */
int identity_sweep(const char *dir);
/*
 * The key file `from` takes the place of the one at path, whose bytes are overwritten. No
 * `from`: it did so before. 0 or a negative errno.
 */
int identity_replace(const char *path, const char *from);

/* A device name out of a host name: its first label, what no name may hold replaced; "device" when nothing is left. */
void identity_name(char out[static IDENTITY_NAME_MAX + 1], const char *host_name);

/*
 * Addresses under which a peer may reach this machine: of interfaces that are
 * up, without loopback, multicast and IPv6 link-local ones (IPv4's are those of a
 * direct cable) and without our own tunnels ("hf" and a number). Returns how many, at most IDENTITY_CANDIDATES_MAX.
 */
size_t identity_candidates(char (*out)[IDENTITY_CANDIDATE_LEN]);
