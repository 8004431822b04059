/*
 * What is settled of a ledger that is not open. The end of a key file's: it stays, and remembers the file for ever, so
 * that it is never taken again. One that was lost before is made anew, with nothing in it but that. And where one
 * counts from that came from a backup.
 */
#include "pskd/keys/ledger.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "pskd/keys/keyfile.h"
#include "pskd/keys/keys.h"

bool ledger_record_is_finished(const struct ledger_record *r)
{
	return r->kind == LEDGER_FILE && r->tx_next == r->slots_total * SLOT_PACKETS && r->rx_mark == r->tx_next;
}

static bool record_is_unused(const struct ledger_record *r)
{
	return !r->handshaken && !r->restored && r->tx_reserved == 0 && r->rx_mark == 0 && r->rx_high == LEDGER_NONE;
}

bool ledger_state_is_unused(const struct ledger_state *s)
{
	/* A lost record may be the one that knew. */
	return s->other_ok && record_is_unused(&s->newest) && record_is_unused(&s->other);
}

static bool says_all(const struct ledger_state *s, bool erased)
{
	const struct ledger_record *n = &s->newest, *o = &s->other;

	return s->other_ok && ledger_record_is_finished(n) && ledger_record_is_finished(o) &&
	       (!erased || (n->erased == n->slots_total && o->erased == o->slots_total));
}

/* With what it says, in memory of its own. */
static int open_state(struct ledger **l, struct secret **mem, struct ledger_state **s, const char *path)
{
	uint8_t *bytes;
	int r = secret_new(mem, sizeof(**s), &bytes);

	if (r)
		return r;
	*s = (void *)bytes;
	return ledger_open(l, path, *s);
}

/* Neither says any longer that less may be used. */
static int write_both(struct ledger *l, const struct ledger_record *r)
{
	int e = ledger_write(l, r);

	return e ? e : ledger_write(l, r);
}

int ledger_finish(const char *path, bool erased)
{
	_cleanup_(ledger_closep) struct ledger *l = NULL;
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_state *s;
	struct ledger_record *n;
	int r = open_state(&l, &mem, &s, path);

	if (r)
		return r;
	n = &s->newest;
	if (n->kind != LEDGER_FILE)
		return -EINVAL;
	if (says_all(s, erased))
		return 0;
	n->tx_next = n->tx_reserved = n->rx_mark = n->slots_total * SLOT_PACKETS;
	n->rx_high = n->rx_mark - 1;
	n->restored = false;
	if (erased)
		n->erase_to = n->erased = n->slots_total;
	return write_both(l, n);
}

/* Its only slot is spent. The table beside it is that of one piece of zeros, so that it is a ledger like others. */
static void make_buried(struct ledger_record *r, uint8_t role, const uint8_t *fingerprint, const uint8_t *table)
{
	*r = (struct ledger_record){
		.kind = LEDGER_FILE, .role = role, .handshaken = true, .slots_total = 1, .tx_limit = 1,
		.tx_next = SLOT_PACKETS, .tx_reserved = SLOT_PACKETS, .rx_mark = SLOT_PACKETS, .rx_high = SLOT_PACKETS - 1,
	};
	memcpy(r->fingerprint, fingerprint, sizeof(r->fingerprint));
	sha256(r->table_sum, table, KEYFILE_HASH_LEN);
}

int ledger_bury(const char *path, uint8_t role, const uint8_t fingerprint[static 32])
{
	static const uint8_t table[KEYFILE_HASH_LEN];
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_record r;
	char table_path[PATH_MAX];
	uint8_t *blocks;
	int e = secret_new(&mem, LEDGER_LEN, &blocks);

	if (!e)
		e = keyfile_table_path(table_path, sizeof(table_path), path);
	if (e)
		return e;
	make_buried(&r, role, fingerprint, table);
	for (unsigned int i = 0; i < 2; i++) {
		r.generation = i + 1;
		ledger_encode(blocks + i * LEDGER_BLOCK_LEN, &r);
	}
	/* One that is there may tell yet which file is the one. */
	if (access(table_path, F_OK) < 0)
		e = errno == ENOENT ? file_write_atomic(table_path, table, sizeof(table), 0600) : -errno;
	return e ? e : file_write_atomic(path, blocks, LEDGER_LEN, 0600);
}

int ledger_burn_restored(const char *path, uint64_t to_slot)
{
	_cleanup_(ledger_closep) struct ledger *l = NULL;
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_state *s;
	struct ledger_record *n;
	uint64_t to, used;
	int r = open_state(&l, &mem, &s, path);

	if (r)
		return r;
	n = &s->newest;
	if (!n->restored || n->kind != LEDGER_FILE)
		return -EINVAL;
	used = n->tx_reserved > n->rx_mark ? n->tx_reserved : n->rx_mark;
	if (!s->other_ok)
		used += n->tx_limit > n->rx_limit ? n->tx_limit : n->rx_limit;
	if (to_slot >= n->slots_total || to_slot * SLOT_PACKETS < used)
		return -ERANGE;
	to = to_slot * SLOT_PACKETS;
	n->tx_next = n->tx_reserved = n->rx_mark = to;
	n->rx_high = to ? to - 1 : LEDGER_NONE;
	n->restored = false;
	return write_both(l, n);
}
