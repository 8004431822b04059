/* Key material that is given up because somebody asked for it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "pskd/keys/ledger.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnel_internal.h"

/* One that came from a backup and may not start before somebody says from where on. */
static int burn_restored(struct tunnel *t, uint64_t to_slot, uint64_t *burned, struct tunnel_error *e)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, t->spec->ledger);
	int r = path ? ledger_burn_restored(path, to_slot) : -ENOMEM;

	if (r == -EINVAL)
		tunnel_error_set(e, E(NeedsBurn), "Bring the tunnel up first.", "%s is not up", t->spec->name);
	else if (r == -ERANGE)
		tunnel_error_set(e, E(NeedsBurn), "Take a higher one, or a new key file.",
				 "slot %llu of %s may have been used, or there is none such",
				 (unsigned long long)to_slot, t->spec->name);
	else if (r)
		tunnel_error_set(e, E(StorageFailed), NULL, "the ledger of %s cannot be written: %s", t->spec->name,
				 strerror(r < 0 ? -r : EIO));
	if (r)
		return -1;
	*burned = 0;
	tunnel_note(t, LOG_NOTICE, &MSG_TUNNEL_BURNED, NULL, NULL, "key material was given up as asked");
	if (t->spec->enabled)
		tunnel_start(t);
	return 0;
}

/* Why a burn to this slot cannot be, or would give up nothing. */
static int check_burn(const struct tunnel *t, uint64_t to_slot, struct tunnel_error *e)
{
	uint64_t at = keys_tx_next(t->keys) / SLOT_PACKETS;
	struct keys_info info;

	keys_info(t->keys, &info);
	if (info.slots_total && to_slot >= info.slots_total)
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", "“handfast tunnel show NAME” tells what is left.",
				 "%s ends with slot %llu; nothing was given up", t->spec->name,
				 (unsigned long long)info.slots_total - 1);
	else if (to_slot <= at && !t->burn_unwritten)
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", "Name a later slot.",
				 "%s is at slot %llu already; nothing was given up", t->spec->name, (unsigned long long)at);
	else if (!info.slots_total && to_slot - at > KEYS_RATCHET_BURN_SLOTS)
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", NULL,
				 "%s is at slot %llu, and at most %llu slots are given up at a time; nothing was given up",
				 t->spec->name, (unsigned long long)at, (unsigned long long)KEYS_RATCHET_BURN_SLOTS);
	else
		return 0;
	return -1;
}

/* To where, each way. -1 when nothing is to be given up, and why. */
static int burn_targets(const struct tunnel *t, uint64_t to_slot, uint64_t *tx, uint64_t *rx, struct tunnel_error *e)
{
	*tx = *rx = 0;
	if (to_slot != UINT64_MAX) {
		if (check_burn(t, to_slot, e))
			return -1;
		*tx = to_slot * SLOT_PACKETS;
	} else if (t->hello) {
		hello_burn_targets(t->hello, tx, rx);
	}
	if (*tx > keys_tx_next(t->keys) || *rx > 0 || t->burn_unwritten)
		return 0;
	tunnel_error_set(e, "io.handfast.Daemon.BadRequest", "With --to-slot it is given up all the same.",
			 "%s needs no burn: the peer and we agree, or have not spoken yet; nothing was given up",
			 t->spec->name);
	return -1;
}

/* What waited for it goes on. */
static void on_burned(struct tunnel *t)
{
	tunnel_note(t, LOG_NOTICE, &MSG_TUNNEL_BURNED, NULL, NULL, "key material was given up as asked");
	if (t->state == TUNNEL_NEEDS_BURN) {
		t->state = TUNNEL_WAITING;
		tunnel_clear_problem(t);
	}
	if (t->hello) {
		hello_clear_burn(t->hello);
		hello_stop(t->hello);
		hello_start(t->hello);
	}
}

/* Packets are sent meanwhile: what they took is not among what is given up. */
static int burn_tx(struct tunnel *t, uint64_t to, uint64_t *given_up)
{
	HOLD(packet_thread_hold(t->thread));
	uint64_t before = keys_tx_next(t->keys);
	int r = to > before ? keys_tx_forward(t->keys, to, true) : 0;

	*given_up = keys_tx_next(t->keys) - before;
	return r;
}

int tunnel_burn(struct tunnel *t, uint64_t to_slot, uint64_t *burned, struct tunnel_error *e)
{
	uint64_t tx, rx, given_up;
	int r;

	if (!t->keys && to_slot != UINT64_MAX && t->spec->ledger[0])
		return burn_restored(t, to_slot, burned, e);
	if (!t->keys) {
		tunnel_error_set(e, E(NeedsBurn), "Bring the tunnel up first.", "%s is not up", t->spec->name);
		return -1;
	}
	if (burn_targets(t, to_slot, &tx, &rx, e))
		return -1;
	r = burn_tx(t, tx, &given_up);
	if ((r == 0 || r == KEYS_E_NOT_READY) && rx > 0)
		r = keys_rx_forward(t->keys, rx, true);
	if (r && r != KEYS_E_NOT_READY) {
		tunnel_keys_error(e, t, r, NULL, "");
		return -1;
	}
	/* Not before it would be remembered after a power cut; of a pairing, see keys.h. */
	r = keys_make_durable(t->keys);
	t->burn_unwritten = r != 0;
	*burned = given_up;
	if (r) {
		tunnel_error_set(e, E(StorageFailed), "Say it again once the disk takes it.",
				 "the ledger of %s cannot be written, and may forget it: %s", t->spec->name, strerror(-r));
		return -1;
	}
	on_burned(t);
	return 0;
}
