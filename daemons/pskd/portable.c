/*
 * Import: every file is written into import.new/ and made durable there; its renaming to
 * import/ decides; then each file gets its place, and a start that finds import/
 * goes on with that. A ledger that is here already only moves forward.
 */
#include "pskd/portable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "crypto/keyfile_io.h"
#include "crypto/secret.h"
#include "pskd/keyfile.h"
#include "pskd/keys.h"
#include "pskd/ledger.h"
#include "pskd/spec.h"
#include "pskd/store.h"
#include "service/export.h"
#include "service/service.h"

#define TUNNELS "tunnels"
#define LEDGERS "ledgers"
#define STAGE "import.new"
#define COMMITTED "import"
#define JSON ".json"
#define LEDGER ".ledger"
#define CHUNKS ".ledger.chunks"
#define UNREADABLE "unreadable.json"
/* In what is staged: the files that go before the others get their places, a path below the state folder a line. */
#define REMOVE "remove"

enum {
	WHY_MAX = 512,
	SPEC_MAX = 65536,
	FILE_NAME_MAX = 80,
	NAME_TRIES = 1000,
	/* All tables together: the rest of the backup must have room beside them. */
	TABLES_MAX = BUNDLE_MAX - (16 << 20),
};

static const struct json_limits limits = { .max_bytes = SPEC_MAX, .max_depth = 6, .max_keys = 200 };

static bool ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcmp(name + n - m, suffix) == 0;
}

/* The names in a folder with this suffix, sorted; one that is not there is empty. */
struct names {
	char **v;
	size_t n;
};

static void names_done(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_read(struct names *l, const char *dir, const char *suffix)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	int r = 0;

	*l = (struct names){ 0 };
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!r && (e = readdir(d))) {
		char **more;

		if (e->d_name[0] == '.' || !ends_with(e->d_name, suffix))
			continue;
		more = reallocarray(l->v, l->n + 1, sizeof(*more));
		if (!more) {
			r = -ENOMEM;
			break;
		}
		l->v = more;
		l->v[l->n] = strdup(e->d_name);
		r = l->v[l->n] ? 0 : -ENOMEM;
		l->n += r == 0;
	}
	closedir(d);
	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), compare_text);
	return r;
}

/* ---- out ---- */

static uint64_t end_of(const struct ledger_record *r)
{
	return r->slots_total * SLOT_PACKETS;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What a life after this one would start from, as a record that says where it is from. */
static void settle(struct ledger_record *r, const struct ledger_state *s)
{
	*r = s->newest;
	if (!s->other_ok) {
		r->tx_reserved = smaller(r->tx_reserved + r->tx_limit, end_of(r));
		r->rx_mark = smaller(r->rx_mark + r->rx_limit, end_of(r));
	}
	r->tx_next = r->tx_reserved;
	r->generation = 1;
	r->restored = true;
}

struct work { /* holds secrets: lies in secret memory */
	struct ledger_state state;
	struct ledger_record record, other;
	uint8_t block[LEDGER_BLOCK_LEN];
};

struct exporting {
	struct export *e;
	struct work *w;
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
	struct work *w = x->w;
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

static int export_spec(struct exporting *x, const char *file)
{
	_cleanup_free_ char *path = path_join(x->tunnels, file), *text = NULL;
	_cleanup_(spec_freep) struct spec *spec = NULL;
	_cleanup_json_ json_t *j = NULL;
	char piece[BUNDLE_NAME_MAX + 1], name[SPEC_NAME_MAX + sizeof(JSON)];
	const char *why;
	size_t len;
	int r;

	if (!path || strlen(file) >= sizeof(name))
		return path ? 0 : -ENOMEM;
	snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(JSON)), file);
	/* Not a tunnel's name: this daemon does not look at it either. */
	if (!text_is_name(name))
		return 0;
	r = file_read(&text, &len, path, SPEC_MAX);
	if (r && r != -EFBIG)
		return r == -ENOENT ? 0 : r;
	if (!r)
		r = json_parse(&j, text, len, &limits);
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
	snprintf(piece, sizeof(piece), TUNNELS "/%s", file);
	export_add(x->e, piece, text, len);
	return 0;
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
	_cleanup_(names_done) struct names l = { 0 }, t = { 0 };
	_cleanup_(secret_freep) struct secret *mem = NULL;
	_cleanup_json_ json_t *added = json_object(), *why_not = json_object(), *unreadable = json_array();
	struct exporting x = { .e = e, .ledgers = ledgers, .tunnels = tunnels, .added = added, .why_not = why_not,
			       .unreadable = unreadable };
	uint8_t *bytes;
	int r = -ENOMEM;

	if (ledgers && tunnels && added && why_not && unreadable)
		r = secret_new(&mem, sizeof(struct work), &bytes);
	if (r)
		return r;
	x.w = (void *)bytes;
	/* A tunnel that comes meanwhile has no ledger yet: tunnels are read first, ledgers are written first. */
	r = names_read(&t, tunnels, JSON);
	if (!r)
		r = names_read(&l, ledgers, LEDGER);
	for (size_t i = 0; !r && i < l.n; i++)
		r = export_ledger(&x, l.v[i]);
	for (size_t i = 0; !r && i < t.n; i++)
		r = export_spec(&x, t.v[i]);
	return r ? r : export_unreadable(&x);
}

/* ---- in: checking ---- */

/* The file name of a piece in one of the two folders; NULL when it is neither. */
static const char *file_of(const struct bundle_piece *p, const char *folder, const char *suffix)
{
	size_t n = strlen(folder);
	const char *name = p->name + n + 1;

	if (strncmp(p->name, folder, n) != 0 || p->name[n] != '/' || strchr(name, '/') || !ends_with(name, suffix) ||
	    strlen(name) >= FILE_NAME_MAX)
		return NULL;
	return name;
}

static int parse_spec(struct spec **out, const struct bundle_piece *p, const char *file, char *why, size_t cap)
{
	_cleanup_json_ json_t *j = NULL;
	char name[FILE_NAME_MAX];

	snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(JSON)), file);
	if (!text_is_name(name) || json_parse(&j, (const char *)p->data, p->len, &limits))
		return text_explain(why, cap, -1, "tunnel %s of the backup is damaged", file);
	if (json_get_int(j, "version", 0) > SPEC_VERSION)
		return text_explain(why, cap, -1,
				    "tunnel %s was written by a newer handfast (version %lld, this one knows up to %d): "
				    "install that version first",
				    name, (long long)json_get_int(j, "version", 0), SPEC_VERSION);
	if (spec_from_json(out, name, j) || (*out)->origin == SPEC_PAIRED)
		return text_explain(why, cap, -1, "tunnel %s of the backup is damaged", name);
	return 0;
}

static int parse_ledger(struct ledger_record *r, const struct bundle_piece *p, char *why, size_t cap)
{
	int e = p->len == LEDGER_BLOCK_LEN ? ledger_decode(r, p->data) : LEDGER_E_BROKEN;

	if (e == LEDGER_E_NEWER)
		return text_explain(why, cap, -1,
				    "%s was written by a newer handfast (version %u, this one knows up to %d): install "
				    "that version first",
				    p->name, r->version, LEDGER_VERSION);
	if (e || r->kind != LEDGER_FILE || r->sealed || !r->restored)
		return text_explain(why, cap, -1, "%s of the backup is damaged", p->name);
	return 0;
}

/* The table that belongs to a ledger's record. */
static int check_table(const struct ledger_record *r, const struct bundle_piece *p, const void *bundle, size_t len,
		       struct bundle_piece *table, char *why, size_t cap)
{
	char name[BUNDLE_NAME_MAX + 1];
	uint8_t sum[SHA256_LEN];

	if (snprintf(name, sizeof(name), "%s.chunks", p->name) >= (int)sizeof(name) ||
	    !bundle_find(bundle, len, name, table) ||
	    table->len != keyfile_chunks(r->slots_total * SLOT_LEN) * KEYFILE_HASH_LEN)
		return text_explain(why, cap, -1, "%s of the backup has no table", p->name);
	sha256(sum, table->data, table->len);
	if (memcmp(sum, r->table_sum, sizeof(sum)) != 0)
		return text_explain(why, cap, -1, "%s of the backup has the table of another", p->name);
	return 0;
}

/* owners: which tunnel of the backup has which ledger. */
static int check_piece(const struct bundle_piece *p, const void *bundle, size_t len, struct ledger_record *r,
		       json_t *owners, char *why, size_t cap)
{
	_cleanup_(spec_freep) struct spec *spec = NULL;
	char piece[BUNDLE_NAME_MAX + 1];
	const char *file, *rival;
	struct bundle_piece other;

	if (file_of(p, LEDGERS, LEDGER))
		return parse_ledger(r, p, why, cap) ? -1 : check_table(r, p, bundle, len, &other, why, cap);
	if (file_of(p, LEDGERS, CHUNKS) || strcmp(p->name, UNREADABLE) == 0)
		return 0;
	file = file_of(p, TUNNELS, JSON);
	if (!file)
		return text_explain(why, cap, -1, "the backup holds %s, which this pskd does not know", p->name);
	if (parse_spec(&spec, p, file, why, cap))
		return -1;
	if (!spec->ledger[0])
		return 0;
	snprintf(piece, sizeof(piece), LEDGERS "/%s", spec->ledger);
	/* Without its ledger it is left out, and told. */
	if (!bundle_find(bundle, len, piece, &other))
		return 0;
	rival = json_string_value(json_object_get(owners, spec->ledger));
	if (rival)
		return text_explain(why, cap, -1, "the tunnels %s and %s of the backup have one ledger", rival, spec->name);
	if (json_object_set_new(owners, spec->ledger, json_string(spec->name)))
		return text_explain(why, cap, -1, "no memory");
	return 0;
}

int portable_check(const void *bundle, size_t len, char *why, size_t cap)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	_cleanup_json_ json_t *owners = json_object();
	struct bundle_piece p;
	struct bundle_reader reader;
	uint8_t *bytes;
	int r = 0;

	if (!owners || secret_new(&mem, sizeof(struct ledger_record), &bytes) || bundle_open(&reader, bundle, len, NULL))
		return text_explain(why, cap, -1, "no memory");
	while (!r && bundle_next(&reader, &p) == 1)
		r = check_piece(&p, bundle, len, (void *)bytes, owners, why, cap);
	return r;
}

/* ---- in: staging ---- */

struct import {
	struct service *svc;
	struct pages bundle;
	struct secret *mem;
	struct work *w;
	char *tunnels, *ledgers; /* what is there */
	char *stage, *stage_tunnels, *stage_ledgers;
	int lock_fd;
	bool running;
	json_t *names, *needs_burn;
	json_t *skipped; /* tunnels whose ledger the backup has not */
	json_t *roots;	 /* ledgers of pairings that are here, and sealed: under a key that we may not have */
	json_t *sealed;	 /* those of key files */
	size_t replaced;
	char why[WHY_MAX];
};

static void import_done(struct import *im)
{
	pages_done(&im->bundle);
	secret_free(im->mem);
	free(im->tunnels);
	free(im->ledgers);
	free(im->stage);
	free(im->stage_tunnels);
	free(im->stage_ledgers);
	closep(&im->lock_fd);
	json_decref(im->names);
	json_decref(im->needs_burn);
	json_decref(im->skipped);
	json_decref(im->roots);
	json_decref(im->sealed);
}

/* Never back: the marks of both. What the two have in common is the backup's, whose secrets are readable. */
static void merge(struct ledger_record *r, const struct ledger_state *here)
{
	const struct ledger_record *h = &here->newest;
	uint64_t tx = h->tx_reserved, rx = h->rx_mark;

	if (!here->other_ok) {
		tx = smaller(tx + h->tx_limit, end_of(r));
		rx = smaller(rx + h->rx_limit, end_of(r));
	}
	r->tx_next = r->tx_reserved = larger(r->tx_reserved, tx);
	if (h->rx_high != LEDGER_NONE && (r->rx_high == LEDGER_NONE || h->rx_high > r->rx_high))
		r->rx_high = h->rx_high;
	r->rx_mark = larger(r->rx_mark, rx);
	r->handshaken = r->handshaken || h->handshaken;
	if (h->erase_to > r->erase_to) {
		r->erase_to = h->erase_to;
		r->erased = h->erased;
		memcpy(r->edge_sum, h->edge_sum, sizeof(r->edge_sum));
	}
}

/* NAME.ledger, or NAME.1.ledger … when that is of other material. */
static int free_name(const struct import *im, char out[static FILE_NAME_MAX], const char *wanted)
{
	int stem = (int)(strlen(wanted) - strlen(LEDGER));

	snprintf(out, FILE_NAME_MAX, "%s", wanted);
	for (unsigned int i = 1; i < NAME_TRIES; i++) {
		_cleanup_free_ char *path = path_join(im->ledgers, out), *staged = path_join(im->stage_ledgers, out);

		if (!path || !staged)
			return -ENOMEM;
		if (access(path, F_OK) != 0 && access(staged, F_OK) != 0)
			return 0;
		snprintf(out, FILE_NAME_MAX, "%.*s.%u" LEDGER, stem < 60 ? stem : 60, wanted, i);
	}
	return -EEXIST;
}

/* Where the ledger of this piece will be: with its material that is here already, or under a free name. */
static int place_ledger(struct import *im, const struct bundle_piece *p, char name[static FILE_NAME_MAX])
{
	struct ledger_record *r = &im->w->record;
	_cleanup_free_ char *path = NULL;
	int e;

	if (parse_ledger(r, p, im->why, sizeof(im->why)))
		return -1;
	e = ledger_find_twin(im->ledgers, NULL, r->fingerprint, name, FILE_NAME_MAX);
	if (e == 0 || e == -ENOENT)
		e = free_name(im, name, file_of(p, LEDGERS, LEDGER));
	else if (e == 1)
		e = (path = path_join(im->ledgers, name)) ? ledger_look(path, &im->w->state) : -ENOMEM;
	/* Sealed: its marks are readable, and they are all that counts. */
	if (e && e != LEDGER_E_SEALED && e != LEDGER_E_OTHER_KEY)
		return text_explain(im->why, sizeof(im->why), -1, "cannot read the ledgers in %s: %s", im->ledgers,
				    strerror(e < 0 ? -e : EIO));
	if (!path)
		return 0;
	if (im->w->state.newest.role != r->role || im->w->state.newest.slots_total != r->slots_total)
		return text_explain(im->why, sizeof(im->why), -1,
				    "%s has the key material of %s in the other role: the two cannot be joined", path,
				    p->name);
	merge(r, &im->w->state);
	return 0;
}

static int stage_ledger(struct import *im, const struct bundle_piece *p, char name[static FILE_NAME_MAX])
{
	_cleanup_free_ char *path = NULL;
	char table_path[4096];
	struct bundle_piece table;
	int r;

	if (place_ledger(im, p, name) ||
	    check_table(&im->w->record, p, im->bundle.p, im->bundle.len, &table, im->why, sizeof(im->why)))
		return -1;
	path = path_join(im->stage_ledgers, name);
	r = path ? ledger_create(path, &im->w->record) : -ENOMEM;
	if (!r)
		r = keyfile_table_path(table_path, sizeof(table_path), path);
	if (!r)
		r = file_write_atomic(table_path, table.data, table.len, 0600);
	return r ? text_explain(im->why, sizeof(im->why), -1, "cannot write %s: %s", name, strerror(-r)) : 0;
}

static bool is_as_here(const char *path, const char *text, size_t len)
{
	_cleanup_free_ char *here = NULL;
	size_t n;

	return file_read(&here, &n, path, SPEC_MAX) == 0 && n == len && memcmp(here, text, len) == 0;
}

static int stage_spec(struct import *im, const struct bundle_piece *p, const char *file)
{
	_cleanup_free_ char *path = path_join(im->stage_tunnels, file), *here = path_join(im->tunnels, file);
	_cleanup_(spec_freep) struct spec *spec = NULL;
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	char ledger[FILE_NAME_MAX], piece[BUNDLE_NAME_MAX + 1];
	struct bundle_piece of;
	int r;

	if (!path || !here || json_parse(&j, (const char *)p->data, p->len, &limits))
		return text_explain(im->why, sizeof(im->why), -1, "no memory");
	if (parse_spec(&spec, p, file, im->why, sizeof(im->why)))
		return -1;
	snprintf(piece, sizeof(piece), LEDGERS "/%s", spec->ledger);
	if (spec->ledger[0] && !bundle_find(im->bundle.p, im->bundle.len, piece, &of)) {
		json_array_append_new(im->skipped, json_string(spec->name));
		return 0;
	}
	if (spec->ledger[0]) {
		if (stage_ledger(im, &of, ledger))
			return -1;
		json_object_set_new(j, "ledger", json_string(ledger));
		/* The mark is ahead only where no handshake tells what was used since. */
		if (im->w->record.rx_limit > 0 && !im->w->record.handshaken)
			json_array_append_new(im->needs_burn, json_string(spec->name));
	} else if (spec->f.peer) {
		/* Its ledger is yet to be made, and begins so, too: STORE_RESTORED. */
		json_array_append_new(im->needs_burn, json_string(spec->name));
	}
	text = json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS);
	if (!text)
		return text_explain(im->why, sizeof(im->why), -1, "no memory");
	if (access(here, F_OK) == 0 && !is_as_here(here, text, strlen(text))) {
		if (!service_option(im->svc, "replace"))
			return text_explain(im->why, sizeof(im->why), -1,
					    "there is a tunnel %s already: --replace puts the backup's in its place",
					    spec->name);
		im->replaced++;
	}
	r = file_write_atomic(path, text, strlen(text), 0600);
	if (r)
		return text_explain(im->why, sizeof(im->why), -1, "cannot write %s: %s", path, strerror(-r));
	json_array_append_new(im->names, json_string(spec->name));
	return 0;
}

/* Ledgers of tunnels that are gone remember that their key files are not new. */
static int stage_orphan(struct import *im, const struct bundle_piece *p)
{
	char name[FILE_NAME_MAX];

	/* One that a tunnel brought is there already, perhaps by another name. */
	if (parse_ledger(&im->w->record, p, im->why, sizeof(im->why)))
		return -1;
	if (ledger_find_twin(im->stage_ledgers, NULL, im->w->record.fingerprint, name, sizeof(name)) == 1)
		return 0;
	return stage_ledger(im, p, name);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* All of it, also what a stop in the middle of a write left. 0, also when it is not there, or a negative errno. */
static int remove_tree(const char *dir)
{
	int r = nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);

	if (r == -1 && errno == ENOENT)
		return 0;
	return r == -1 ? -errno : r;
}

/* ---- in: what is here already ---- */

/* Of a newer handfast: nothing could be joined with it, and pskd would not start over it. */
static int look_at_ledger(struct import *im, const char *name)
{
	_cleanup_free_ char *path = path_join(im->ledgers, name);
	const struct ledger_record *r = &im->w->state.newest;
	int e = path ? ledger_look(path, &im->w->state) : -ENOMEM;

	if (e < 0)
		return text_explain(im->why, sizeof(im->why), -1, "cannot read %s: %s", name, strerror(-e));
	if (e == LEDGER_E_NEWER)
		return text_explain(im->why, sizeof(im->why), -1,
				    "%s was written by a newer handfast (version %u, this one knows up to %d): install that "
				    "version again, or move %s away and restore once more; nothing was changed",
				    path, r->version, LEDGER_VERSION, service_state_dir(im->svc));
	if (e != LEDGER_E_SEALED && e != LEDGER_E_OTHER_KEY)
		return 0;
	if (r->kind != LEDGER_ROOT)
		return json_array_append_new(im->sealed, json_string(name));
	if (!service_option(im->svc, "replace"))
		return text_explain(im->why, sizeof(im->why), -1,
				    "%s is of a tunnel from a pairing: --replace gives up those, and they are paired again", path);
	return json_array_append_new(im->roots, json_string(name));
}

static int look_here(struct import *im)
{
	struct tunnel_store here = { .tunnels_dir = im->tunnels, .ledgers_dir = im->ledgers };
	_cleanup_(names_done) struct names l = { 0 };
	int r = names_read(&l, im->ledgers, LEDGER);

	if (r)
		return text_explain(im->why, sizeof(im->why), -1, "cannot read %s: %s", im->ledgers, strerror(-r));
	for (size_t i = 0; !r && i < l.n; i++)
		r = look_at_ledger(im, l.v[i]);
	if (!r && access(im->tunnels, F_OK) == 0)
		r = tunnel_store_check(&here, im->why, sizeof(im->why));
	return r ? -1 : 0;
}

static bool is_in(const json_t *list, const char *text)
{
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
		if (strcmp(json_string_value(one), text) == 0)
			return true;
	return false;
}

/* Is it the tunnel of a ledger that goes? */
static bool goes_too(const struct import *im, const char *file)
{
	_cleanup_free_ char *path = path_join(im->tunnels, file), *staged = path_join(im->stage_tunnels, file), *text = NULL;
	_cleanup_(spec_freep) struct spec *spec = NULL;
	_cleanup_json_ json_t *j = NULL;
	size_t len;

	/* The backup has one of this name. */
	if (!path || !staged || access(staged, F_OK) == 0)
		return false;
	if (file_read(&text, &len, path, SPEC_MAX) || json_parse(&j, text, len, &limits) || spec_from_json(&spec, "t", j))
		return false;
	return spec->origin == SPEC_PAIRED && is_in(im->roots, spec->ledger);
}

/*
 * The tunnels of pairings end with a restore: pairingd's are without keys then. When theirs are
 * sealed, they may not stay, for without the state key that they were sealed under pskd would not start.
 */
static int stage_removal(struct import *im)
{
	_cleanup_free_ char *path = path_join(im->stage, REMOVE), *lines = NULL;
	_cleanup_(names_done) struct names t = { 0 };
	size_t len = 0, i;
	FILE *f;
	const json_t *one;
	int r;

	if (json_array_size(im->roots) == 0)
		return 0;
	f = path ? open_memstream(&lines, &len) : NULL;
	if (!f)
		return text_explain(im->why, sizeof(im->why), -1, "no memory");
	r = names_read(&t, im->tunnels, JSON);
	for (i = 0; !r && i < t.n; i++)
		if (goes_too(im, t.v[i]))
			fprintf(f, TUNNELS "/%s\n", t.v[i]);
	json_array_foreach(im->roots, i, one)
		fprintf(f, LEDGERS "/%s\n", json_string_value(one));
	if (fclose(f) != 0 && !r)
		r = -ENOMEM;
	if (!r)
		r = file_write_atomic(path, lines, len, 0600);
	return r ? text_explain(im->why, sizeof(im->why), -1, "cannot write %s: %s", path, strerror(-r)) : 0;
}

/* Those that the backup does not bring anew: without their key pskd does not start, and they are needed. */
static void tell_sealed(struct import *im)
{
	size_t i = 0;

	while (i < json_array_size(im->sealed)) {
		const char *name = json_string_value(json_array_get(im->sealed, i));
		_cleanup_free_ char *staged = path_join(im->stage_ledgers, name);

		if (staged && access(staged, F_OK) == 0)
			json_array_remove(im->sealed, i);
		else
			i++;
	}
}

static int stage_mark(struct import *im)
{
	static const char text[] = "A backup was restored here. What was used after it was made is not known here, so a\n"
				   "tunnel to a prototype peer begins with \"handfast tunnel burn NAME --to-slot N\".\n";
	_cleanup_free_ char *path = path_join(im->stage, STORE_RESTORED);
	int r = path ? file_write_atomic(path, text, strlen(text), 0600) : -ENOMEM;

	return r ? text_explain(im->why, sizeof(im->why), -1, "cannot write %s: %s", STORE_RESTORED, strerror(-r)) : 0;
}

static int stage_all(struct import *im)
{
	struct bundle_piece p;
	struct bundle_reader reader;
	const char *file;
	int r = 0;

	bundle_open(&reader, im->bundle.p, im->bundle.len, NULL);
	while (!r && bundle_next(&reader, &p) == 1)
		if ((file = file_of(&p, TUNNELS, JSON)))
			r = stage_spec(im, &p, file);
	bundle_open(&reader, im->bundle.p, im->bundle.len, NULL);
	while (!r && bundle_next(&reader, &p) == 1)
		if (file_of(&p, LEDGERS, LEDGER))
			r = stage_orphan(im, &p);
	if (!r)
		r = stage_mark(im);
	if (!r)
		r = stage_removal(im);
	tell_sealed(im);
	return r;
}

/* ---- in: committing ---- */

static int move_all(const char *from, const char *to, const char *suffix)
{
	_cleanup_(names_done) struct names l = { 0 };
	int r = names_read(&l, from, suffix);

	for (size_t i = 0; !r && i < l.n; i++) {
		_cleanup_free_ char *a = path_join(from, l.v[i]), *b = path_join(to, l.v[i]);

		if (!a || !b)
			r = -ENOMEM;
		else if (rename(a, b) < 0)
			r = -errno;
	}
	return r;
}

static int sync_dir(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* What REMOVE lists, and then REMOVE: what comes later under the same name stays. */
static int remove_listed(const char *from, const char *state_dir)
{
	_cleanup_free_ char *list = path_join(from, REMOVE), *text = NULL;
	char *line, *rest;
	size_t len;
	int r = list ? file_read(&text, &len, list, SPEC_MAX * 16) : -ENOMEM;

	if (r)
		return r == -ENOENT ? 0 : r;
	for (line = strtok_r(text, "\n", &rest); !r && line; line = strtok_r(NULL, "\n", &rest)) {
		_cleanup_free_ char *path = path_join(state_dir, line);

		if (!path)
			r = -ENOMEM;
		else if (ends_with(line, LEDGER))
			r = keys_remove(path);
		else if (unlink(path) < 0 && errno != ENOENT)
			r = -errno;
	}
	if (!r && unlink(list) < 0)
		r = -errno;
	return r;
}

/* That this machine was restored is durable before anything of the backup is in use. */
static int move_mark(const char *from, const char *state_dir)
{
	_cleanup_free_ char *a = path_join(from, STORE_RESTORED), *b = path_join(state_dir, STORE_RESTORED);

	if (!a || !b)
		return -ENOMEM;
	if (rename(a, b) < 0 && errno != ENOENT)
		return -errno;
	return sync_dir(state_dir);
}

int portable_finish_import(const char *state_dir)
{
	_cleanup_free_ char *from = path_join(state_dir, COMMITTED), *stage = path_join(state_dir, STAGE);
	_cleanup_free_ char *tunnels = path_join(state_dir, TUNNELS), *ledgers = path_join(state_dir, LEDGERS);
	_cleanup_free_ char *from_tunnels = NULL, *from_ledgers = NULL;
	int r;

	if (!from || !stage || !tunnels || !ledgers)
		return -ENOMEM;
	/* What was never committed; an import looks again whether it is gone. */
	(void)remove_tree(stage);
	if (access(from, F_OK) != 0)
		return errno == ENOENT ? 0 : -errno;
	from_tunnels = path_join(from, TUNNELS);
	from_ledgers = path_join(from, LEDGERS);
	if (!from_tunnels || !from_ledgers)
		return -ENOMEM;
	r = file_mkdirs(tunnels, 0700);
	if (!r)
		r = file_mkdirs(ledgers, 0700);
	if (!r)
		r = move_mark(from, state_dir);
	if (!r)
		r = remove_listed(from, state_dir);
	/* Each before what refers to it. */
	if (!r)
		r = move_all(from_ledgers, ledgers, CHUNKS);
	if (!r)
		r = move_all(from_ledgers, ledgers, LEDGER);
	if (!r)
		r = sync_dir(ledgers);
	if (!r)
		r = move_all(from_tunnels, tunnels, JSON);
	if (!r)
		r = sync_dir(tunnels);
	if (r)
		return r;
	/* Everything has its place: what cannot be removed is in nobody's way but the next import's, which says so. */
	r = remove_tree(from);
	if (r)
		log_debug("%s cannot be removed: %s", from, strerror(-r));
	return 0;
}

static int prepare_paths(struct import *im)
{
	const char *dir = service_state_dir(im->svc);
	uint8_t *bytes;

	im->names = json_array();
	im->needs_burn = json_array();
	im->skipped = json_array();
	im->roots = json_array();
	im->sealed = json_array();
	im->tunnels = path_join(dir, TUNNELS);
	im->ledgers = path_join(dir, LEDGERS);
	im->stage = path_join(dir, STAGE);
	im->stage_tunnels = path_join(dir, STAGE "/" TUNNELS);
	im->stage_ledgers = path_join(dir, STAGE "/" LEDGERS);
	if (!im->names || !im->needs_burn || !im->skipped || !im->roots || !im->sealed || !im->tunnels || !im->ledgers ||
	    !im->stage || !im->stage_tunnels || !im->stage_ledgers ||
	    secret_new(&im->mem, sizeof(*im->w), &bytes))
		return text_explain(im->why, sizeof(im->why), -1, "no memory");
	im->w = (void *)bytes;
	return 0;
}

static int lock(struct import *im)
{
	const char *dir = service_state_dir(im->svc);

	im->lock_fd = state_lock(dir, true);
	im->running = im->lock_fd == -EWOULDBLOCK;
	if (im->running)
		return text_explain(im->why, sizeof(im->why), -1, "pskd is running on %s: stop it first", dir);
	if (im->lock_fd < 0)
		return text_explain(im->why, sizeof(im->why), -1, "%s: %s", dir, strerror(-im->lock_fd));
	return 0;
}

static int commit(struct import *im, const char *committed)
{
	int r = sync_dir(im->stage);

	if (!r && rename(im->stage, committed) < 0)
		r = -errno;
	if (r)
		return text_explain(im->why, sizeof(im->why), -1, "no tunnel was changed: %s", strerror(-r));
	r = file_sync_parent(committed);
	if (!r)
		r = portable_finish_import(service_state_dir(im->svc));
	return r ? text_explain(im->why, sizeof(im->why), -1,
				"the tunnels were taken, but not all of them have their place: %s; the next start of pskd, or "
				"restoring again with --replace, goes on with that", strerror(-r)) :
		   0;
}

/* Everything is written before anything counts; with --check it is taken away again. */
static int import_store(struct import *im)
{
	_cleanup_free_ char *committed = path_join(service_state_dir(im->svc), COMMITTED);
	int r;

	if (!committed)
		return text_explain(im->why, sizeof(im->why), -1, "no memory");
	r = portable_finish_import(service_state_dir(im->svc));
	if (!r)
		r = remove_tree(im->stage);
	if (!r)
		r = file_mkdirs(im->stage_tunnels, 0700);
	if (!r)
		r = file_mkdirs(im->stage_ledgers, 0700);
	if (r)
		return text_explain(im->why, sizeof(im->why), -1, "cannot make %s: %s", im->stage, strerror(-r));
	r = look_here(im);
	if (!r)
		r = stage_all(im);
	if (!r && !service_check_only(im->svc))
		r = commit(im, committed);
	(void)remove_tree(im->stage);
	return r;
}

static int import(struct import *im)
{
	if (import_read(&im->bundle, STDIN_FILENO, im->why, sizeof(im->why)) || prepare_paths(im) ||
	    portable_check(im->bundle.p, im->bundle.len, im->why, sizeof(im->why)))
		return -1;
	/* A folder that is not there yet is in nobody's way. */
	if (service_check_only(im->svc) && access(service_state_dir(im->svc), F_OK) != 0)
		return 0;
	return lock(im) ? -1 : import_store(im);
}

int portable_import(struct service *svc)
{
	_cleanup_(import_done) struct import im = { .svc = svc, .lock_fd = -1 };
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *text = NULL;

	if (import(&im)) {
		fprintf(stderr, "%s\n", im.why);
		return im.running ? IMPORT_RUNNING : 1;
	}
	j = json_pack("{s:O, s:O, s:O, s:O, s:I}", "tunnels", im.names, "needs_burn", im.needs_burn, "skipped", im.skipped,
		      "sealed", im.sealed, "replaced", (json_int_t)im.replaced);
	text = json_text(j);
	printf("%s\n", text ? text : "{}");
	return 0;
}
