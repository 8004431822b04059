/*
 * A key file has one ledger for as long as anything of it may have been used, whatever becomes of its tunnel's
 * name. Only one that says in both records that nothing ever was may go.
 */
#include "pskd/tunnel/earlier.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/secret.h"
#include "pskd/keys/keys.h"
#include "pskd/tunnel/store.h"

static int look(const struct tunnel *t, const char *ledger, struct secret **mem, struct ledger_state **out)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, ledger);
	uint8_t *bytes;
	int r = path ? secret_new(mem, sizeof(**out), &bytes) : -ENOMEM;

	if (r)
		return r;
	*out = (void *)bytes;
	return err_fold(ledger_look(path, *out));
}

int earlier_look(const struct tunnel *t, const char *ledger, struct ledger_record *out, uint8_t *hint)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_state *s;
	int r = look(t, ledger, &mem, &s);

	if (r)
		return r;
	*out = s->newest;
	if (hint)
		keys_hint_of(out, hint);
	wipe(out->hello_key, sizeof(out->hello_key));
	wipe(out->tx_chain, sizeof(out->tx_chain));
	wipe(out->rx_chain, sizeof(out->rx_chain));
	return 0;
}

static bool forget(const struct tunnel *t, const char *ledger, bool other_role_only)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, ledger);
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_state *s;

	if (!path || look(t, ledger, &mem, &s) != 0 || !ledger_state_is_unused(s))
		return false;
	if (other_role_only && (s->newest.kind != LEDGER_FILE || s->newest.role == t->spec->f.role))
		return false;
	return keys_remove(path) == 0;
}

bool earlier_forget_unused(const struct tunnel *t, const char *ledger)
{
	return forget(t, ledger, false);
}

bool earlier_forget_other_role(const struct tunnel *t, const char *ledger)
{
	return forget(t, ledger, true);
}

int earlier_check(const struct tunnel *t, const char *ledger, const char *key_file, struct tunnel_error *e)
{
	struct ledger_record r;

	if (earlier_look(t, ledger, &r, NULL))
		tunnel_error_set(e, E(StorageFailed), NULL, "its ledger %s cannot be read", ledger);
	else if (t->ctx.ledger_is_used(ledger, t->ctx.arg))
		tunnel_error_set(e, E(KeyFileInUse), "Each key file is good for one tunnel, and for one only.",
				 "%s is the key file of a tunnel already, or was one's and is to be erased", key_file);
	else if (ledger_record_is_finished(&r))
		tunnel_error_set(e, E(KeyFileInUse), "“handfast tunnel generate FILE SIZE” makes a new one.",
				 "%s had its time: it is used up, or another key file has its place, and it is never used again", key_file);
	else if (earlier_forget_other_role(t, ledger))
		return EARLIER_E_GONE;
	else if (r.role != t->spec->f.role)
		tunnel_error_set(e, E(KeyFileInUse), "It keeps that role; or “handfast tunnel generate FILE SIZE” makes a new one.",
				 "%s was used here as %s", key_file, r.role == KEYS_INITIATOR ? "initiator" : "responder");
	else
		return 0;
	return EARLIER_E_REFUSED;
}
