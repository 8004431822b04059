/*
 * What a backup takes of pskd.
 */
#include "pskd/portable/portable_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "crypto/keyfile_io.h"
#include "crypto/secret.h"
#include "pskd/keys/keyfile.h"
#include "pskd/keys/ledger.h"
#include "pskd/tunnel/spec.h"
#include "service/export.h"

/* All tables together: the rest of the backup must have room beside them. */
enum { TABLES_MAX = BUNDLE_MAX - (16 << 20) };

/* What a life after this one would start from, as a record that says where it is from. */
static void settle(struct ledger_record *r, const struct ledger_state *s)
{
	*r = s->newest;
	if (!s->other_ok) {
		r->tx_reserved = min_u64(r->tx_reserved + r->tx_limit, portable_end_of(r));
		r->rx_mark = min_u64(r->rx_mark + r->rx_limit, portable_end_of(r));
	}
	r->tx_next = r->tx_reserved;
	r->generation = 1;
	r->restored = true;
}

struct exporting {
	struct export *e;
	struct portable_work *w;
	const char *ledgers, *tunnels;
	size_t tables;	    /* bytes of those added */
	json_t *added;	    /* ledger: true */
	json_t *why_not;    /* ledger: what is wrong with it */
	json_t *unreadable; /* of tunnels: name, why */
};

static int leave_ledger(struct exporting *x, const char *name, const char *why)
{
	return json_object_set_new(x->why_not, name, json_string(why)) ? -ENOMEM : 0;
}

/* 0, 1 when it is not the table of this record, or a negative errno. */
static int read_table(char **table, size_t *len, const char *ledger, const struct ledger_record *rec)
{
	uint8_t sum[SHA256_LEN];
	char path[4096];
	int r = keyfile_table_path(path, sizeof(path), ledger);

	if (!r)
		r = file_read(table, len, path, (size_t)keyfile_chunks(KEYFILE_SIZE_MAX) * KEYFILE_HASH_LEN);
	if (r)
		return r == -ENOENT || r == -EFBIG ? 1 : r;
	sha256(sum, *table, *len);
	return *len != keyfile_chunks(rec->slots_total * SLOT_LEN) * KEYFILE_HASH_LEN ||
	       memcmp(sum, rec->table_sum, sizeof(sum)) != 0;
}

/* What is damaged is told and left; what could not be looked at, for want of memory, say, fails the backup. */
static int export_ledger(struct exporting *x, const char *name)
{
	_cleanup_free_ char *path = path_join(x->ledgers, name), *table = NULL;
	char piece[BUNDLE_NAME_MAX + 1];
	struct portable_work *w = x->w;
	size_t len;
	int r;

	if (!path)
		return -ENOMEM;
	r = ledger_look(path, &w->state);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (r)
		return leave_ledger(x, name, "its ledger is damaged");
	if (w->state.newest.kind != LEDGER_FILE)
		return 0;
	r = read_table(&table, &len, path, &w->state.newest);
	if (r)
		return r < 0 ? r : leave_ledger(x, name, "the table beside its ledger is damaged or missing");
	if (len > TABLES_MAX - x->tables)
		return leave_ledger(x, name, "its key file is so large that the backup has no room for its table");
	x->tables += len;
	settle(&w->record, &w->state);
	ledger_encode_plain(w->block, &w->record);
	snprintf(piece, sizeof(piece), LEDGERS "/%.*s", FILE_NAME_MAX, name);
	export_add(x->e, piece, w->block, sizeof(w->block));
	snprintf(piece, sizeof(piece), LEDGERS "/%.*s.chunks", FILE_NAME_MAX, name);
	export_add(x->e, piece, table, len);
	return json_object_set_new(x->added, name, json_true()) ? -ENOMEM : 0;
}

static int leave_spec(struct exporting *x, const char *name, const char *why)
{
	return json_array_append_new(x->unreadable, json_pack("{s:s, s:s}", "name", name, "why", why)) ? -ENOMEM : 0;
}

/*
 * Without what was under way: a staged file, whose ledger is in the backup all the same, is staged again by who
 * wants it; and where a backup is restored nothing is erased.
 */
static int add_spec(struct exporting *x, const char *file, json_t *j)
{
	_cleanup_free_ char *text = NULL;
	char piece[BUNDLE_NAME_MAX + 1];

	json_object_del(j, "staged");
	json_object_del(j, "retired");
	text = json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS);
	if (!text)
		return -ENOMEM;
	snprintf(piece, sizeof(piece), TUNNELS "/%s", file);
	export_add(x->e, piece, text, strlen(text));
	return 0;
}

static int export_spec(struct exporting *x, const char *file)
{
	_cleanup_free_ char *path = path_join(x->tunnels, file), *text = NULL;
	_cleanup_(spec_freep) struct spec *spec = NULL;
	_cleanup_json_ json_t *j = NULL;
	char name[SPEC_NAME_MAX + sizeof(JSON)];
	const char *why;
	size_t len;
	int r;

	if (!path || strlen(file) >= sizeof(name))
		return path ? 0 : -ENOMEM;
	snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(JSON)), file);
	/* Not a tunnel's name: this daemon does not look at it either. */
	if (!text_is_name(name))
		return 0;
	r = file_read(&text, &len, path, SPEC_STATE_MAX);
	if (r && r != -EFBIG)
		return r == -ENOENT ? 0 : r;
	if (!r)
		r = json_parse(&j, text, len, &spec_state_limits);
	if (!r)
		r = spec_from_json(&spec, name, j);
	if (r)
		return r == -ENOMEM ? r : leave_spec(x, name, "its file in the state folder is damaged");
	if (spec->origin == SPEC_PAIRED)
		return 0;
	if (spec->ledger[0] && !json_object_get(x->added, spec->ledger)) {
		why = json_string_value(json_object_get(x->why_not, spec->ledger));
		return leave_spec(x, name, why ? why : "its ledger is not there");
	}
	return add_spec(x, file, j);
}

static int export_unreadable(struct exporting *x)
{
	_cleanup_free_ char *text = NULL;

	if (json_array_size(x->unreadable) == 0)
		return 0;
	text = json_dumps(x->unreadable, JSON_SORT_KEYS);
	if (!text)
		return -ENOMEM;
	export_add(x->e, UNREADABLE, text, strlen(text));
	return 0;
}

int portable_export(struct export *e, const char *state_dir)
{
	_cleanup_free_ char *ledgers = path_join(state_dir, LEDGERS), *tunnels = path_join(state_dir, TUNNELS);
	_cleanup_(portable_names_done) struct portable_names l = { 0 }, t = { 0 };
	_cleanup_(secret_freep) struct secret *mem = NULL;
	_cleanup_json_ json_t *added = json_object(), *why_not = json_object(), *unreadable = json_array();
	struct exporting x = { .e = e, .ledgers = ledgers, .tunnels = tunnels, .added = added, .why_not = why_not,
			       .unreadable = unreadable };
	uint8_t *bytes;
	int r = -ENOMEM;

	if (ledgers && tunnels && added && why_not && unreadable)
		r = secret_new(&mem, sizeof(struct portable_work), &bytes);
	if (r)
		return r;
	x.w = (void *)bytes;
	/* A tunnel that comes meanwhile has no ledger yet: tunnels are read first, ledgers are written first. */
	r = portable_names_read(&t, tunnels, JSON);
	if (!r)
		r = portable_names_read(&l, ledgers, LEDGER);
	for (size_t i = 0; !r && i < l.n; i++)
		r = export_ledger(&x, l.v[i]);
	for (size_t i = 0; !r && i < t.n; i++)
		r = export_spec(&x, t.v[i]);
	return r ? r : export_unreadable(&x);
}
