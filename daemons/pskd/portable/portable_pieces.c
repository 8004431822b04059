/*
 * What export and import have in common: folders' files, and the pieces of a backup checked.
 */
#include "pskd/portable/portable_internal.h"

#include <dirent.h>
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

void portable_names_done(struct portable_names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int portable_names_read(struct portable_names *l, const char *dir, const char *suffix)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	int r = 0;

	*l = (struct portable_names){ 0 };
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!r && (e = readdir(d))) {
		char **more;

		if (e->d_name[0] == '.' || !portable_ends_with(e->d_name, suffix))
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

/* The file name of a piece in one of the two folders; NULL when it is neither. */
const char *portable_file_of(const struct bundle_piece *p, const char *folder, const char *suffix)
{
	size_t n = strlen(folder);
	const char *name = p->name + n + 1;

	if (strncmp(p->name, folder, n) != 0 || p->name[n] != '/' || strchr(name, '/') || !portable_ends_with(name, suffix) ||
	    strlen(name) >= FILE_NAME_MAX)
		return NULL;
	return name;
}

int portable_parse_spec(struct spec **out, const struct bundle_piece *p, const char *file, char *why, size_t cap)
{
	_cleanup_json_ json_t *j = NULL;
	char name[FILE_NAME_MAX];

	snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(JSON)), file);
	if (!text_is_name(name) || json_parse(&j, (const char *)p->data, p->len, &spec_state_limits))
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

int portable_parse_ledger(struct ledger_record *r, const struct bundle_piece *p, char *why, size_t cap)
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
int portable_check_table(const struct ledger_record *r, const struct bundle_piece *p, const void *bundle, size_t len,
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

	if (portable_file_of(p, LEDGERS, LEDGER))
		return portable_parse_ledger(r, p, why, cap) ? -1 : portable_check_table(r, p, bundle, len, &other, why, cap);
	if (portable_file_of(p, LEDGERS, CHUNKS) || strcmp(p->name, UNREADABLE) == 0)
		return 0;
	file = portable_file_of(p, TUNNELS, JSON);
	if (!file)
		return text_explain(why, cap, -1, "the backup holds %s, which this pskd does not know", p->name);
	if (portable_parse_spec(&spec, p, file, why, cap))
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
