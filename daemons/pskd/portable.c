/*
 * Import: every file is written into import.new/ and made durable there; its renaming to
 * import/ decides; then each file gets its place, and a start that finds import/
 * goes on with that. A ledger that is here already only moves forward.
 */
#include "pskd/portable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "crypto/keyfile_io.h"
#include "crypto/secret.h"
#include "pskd/keyfile.h"
#include "pskd/ledger.h"
#include "pskd/spec.h"
#include "service/export.h"
#include "service/service.h"

#define TUNNELS "tunnels"
#define LEDGERS "ledgers"
#define STAGE "import.new"
#define COMMITTED "import"
#define JSON ".json"
#define LEDGER ".ledger"
#define CHUNKS ".ledger.chunks"

enum { WHY_MAX = 512, SPEC_MAX = 65536, FILE_NAME_MAX = 80, NAME_TRIES = 1000 };

static const struct json_limits limits = { .max_bytes = SPEC_MAX, .max_depth = 6, .max_keys = 200 };

static int complain(char *why, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int complain(char *why, size_t cap, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, cap, fmt, ap);
	va_end(ap);
	return -1;
}

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

static int export_ledger(struct export *e, const char *dir, const char *name, struct work *w)
{
	_cleanup_free_ char *path = path_join(dir, name), *table = NULL;
	char piece[BUNDLE_NAME_MAX + 1], table_path[4096];
	size_t len;
	int r;

	if (!path)
		return -ENOMEM;
	/* Of a pairing, or not to be read: neither is missed. */
	if (ledger_look(path, &w->state) || w->state.newest.kind != LEDGER_FILE)
		return 0;
	r = keyfile_table_path(table_path, sizeof(table_path), path);
	if (!r)
		r = file_read(&table, &len, table_path, (size_t)keyfile_chunks(KEYFILE_SIZE_MAX) * KEYFILE_HASH_LEN);
	if (r)
		return r;
	settle(&w->record, &w->state);
	ledger_encode_plain(w->block, &w->record);
	snprintf(piece, sizeof(piece), LEDGERS "/%.*s", FILE_NAME_MAX, name);
	export_add(e, piece, w->block, sizeof(w->block));
	snprintf(piece, sizeof(piece), LEDGERS "/%.*s.chunks", FILE_NAME_MAX, name);
	export_add(e, piece, table, len);
	return 0;
}

static int export_spec(struct export *e, const char *dir, const char *file)
{
	_cleanup_free_ char *path = path_join(dir, file), *text = NULL;
	_cleanup_(spec_freep) struct spec *spec = NULL;
	_cleanup_json_ json_t *j = NULL;
	char piece[BUNDLE_NAME_MAX + 1], name[SPEC_NAME_MAX + sizeof(JSON)];
	size_t len;

	if (!path || strlen(file) >= sizeof(name))
		return path ? 0 : -ENOMEM;
	snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(JSON)), file);
	/* What this daemon itself cannot read is no tunnel of its, and is left. */
	if (!text_is_name(name) || file_read(&text, &len, path, SPEC_MAX) || json_parse(&j, text, len, &limits) ||
	    spec_from_json(&spec, name, j) || spec->origin == SPEC_PAIRED)
		return 0;
	snprintf(piece, sizeof(piece), TUNNELS "/%s", file);
	export_add(e, piece, text, len);
	return 0;
}

int portable_export(struct export *e, const char *state_dir)
{
	_cleanup_free_ char *ledgers = path_join(state_dir, LEDGERS), *tunnels = path_join(state_dir, TUNNELS);
	_cleanup_(names_done) struct names l = { 0 }, t = { 0 };
	_cleanup_(secret_freep) struct secret *mem = NULL;
	uint8_t *bytes;
	int r = ledgers && tunnels ? secret_new(&mem, sizeof(struct work), &bytes) : -ENOMEM;

	if (!r)
		r = names_read(&l, ledgers, LEDGER);
	for (size_t i = 0; !r && i < l.n; i++)
		r = export_ledger(e, ledgers, l.v[i], (void *)bytes);
	if (!r)
		r = names_read(&t, tunnels, JSON);
	for (size_t i = 0; !r && i < t.n; i++)
		r = export_spec(e, tunnels, t.v[i]);
	return r;
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
		return complain(why, cap, "tunnel %s of the backup is damaged", file);
	if (json_get_int(j, "version", 0) > SPEC_VERSION)
		return complain(why, cap,
				"tunnel %s was written by a newer handfast (version %lld, this one knows up to %d): "
				"install that version first",
				name, (long long)json_get_int(j, "version", 0), SPEC_VERSION);
	if (spec_from_json(out, name, j) || (*out)->origin == SPEC_PAIRED)
		return complain(why, cap, "tunnel %s of the backup is damaged", name);
	return 0;
}

static int parse_ledger(struct ledger_record *r, const struct bundle_piece *p, char *why, size_t cap)
{
	int e = p->len == LEDGER_BLOCK_LEN ? ledger_decode(r, p->data) : LEDGER_E_BROKEN;

	if (e == LEDGER_E_NEWER)
		return complain(why, cap,
				"%s was written by a newer handfast (version %u, this one knows up to %d): install "
				"that version first",
				p->name, r->version, LEDGER_VERSION);
	if (e || r->kind != LEDGER_FILE || r->sealed || !r->restored)
		return complain(why, cap, "%s of the backup is damaged", p->name);
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
		return complain(why, cap, "%s of the backup has no table", p->name);
	sha256(sum, table->data, table->len);
	if (memcmp(sum, r->table_sum, sizeof(sum)) != 0)
		return complain(why, cap, "%s of the backup has the table of another", p->name);
	return 0;
}

static int check_piece(const struct bundle_piece *p, const void *bundle, size_t len, struct ledger_record *r,
		       char *why, size_t cap)
{
	_cleanup_(spec_freep) struct spec *spec = NULL;
	char piece[BUNDLE_NAME_MAX + 1];
	struct bundle_piece other;
	const char *file;

	if (file_of(p, LEDGERS, LEDGER))
		return parse_ledger(r, p, why, cap) ? -1 : check_table(r, p, bundle, len, &other, why, cap);
	if (file_of(p, LEDGERS, CHUNKS))
		return 0;
	file = file_of(p, TUNNELS, JSON);
	if (!file)
		return complain(why, cap, "the backup holds %s, which this pskd does not know", p->name);
	if (parse_spec(&spec, p, file, why, cap))
		return -1;
	snprintf(piece, sizeof(piece), LEDGERS "/%s", spec->ledger);
	if (spec->ledger[0] && !bundle_find(bundle, len, piece, &other))
		return complain(why, cap, "the ledger of tunnel %s is not in the backup", spec->name);
	return 0;
}

int portable_check(const void *bundle, size_t len, char *why, size_t cap)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct bundle_piece p;
	struct bundle_reader reader;
	uint8_t *bytes;
	int r = 0;

	if (secret_new(&mem, sizeof(struct ledger_record), &bytes) || bundle_open(&reader, bundle, len, NULL))
		return complain(why, cap, "no memory");
	while (!r && bundle_next(&reader, &p) == 1)
		r = check_piece(&p, bundle, len, (void *)bytes, why, cap);
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
		return complain(im->why, sizeof(im->why), "cannot read the ledgers in %s: %s", im->ledgers,
				strerror(e < 0 ? -e : EIO));
	if (!path)
		return 0;
	if (im->w->state.newest.role != r->role || im->w->state.newest.slots_total != r->slots_total)
		return complain(im->why, sizeof(im->why),
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
	return r ? complain(im->why, sizeof(im->why), "cannot write %s: %s", name, strerror(-r)) : 0;
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
		return complain(im->why, sizeof(im->why), "no memory");
	if (parse_spec(&spec, p, file, im->why, sizeof(im->why)))
		return -1;
	if (spec->ledger[0]) {
		snprintf(piece, sizeof(piece), LEDGERS "/%s", spec->ledger);
		if (!bundle_find(im->bundle.p, im->bundle.len, piece, &of) || stage_ledger(im, &of, ledger))
			return im->why[0] ? -1 : complain(im->why, sizeof(im->why), "%s is missing", piece);
		json_object_set_new(j, "ledger", json_string(ledger));
		/* The mark is ahead only where no handshake tells what was used since. */
		if (im->w->record.rx_limit > 0 && !im->w->record.handshaken)
			json_array_append_new(im->needs_burn, json_string(spec->name));
	}
	text = json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS);
	if (!text)
		return complain(im->why, sizeof(im->why), "no memory");
	if (access(here, F_OK) == 0 && !is_as_here(here, text, strlen(text))) {
		if (!service_option(im->svc, "replace"))
			return complain(im->why, sizeof(im->why),
					"there is a tunnel %s already: --replace puts the backup's in its place",
					spec->name);
		im->replaced++;
	}
	r = file_write_atomic(path, text, strlen(text), 0600);
	if (r)
		return complain(im->why, sizeof(im->why), "cannot write %s: %s", path, strerror(-r));
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

static int remove_tree(const char *dir)
{
	static const char *const folders[] = { TUNNELS, LEDGERS };

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		_cleanup_free_ char *sub = path_join(dir, folders[i]);
		_cleanup_(names_done) struct names l = { 0 };

		if (!sub || names_read(&l, sub, ""))
			continue;
		for (size_t k = 0; k < l.n; k++) {
			_cleanup_free_ char *path = path_join(sub, l.v[k]);

			if (path)
				unlink(path);
		}
		rmdir(sub);
	}
	return rmdir(dir) < 0 && errno != ENOENT ? -errno : 0;
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

int portable_finish_import(const char *state_dir)
{
	_cleanup_free_ char *from = path_join(state_dir, COMMITTED), *stage = path_join(state_dir, STAGE);
	_cleanup_free_ char *tunnels = path_join(state_dir, TUNNELS), *ledgers = path_join(state_dir, LEDGERS);
	_cleanup_free_ char *from_tunnels = NULL, *from_ledgers = NULL;
	int r;

	if (!from || !stage || !tunnels || !ledgers)
		return -ENOMEM;
	/* What was never committed. */
	remove_tree(stage);
	if (access(from, F_OK) != 0)
		return errno == ENOENT ? 0 : -errno;
	from_tunnels = path_join(from, TUNNELS);
	from_ledgers = path_join(from, LEDGERS);
	if (!from_tunnels || !from_ledgers)
		return -ENOMEM;
	r = file_mkdirs(tunnels, 0700);
	if (!r)
		r = file_mkdirs(ledgers, 0700);
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
	return r ? r : remove_tree(from);
}

static int prepare_paths(struct import *im)
{
	const char *dir = service_state_dir(im->svc);
	uint8_t *bytes;

	im->names = json_array();
	im->needs_burn = json_array();
	im->tunnels = path_join(dir, TUNNELS);
	im->ledgers = path_join(dir, LEDGERS);
	im->stage = path_join(dir, STAGE);
	im->stage_tunnels = path_join(dir, STAGE "/" TUNNELS);
	im->stage_ledgers = path_join(dir, STAGE "/" LEDGERS);
	if (!im->names || !im->needs_burn || !im->tunnels || !im->ledgers || !im->stage || !im->stage_tunnels || !im->stage_ledgers ||
	    secret_new(&im->mem, sizeof(*im->w), &bytes))
		return complain(im->why, sizeof(im->why), "no memory");
	im->w = (void *)bytes;
	return 0;
}

static int lock(struct import *im)
{
	const char *dir = service_state_dir(im->svc);

	im->lock_fd = state_lock(dir, true);
	im->running = im->lock_fd == -EWOULDBLOCK;
	if (im->running)
		return complain(im->why, sizeof(im->why), "pskd is running on %s: stop it first", dir);
	if (im->lock_fd < 0)
		return complain(im->why, sizeof(im->why), "%s: %s", dir, strerror(-im->lock_fd));
	return 0;
}

/* Everything is written before anything counts; with --check it is taken away again. */
static int import_store(struct import *im)
{
	_cleanup_free_ char *committed = path_join(service_state_dir(im->svc), COMMITTED);
	int r;

	if (!committed)
		return complain(im->why, sizeof(im->why), "no memory");
	r = portable_finish_import(service_state_dir(im->svc));
	if (!r)
		r = file_mkdirs(im->stage_tunnels, 0700);
	if (!r)
		r = file_mkdirs(im->stage_ledgers, 0700);
	if (r)
		return complain(im->why, sizeof(im->why), "cannot make %s: %s", im->stage, strerror(-r));
	r = stage_all(im);
	if (!r && !service_check_only(im->svc)) {
		if (sync_dir(im->stage) < 0 || rename(im->stage, committed) < 0 || file_sync_parent(committed) < 0)
			r = complain(im->why, sizeof(im->why), "nothing was changed: %s", strerror(errno));
		else
			(void)portable_finish_import(service_state_dir(im->svc));
	}
	remove_tree(im->stage);
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
	j = json_pack("{s:O, s:O, s:I}", "tunnels", im.names, "needs_burn", im.needs_burn, "replaced", (json_int_t)im.replaced);
	text = json_text(j);
	printf("%s\n", text ? text : "{}");
	return 0;
}
