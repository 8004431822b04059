/* Reading backups: nothing in the file is believed before the last of its bytes was found authentic. */
#include "ctl/backup/backup_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "proto/bundle.h"

#include "ctl/ctl.h"
#include "ctl/secret_line.h"

enum { CHUNK = 65536, UNREADABLE_MAX = 1 << 20 };

static const struct json_limits limits = { .max_bytes = 64 << 20, .max_depth = 6, .max_keys = 1000000 };

/* ---- passphrase ---- */

int backup_passphrase(const struct ctl *c, bool is_new, struct secret **out, struct failure *f)
{
	const struct secret_question q = {
		.name = "passphrase",
		.ask = is_new ? "Passphrase for the backup: " : "Passphrase of the backup: ",
		.option = "--passphrase-file FILE",
		.file = ctl_option(c, "passphrase-file"),
		.twice = is_new,
		.min = PASSPHRASE_MIN,
		.max = PASSPHRASE_MAX,
		.why = "Whoever has the file can try passphrases on it for ever: take several words.",
	};

	return secret_line_get(out, &q, f);
}

/* ---- the file ---- */

int backup_read(const char *path, struct pages *out, struct failure *f)
{
	_cleanup_close_ int opened = -1;
	int fd = STDIN_FILENO, r = 0;
	uint8_t *chunk;

	if (strcmp(path, "-") != 0) {
		opened = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		fd = opened;
		if (fd < 0)
			return failure_set(f, errno == EACCES ? EXIT_PERMISSION : EXIT_NO_SUCH,
					   errno == EACCES ? ERROR_FILE : ERROR_NO_SUCH_FILE, NULL,
					   "cannot read %s: %s", path, strerror(errno));
	}
	chunk = malloc(CHUNK);
	if (!chunk || pages_init(out, 1 << 20)) {
		free(chunk);
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	}
	while (!r) {
		ssize_t n = read(fd, chunk, CHUNK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			break;
		if (n < 0)
			r = -errno;
		else
			r = out->len + (size_t)n > BUNDLE_MAX + (BUNDLE_MAX >> 8) ? -EFBIG :
									    pages_add(out, chunk, (size_t)n);
	}
	free(chunk);
	if (!r)
		return EXIT_DONE;
	pages_done(out);
	return failure_set(f, EXIT_FAILED, ERROR_FILE, NULL, "cannot read %s: %s", path, strerror(-r));
}

static int refused(const char *path, int r, const struct archive_head *h, struct failure *f)
{
	switch (r) {
	case ARCHIVE_E_NONE:
		return failure_set(f, EXIT_VERIFICATION, ERROR_VERIFICATION, NULL, "%s is no backup of handfast", path);
	case ARCHIVE_E_NEWER:
		return failure_set(f, EXIT_FAILED, ERROR_NEWER,
				   "Install that version, and restore with it. Nothing was changed.",
				   "%s was written by a newer handfast (format %u, this one knows %d)", path,
				   h->version, ARCHIVE_VERSION);
	case ARCHIVE_E_COST:
		return failure_set(f, EXIT_VERIFICATION, ERROR_VERIFICATION,
				   "No handfast makes such a file. Nothing was changed.",
				   "%s asks for %u KiB of memory and %u passes to try one passphrase", path,
				   h->mem_kib, h->passes);
	case ARCHIVE_E_PASSPHRASE:
		return failure_set(f, EXIT_WRONG_SECRET, ERROR_BAD_SECRET, "Nothing was changed.",
				   "this is not the passphrase of %s", path);
	case ARCHIVE_E_BROKEN:
		return failure_set(f, EXIT_VERIFICATION, ERROR_VERIFICATION,
				   "Take another copy of it. Nothing was changed.",
				   "%s is damaged: it was cut short, or changed since it was written", path);
	default:
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL,
				   "Trying a passphrase takes as much memory as making the file did.",
				   "%s cannot be opened: %s", path, strerror(r < 0 ? -r : EIO));
	}
}

int backup_check_head(const char *path, const struct pages *sealed, struct failure *f)
{
	struct archive_head h;
	int r = archive_head_decode(&h, sealed->p, sealed->len);

	return r ? refused(path, r, &h, f) : EXIT_DONE;
}

/* Nothing of a daemon that this version does not know may be left out silently. */
static bool is_known(const char *name)
{
	static const char *const prefixes[] = { "config/", "pairingd/", "pskd/", "authd/" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return strcmp(name, "about.json") == 0;
}

static json_t *piece_json(const struct pages *b, const char *name)
{
	struct bundle_piece piece;
	json_t *j = NULL;

	if (!bundle_find(b->p, b->len, name, &piece) || json_parse(&j, (const char *)piece.data, piece.len, &limits))
		return NULL;
	return j;
}

static int check_inside(const char *path, const struct pages *b, struct failure *f)
{
	_cleanup_json_ json_t *about = NULL;
	struct bundle_piece piece;
	struct bundle_reader r;
	uint32_t version = 0;
	int e = bundle_check(b->p, b->len, &version);

	if (e == BUNDLE_E_NEWER)
		return refused(path, ARCHIVE_E_NEWER, &(struct archive_head){ .version = version }, f);
	if (e)
		return refused(path, ARCHIVE_E_BROKEN, NULL, f);
	about = piece_json(b, "about.json");
	if (!about)
		return refused(path, ARCHIVE_E_BROKEN, NULL, f);
	if (json_get_int(about, "version", 0) > BACKUP_VERSION)
		return refused(path, ARCHIVE_E_NEWER,
			       &(struct archive_head){ .version = (uint32_t)json_get_int(about, "version", 0) }, f);
	bundle_open(&r, b->p, b->len, NULL);
	while (bundle_next(&r, &piece) == 1)
		if (!is_known(piece.name))
			return failure_set(f, EXIT_FAILED, ERROR_NEWER, "Nothing was changed.",
					   "%s holds “%s”, which this handfast does not know", path, piece.name);
	return EXIT_DONE;
}

int backup_open(const char *path, const struct pages *sealed, const struct secret *passphrase,
		struct pages *out, struct failure *f)
{
	struct archive_head h;
	struct pages b;
	int r = archive_head_decode(&h, sealed->p, sealed->len);

	if (!r)
		r = archive_open(&b, sealed->p, sealed->len, passphrase);
	if (r)
		return refused(path, r, &h, f);
	r = check_inside(path, &b, f);
	if (r) {
		pages_done(&b);
		return r;
	}
	*out = b;
	return EXIT_DONE;
}

/* ---- showing ---- */

static void add_tunnel(json_t *list, const struct bundle_piece *piece)
{
	_cleanup_json_ json_t *j = NULL;
	const json_t *members;
	const char *origin, *key_file, *peer;
	char name[64];
	size_t len = strlen(piece->name), at = strlen("pskd/tunnels/");

	if (len < at + 6 || json_parse(&j, (const char *)piece->data, piece->len, &limits))
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(len - at - strlen(".json")), piece->name + at);
	members = json_object_get(j, "tunnel");
	origin = json_get_str(j, "origin");
	key_file = json_get_str(members, "key_file");
	if (!key_file)
		key_file = json_get_str(j, "key_file");
	peer = json_get_str(members, "peer");
	json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", name, "kind",
					      origin && strcmp(origin, "declared") == 0 ? "declared" : "made",
					      "key_file", key_file ? key_file : "", "peer", peer ? peer : ""));
}

static json_t *peer_names(const json_t *pairings)
{
	json_t *names = json_array();
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(pairings, "peers"), i, one) {
		const char *name = json_get_str(one, "name");

		if (name && text_is_name(name))
			json_array_append_new(names, json_string(name));
	}
	return names;
}

static json_t *own_id(const json_t *pairings)
{
	const char *hex = json_get_str(pairings, "public_key");
	char text[2 * IDENTITY_ID_LEN + 1] = "";
	uint8_t id[IDENTITY_ID_LEN];
	struct sign_public own;

	if (hex && hex_parse(own.b, sizeof(own.b), hex) == 0) {
		identity_id(id, &own);
		hex_format(text, id, sizeof(id));
	}
	return json_string(text);
}

static size_t count_users(const struct bundle_piece *piece)
{
	_cleanup_json_ json_t *j = NULL;

	return json_parse(&j, (const char *)piece->data, piece->len, &limits) ? 0 : json_array_size(json_object_get(j, "users"));
}

/* What authd gave out; null where it has no part. */
static json_t *logins(const struct pages *bundle)
{
	_cleanup_json_ json_t *server = piece_json(bundle, "authd/server.json");
	const char *origin = json_get_str(server, "origin");
	struct bundle_piece piece;
	struct bundle_reader r;
	size_t users = 0;

	if (!server)
		return json_null();
	if (bundle_open(&r, bundle->p, bundle->len, NULL) == 0)
		while (bundle_next(&r, &piece) == 1)
			if (strncmp(piece.name, "authd/users/", strlen("authd/users/")) == 0)
				users += count_users(&piece);
	return json_pack("{s:s, s:I}", "origin", origin ? origin : "", "users", (json_int_t)users);
}

json_t *backup_contents(const struct pages *bundle)
{
	_cleanup_json_ json_t *about = piece_json(bundle, "about.json");
	_cleanup_json_ json_t *pairings = piece_json(bundle, "pairingd/pairings.json");
	json_t *config = json_array(), *tunnels = json_array();
	const char *host = json_get_str(about, "host"), *version = json_get_str(about, "handfast");
	struct bundle_piece piece;
	struct bundle_reader r;

	if (bundle_open(&r, bundle->p, bundle->len, NULL) == 0)
		while (bundle_next(&r, &piece) == 1) {
			if (strncmp(piece.name, "config/", 7) == 0)
				json_array_append_new(config, json_string(piece.name + 7));
			else if (strncmp(piece.name, "pskd/tunnels/", 13) == 0)
				add_tunnel(tunnels, &piece);
		}
	return json_pack("{s:I, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "made_at",
			 (json_int_t)json_get_int(about, "made_at", 0), "host", host ? host : "", "version",
			 version ? version : "", "id", own_id(pairings), "config", config, "peers",
			 peer_names(pairings), "tunnels", tunnels, "logins", logins(bundle));
}

/* An array, which json_parse() takes only inside an object. */
static json_t *read_array(const struct bundle_piece *piece)
{
	_cleanup_free_ char *text = NULL;
	json_t *j = NULL;
	int n;

	if (piece->len > UNREADABLE_MAX)
		return NULL;
	n = asprintf(&text, "{\"list\":%.*s}", (int)piece->len, (const char *)piece->data);
	if (n < 0)
		text = NULL;
	return text && json_parse(&j, text, (size_t)n, &limits) == 0 ? j : NULL;
}

json_t *backup_unreadable(const struct pages *bundle)
{
	_cleanup_json_ json_t *told = NULL;
	json_t *list = json_array();
	struct bundle_piece piece;
	const json_t *one;
	size_t i;

	if (bundle_find(bundle->p, bundle->len, "pskd/unreadable.json", &piece))
		told = read_array(&piece);
	json_array_foreach(json_object_get(told, "list"), i, one) {
		const char *name = json_get_str(one, "name"), *why = json_get_str(one, "why");

		if (name && why && text_is_name(name))
			json_array_append_new(list, json_sprintf("tunnel %s: %s", name, clean_text(why)));
	}
	return list;
}

json_t *backup_left_out(const struct pages *bundle)
{
	_cleanup_json_ json_t *unreadable = backup_unreadable(bundle);
	static const char *const what[] = {
		"the keys of tunnels from pairings: after a restore each device is paired again",
		"key files: carry them as you did the first time",
		"TLS keys and certificates, and the credential handfast.state-key",
		"logs and counters",
	};
	struct bundle_piece piece;
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(what); i++)
		json_array_append_new(list, json_string(what[i]));
	if (bundle_find(bundle->p, bundle->len, "authd/server.json", &piece))
		json_array_append_new(list, json_string("sessions, invitations and notes: people log in again, and are invited again"));
	else
		json_array_append_new(list, json_string("logins: authd was never started here"));
	json_array_extend(list, unreadable);
	return list;
}
