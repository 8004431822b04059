/* Whether the receiver exists is decided here and shows nowhere. */
#include "authd/transfers.h"

#include <errno.h>
#include <stdio.h>

#include "authd/state.h"
#include "authd/users.h"
#include "base/error.h"

static int insert(struct state *s, int64_t sender, const char *sender_name, int64_t receiver, const char *receiver_name,
		  const char *note, int64_t *id)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, state_store(s),
			  "INSERT INTO transfer (sender, sender_name, receiver, receiver_name, note, at)"
			  " VALUES (?, ?, nullif(?, 0), ?, ?, ?) RETURNING id");
	if (r)
		return err_fold(r);
	store_bind_int(st, 1, sender);
	store_bind_text(st, 2, sender_name);
	store_bind_int(st, 3, receiver);
	store_bind_text(st, 4, receiver_name);
	store_bind_text(st, 5, note);
	store_bind_int(st, 6, state_now(s));
	r = store_step(st);
	if (r != STORE_E_ROW)
		return r ? err_fold(r) : -EIO;
	*id = store_int(st, 0);
	return 0;
}

int transfers_add(struct state *s, int64_t sender, const char *sender_name, const char *receiver, const char *note,
		  uint64_t max, int64_t *id)
{
	_cleanup_(state_end) struct state_tx tx = { NULL };
	int64_t keep = (int64_t)max;
	struct user to;
	int r, found;

	found = users_find(s, receiver, &to);
	if (found < 0)
		return found;
	r = state_begin(&tx, s);
	if (!r)
		r = insert(s, sender, sender_name, found == 0 ? to.id : 0, receiver, note, id);
	if (!r)
		r = state_run(s,
			      "DELETE FROM transfer WHERE sender = ?1 AND id IN"
			      " (SELECT id FROM transfer WHERE sender = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2)",
			      &sender, &keep);
	if (!r)
		r = state_tick(s);
	return r ? r : state_commit(&tx);
}

static void copy(char *out, size_t cap, const char *text)
{
	snprintf(out, cap, "%s", text ? text : "");
}

int transfers_list(struct state *s, int64_t user, int64_t after, struct transfer *out, size_t max)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	size_t n = 0;
	int r;

	r = store_prepare(&st, state_store(s),
			  "SELECT id, at, sender_name, receiver_name, note FROM transfer"
			  " WHERE (sender = ?1 OR receiver = ?1) AND id > ?2 ORDER BY id LIMIT ?3");
	if (r)
		return err_fold(r);
	store_bind_int(st, 1, user);
	store_bind_int(st, 2, after);
	store_bind_int(st, 3, (int64_t)max);
	while (n < max && (r = store_step(st)) == STORE_E_ROW) {
		struct transfer *t = &out[n++];

		t->id = store_int(st, 0);
		t->at = store_int(st, 1);
		copy(t->from, sizeof(t->from), store_text(st, 2));
		copy(t->to, sizeof(t->to), store_text(st, 3));
		copy(t->note, sizeof(t->note), store_text(st, 4));
	}
	return r && r != STORE_E_ROW ? err_fold(r) : (int)n;
}
