/*
 * Import: every file is written into import.new/ and made durable there; its renaming to
 * import/ decides; then each file gets its place, and a start that finds import/
 * goes on with that. A ledger that is here already only moves forward.
 */
#include "pskd/portable/portable_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "pskd/keys/keyfile.h"
#include "pskd/keys/ledger.h"
#include "pskd/tunnel/spec.h"
#include "pskd/tunnel/store.h"
#include "service/export.h"
#include "service/service.h"

enum { WHY_MAX = 512, NAME_TRIES = 1000 };

/* ---- staging ---- */

struct import {
	struct service *svc;
	struct pages bundle;
	struct secret *mem;
	struct portable_work *w;
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
		tx = min_u64(tx + h->tx_limit, portable_end_of(r));
		rx = min_u64(rx + h->rx_limit, portable_end_of(r));
	}
	r->tx_next = r->tx_reserved = max_u64(r->tx_reserved, tx);
	if (h->rx_high != LEDGER_NONE && (r->rx_high == LEDGER_NONE || h->rx_high > r->rx_high))
		r->rx_high = h->rx_high;
	r->rx_mark = max_u64(r->rx_mark, rx);
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

	if (portable_parse_ledger(r, p, im->why, sizeof(im->why)))
		return -1;
	e = ledger_find_twin(im->ledgers, NULL, r->fingerprint, name, FILE_NAME_MAX);
	if (e == 0 || e == -ENOENT)
		e = free_name(im, name, portable_file_of(p, LEDGERS, LEDGER));
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
	    portable_check_table(&im->w->record, p, im->bundle.p, im->bundle.len, &table, im->why, sizeof(im->why)))
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

	return file_read(&here, &n, path, SPEC_STATE_MAX) == 0 && n == len && memcmp(here, text, len) == 0;
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

	if (!path || !here || json_parse(&j, (const char *)p->data, p->len, &spec_state_limits))
		return text_explain(im->why, sizeof(im->why), -1, "no memory");
	if (portable_parse_spec(&spec, p, file, im->why, sizeof(im->why)))
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
	if (portable_parse_ledger(&im->w->record, p, im->why, sizeof(im->why)))
		return -1;
	if (ledger_find_twin(im->stage_ledgers, NULL, im->w->record.fingerprint, name, sizeof(name)) == 1)
		return 0;
	return stage_ledger(im, p, name);
}

/* ---- what is here already ---- */

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
	_cleanup_(portable_names_done) struct portable_names l = { 0 };
	int r = portable_names_read(&l, im->ledgers, LEDGER);

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
	if (file_read(&text, &len, path, SPEC_STATE_MAX) || json_parse(&j, text, len, &spec_state_limits) || spec_from_json(&spec, "t", j))
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
	_cleanup_(portable_names_done) struct portable_names t = { 0 };
	size_t len = 0, i;
	FILE *f;
	const json_t *one;
	int r;

	if (json_array_size(im->roots) == 0)
		return 0;
	f = path ? open_memstream(&lines, &len) : NULL;
	if (!f)
		return text_explain(im->why, sizeof(im->why), -1, "no memory");
	r = portable_names_read(&t, im->tunnels, JSON);
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
		if ((file = portable_file_of(&p, TUNNELS, JSON)))
			r = stage_spec(im, &p, file);
	bundle_open(&reader, im->bundle.p, im->bundle.len, NULL);
	while (!r && bundle_next(&reader, &p) == 1)
		if (portable_file_of(&p, LEDGERS, LEDGER))
			r = stage_orphan(im, &p);
	if (!r)
		r = stage_mark(im);
	if (!r)
		r = stage_removal(im);
	tell_sealed(im);
	return r;
}

/* ---- committing ---- */

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
	int r = portable_sync_dir(im->stage);

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
		r = portable_remove_tree(im->stage);
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
	(void)portable_remove_tree(im->stage);
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
