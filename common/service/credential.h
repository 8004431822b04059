/*
 * systemd's credentials: files in $CREDENTIALS_DIRECTORY that only this
 * service sees, LoadCredential= or LoadCredentialEncrypted= in its unit.
 * "handfast.state-key" among them seals secrets at rest; see handfast-security(7).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "crypto/seal.h"
#include "crypto/secret.h"

#define CREDENTIAL_STATE_KEY "handfast.state-key"
#define CREDENTIAL_STATE_KEY_MIN 32
#define CREDENTIAL_MAX 4096
/* What a path in a configuration file begins with that names a credential. */
#define CREDENTIAL_PREFIX "credential:"

/* Letters, digits, ".", "_", "-", not beginning with a dot. */
bool credential_name_is_good(const char *name);

/*
 * The path of a credential, which need not be there; the caller frees it. NULL
 * when there is no $CREDENTIALS_DIRECTORY, when the name is none, or without
 * memory.
 */
char *credential_path(const char *name);

/*
 * Read one of min to max bytes (at most CREDENTIAL_MAX). 0; -ENOENT when there is none; another
 * negative errno, -EINVAL for a wrong length, with the sentence in why (cap bytes).
 */
int credential_read(struct secret **out, const char *name, size_t min, size_t max, char *why, size_t cap);

/*
 * The key of a daemon's secrets at rest: HKDF of the credential, labelled with the daemon. 0 with *out,
 * which is NULL when there is no such credential; else negative with the sentence in why.
 */
int credential_state_key(struct seal_key **out, const char *daemon, char *why, size_t cap);
