/* A ledger that is here from an earlier time: of a tunnel that was removed, declared otherwise, or staged and taken back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pskd/keys/ledger.h"
#include "pskd/tunnel/tunnel_internal.h"

/* Outcomes of earlier_check(). */
enum { EARLIER_E_GONE = 1, EARLIER_E_REFUSED };

/* What the ledger of that name says, but for its secrets; hint may be NULL. 0 or a negative errno. */
int earlier_look(const struct tunnel *t, const char *ledger, struct ledger_record *out, uint8_t *hint);

/*
 * The key file that t is to use has this ledger already. 0: t may go on with it. EARLIER_E_GONE: nothing of it was
 * ever used, and it was of the other role, so it is forgotten: make a new one. EARLIER_E_REFUSED: e says why.
 */
int earlier_check(const struct tunnel *t, const char *ledger, const char *key_file, struct tunnel_error *e);

/* Forget it if nothing of it ever left: it may be any tunnel's yet. True when it is gone. */
bool earlier_forget_unused(const struct tunnel *t, const char *ledger);

/* The same, and only if it was made for the other role. */
bool earlier_forget_other_role(const struct tunnel *t, const char *ledger);
