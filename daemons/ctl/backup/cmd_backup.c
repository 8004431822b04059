/*
 * handfast backup: the configuration and the daemons' portable state in one
 * sealed file. What goes in is decided by the daemons; see portable.h of each.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/draft.h"
#include "base/file.h"
#include "base/json.h"
#include "crypto/archive.h"
#include "crypto/secret.h"
#include "event/unixsock.h"
#include "proto/bundle.h"

#include "ctl/backup/backup_file.h"
#include "ctl/backup/import.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"

enum { CONFIG_FILE_MAX = 1 << 20, EXPORT_ANSWER_MAX = 512 };

/* ---- a bundle being made ---- */

struct item {
	char *name;
	uint8_t *data; /* inside a daemon's bundle, or owned */
	size_t len;
	bool owned;
};

struct collection {
	struct item *items;
	size_t n, cap;
	struct pages exports[IMPORT_PARTS];
	size_t n_exports;
};

static void collection_done(struct collection *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->items[i].name);
		if (l->items[i].owned)
			free(l->items[i].data);
	}
	free(l->items);
	for (size_t i = 0; i < l->n_exports; i++)
		pages_done(&l->exports[i]);
}

/* data becomes the collection's when owned. 0 or -ENOMEM. */
static int collect(struct collection *l, const char *prefix, const char *name, const void *data, size_t len,
		   bool owned)
{
	struct item it = { .data = (uint8_t *)(uintptr_t)data, .len = len, .owned = owned };

	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct item *more = reallocarray(l->items, cap, sizeof(*more));

		if (!more)
			goto no_memory;
		l->items = more;
		l->cap = cap;
	}
	if (asprintf(&it.name, "%s%s", prefix, name) < 0)
		goto no_memory;
	l->items[l->n++] = it;
	return 0;
no_memory:
	if (owned)
		free(it.data);
	return -ENOMEM;
}

static int compare_items(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static int bundle_up(struct pages *out, struct collection *l)
{
	static const uint8_t end[BUNDLE_END_LEN];
	uint8_t prefix[BUNDLE_PREFIX_MAX];
	int r = pages_init(out, 1 << 16);

	if (r)
		return r;
	if (l->n > 1)
		qsort(l->items, l->n, sizeof(*l->items), compare_items);
	bundle_head(prefix);
	r = pages_add(out, prefix, BUNDLE_HEAD_LEN);
	for (size_t i = 0; !r && i < l->n; i++) {
		const struct item *it = &l->items[i];

		r = pages_add(out, prefix, bundle_prefix(prefix, it->name, it->len));
		if (!r)
			r = pages_add(out, it->data, it->len);
	}
	if (!r)
		r = pages_add(out, end, sizeof(end));
	if (r)
		pages_done(out);
	return r;
}

/* ---- configuration ---- */

static bool is_yaml(const char *name)
{
	size_t len = strlen(name);

	return len > 5 && strcmp(name + len - 5, ".yaml") == 0 && bundle_name_is_good(name, len);
}

/* Every *.yaml of a folder; one that is not there has none. */
static int collect_config(struct collection *l, const char *dir, const char *prefix, struct failure *f)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	int r = EXIT_DONE;

	if (!d && errno == ENOENT)
		return EXIT_DONE;
	if (!d)
		return failure_set(f, errno == EACCES ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE, NULL,
				   "cannot read %s: %s", dir, strerror(errno));
	while (!r && (e = readdir(d))) {
		_cleanup_free_ char *path = path_join(dir, e->d_name);
		char *text = NULL;
		size_t len = 0;
		int k;

		if (!is_yaml(e->d_name))
			continue;
		k = path ? file_read(&text, &len, path, CONFIG_FILE_MAX) : -ENOMEM;
		if (!k)
			k = collect(l, prefix, e->d_name, text, len, true);
		if (k)
			r = failure_set(f, k == -EACCES ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE, NULL,
					"cannot read %s/%s: %s", dir, e->d_name, strerror(-k));
	}
	closedir(d);
	return r;
}

/* ---- daemons ---- */

static int connect_export(const struct ctl *c, const char *daemon)
{
	char name[64], path[4096];

	snprintf(name, sizeof(name), "%s.export", daemon);
	runtime_path(c, path, sizeof(path), name);
	return unix_connect(path, SOCK_SEQPACKET, false);
}

static int no_export(const char *daemon, int r, struct failure *f)
{
	if (r == -EACCES || r == -EPERM || r == -ECONNRESET || r == 0)
		return failure_set(f, EXIT_PERMISSION, ERROR_NO_PERMISSION, "Say it as root: “sudo handfast backup …”.",
				   "only root may take a backup of %s", daemon);
	if (r == -ETIMEDOUT)
		return failure_set(f, EXIT_TIMED_OUT, ERROR_TIMED_OUT, NULL, "%s does not answer", daemon);
	return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL, "%s does not give out its state: %s", daemon,
			   strerror(-r));
}

/* Logins are not served everywhere. Where authd never was, it is not started for a backup. */
static bool has_logins(const struct ctl *c)
{
	char path[4096];

	if (strcmp(c->runtime_dir, RUNTIME_DIR) == 0)
		return access(STATE_DIR "/authd/authd.db", F_OK) == 0;
	runtime_path(c, path, sizeof(path), AUTHD ".export");
	return access(path, F_OK) == 0;
}

/* The daemon must run: what it knows and has not written yet is not on the disk. */
static int open_export(const struct ctl *c, const char *daemon, int *fd, struct failure *f)
{
	json_t *reply = NULL;
	int r;

	*fd = connect_export(c, daemon);
	if (*fd >= 0)
		return EXIT_DONE;
	if (*fd == -ETIMEDOUT)
		return no_export(daemon, *fd, f);
	/* Its control socket starts it where systemd holds that. */
	r = daemon_try(c, daemon, "Daemon.Status", NULL, NULL, NULL, &reply, f);
	json_decref(reply);
	if (r)
		return r;
	*fd = connect_export(c, daemon);
	return *fd < 0 ? no_export(daemon, *fd, f) : EXIT_DONE;
}

static int receive(int fd, const char *daemon, struct pages *out, struct failure *f)
{
	_cleanup_close_ int memfd = -1;
	char answer[EXPORT_ANSWER_MAX + 1] = "";
	ssize_t n = unix_recv(fd, answer, EXPORT_ANSWER_MAX, &memfd);
	struct stat st;
	int r = 0;

	if (n <= 0)
		return no_export(daemon, (int)n, f);
	if (answer[0] != 0 || memfd < 0)
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL, "%s does not give out its state: %s",
				   daemon, answer + 1);
	if (fstat(memfd, &st) < 0 || st.st_size < 0 || (uint64_t)st.st_size > BUNDLE_MAX)
		return no_export(daemon, -EBADMSG, f);
	r = pages_init(out, (size_t)st.st_size);
	if (r)
		return no_export(daemon, r, f);
	r = file_pread_all(memfd, out->p, (size_t)st.st_size, 0);
	out->len = (size_t)st.st_size;
	if (!r && bundle_check(out->p, out->len, NULL) == 0)
		return EXIT_DONE;
	pages_done(out);
	return no_export(daemon, r ? r : -EBADMSG, f);
}

/* Ask the daemon's importer whether it would take this on an empty machine: a backup is for that. */
static int check_export(const struct ctl *c, const struct import_part *part, const struct pages *b, struct failure *f)
{
	_cleanup_close_ int fd = memfd_create("handfast-export", MFD_CLOEXEC);
	_cleanup_free_ char *nowhere = path_join(c->runtime_dir, "no-state");
	struct import_run run = { part, nowhere, fd, -1, true, false };
	json_t *answer = NULL;
	char why[1024];
	int r = fd < 0 ? -errno : nowhere ? file_pwrite_all(fd, b->p, b->len, 0) : -ENOMEM;

	if (r)
		snprintf(why, sizeof(why), "%s", strerror(-r));
	else
		r = import_run(c, &run, &answer, why, sizeof(why));
	json_decref(answer);
	return r ? failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, "No backup was made.",
			       "what %s gave out could not be restored: %s", part->daemon, why) :
		   EXIT_DONE;
}

static int collect_daemon(struct collection *l, const struct ctl *c, const struct import_part *part, struct failure *f)
{
	const char *daemon = part->daemon;
	struct pages *b = &l->exports[l->n_exports];
	_cleanup_close_ int fd = -1;
	struct bundle_piece piece;
	struct bundle_reader reader;
	char prefix[32];
	int r = open_export(c, daemon, &fd, f);

	if (!r)
		r = receive(fd, daemon, b, f);
	if (r)
		return r;
	l->n_exports++;
	r = check_export(c, part, b, f);
	if (r)
		return r;
	snprintf(prefix, sizeof(prefix), "%s/", daemon);
	bundle_open(&reader, b->p, b->len, NULL);
	while (bundle_next(&reader, &piece) == 1)
		if (strlen(prefix) + strlen(piece.name) > BUNDLE_NAME_MAX ||
		    collect(l, prefix, piece.name, piece.data, piece.len, false))
			return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	return EXIT_DONE;
}

static int collect_about(struct collection *l, struct failure *f)
{
	_cleanup_json_ json_t *about = NULL;
	char host[256] = "", *text;

	(void)gethostname(host, sizeof(host) - 1);
	about = json_pack("{s:i, s:s, s:s, s:I}", "version", BACKUP_VERSION, "handfast", HANDFAST_VERSION, "host",
			  clean_text(host), "made_at", (json_int_t)clock_wall_s());
	text = about ? json_dumps(about, JSON_SORT_KEYS) : NULL;
	if (!text || collect(l, "", "about.json", text, strlen(text), true))
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	return EXIT_DONE;
}

static int collect_all(struct collection *l, const struct ctl *c, struct failure *f)
{
	const char *dir = ctl_option(c, "config-dir");
	_cleanup_free_ char *tunnels = NULL;
	int r;

	dir = dir ? dir : "/etc/handfast";
	tunnels = path_join(dir, "tunnels");
	r = collect_about(l, f);
	if (!r)
		r = collect_config(l, dir, "config/", f);
	if (!r && tunnels)
		r = collect_config(l, tunnels, "config/tunnels/", f);
	for (size_t i = 0; !r && i < IMPORT_PARTS; i++)
		if (strcmp(import_parts[i].daemon, AUTHD) != 0 || has_logins(c))
			r = collect_daemon(l, c, &import_parts[i], f);
	return r;
}

/* ---- showing ---- */

static void list_of(const struct ctl *c, const char *label, const json_t *list, const char *key)
{
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
		fact(stdout, &c->style, i ? "" : label, "%s",
		     key ? clean_member(one, key) : clean_text(json_string_value(one)));
}

void backup_contents_text(const struct ctl *c, const json_t *result)
{
	time_t at = (time_t)json_get_int(result, "made_at", 0);
	const json_t *logins = json_object_get(result, "logins");
	char date[64] = "-";
	struct tm tm;

	if (at > 0 && localtime_r(&at, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &tm);
	fact(stdout, &c->style, "made", "%s on %s, by handfast %s", date, clean_member(result, "host"),
	     clean_member(result, "version"));
	fact(stdout, &c->style, "identity", "%s", clean_member(result, "id"));
	list_of(c, "peers", json_object_get(result, "peers"), NULL);
	list_of(c, "tunnels", json_object_get(result, "tunnels"), "name");
	list_of(c, "files", json_object_get(result, "config"), NULL);
	if (json_is_object(logins))
		fact(stdout, &c->style, "logins", "%lld users of %s", (long long)json_get_int(logins, "users", 0),
		     clean_member(logins, "origin"));
}

static void left_out_text(const struct ctl *c, const json_t *result)
{
	printf("Not inside:\n");
	list_of(c, "", json_object_get(result, "left_out"), NULL);
}

static void list_text(const struct ctl *c, const json_t *result)
{
	backup_contents_text(c, result);
	left_out_text(c, result);
}

static void made_text(const struct ctl *c, const json_t *result)
{
	printf("%s holds, sealed under the passphrase:\n", clean_text(ctl_argument(c, 0)));
	backup_contents_text(c, result);
	left_out_text(c, result);
	printf("With it and the passphrase anybody is this device: keep them apart, and not only here.\n");
}

/* ---- doing ---- */

static int list_file(struct ctl *c)
{
	_cleanup_(pages_done) struct pages sealed = { 0 }, bundle = { 0 };
	_cleanup_(secret_freep) struct secret *passphrase = NULL;
	const char *path = ctl_argument(c, 0);
	struct failure f = { 0 };
	json_t *contents;
	int r;

	r = backup_read(path, &sealed, &f);
	if (!r)
		r = backup_check_head(path, &sealed, &f);
	if (!r)
		r = backup_passphrase(c, false, &passphrase, &f);
	if (!r)
		r = backup_open(path, &sealed, passphrase, &bundle, &f);
	if (r)
		return ctl_fail_with(c, &f);
	contents = backup_contents(&bundle);
	json_object_set_new(contents, "file", json_string(clean_text(path)));
	json_object_set_new(contents, "left_out", backup_left_out(&bundle));
	return ctl_result(c, contents, list_text);
}

static int write_stdout(const struct pages *sealed)
{
	size_t done = 0;

	while (done < sealed->len) {
		ssize_t n = write(STDOUT_FILENO, sealed->p + done, sealed->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static int write_new(const char *path, const struct pages *sealed)
{
	_cleanup_(draft_done) struct draft d = DRAFT_NONE;
	int r = draft_open(&d, path, 0600);

	if (!r)
		r = file_pwrite_all(d.fd, sealed->p, sealed->len, 0);
	if (!r && fsync(d.fd) < 0)
		r = -errno;
	if (!r)
		r = draft_publish(&d, path);
	return r ? r : file_sync_parent(path);
}

static int exists_already(const char *path, struct failure *f)
{
	return failure_set(f, EXIT_FAILED, ERROR_FILE_EXISTS, "Choose another name, or say --force.",
			   "%s is there already", path);
}

/* To replace is to rename over it, which as root would take /dev/null from everybody. */
static int check_replaceable(const char *path, struct failure *f)
{
	struct stat st;

	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return failure_set(f, EXIT_FAILED, ERROR_FILE, "Choose another name; “-” is standard output.",
				   "%s is no regular file: it is not replaced", path);
	return EXIT_DONE;
}

static int write_file(const struct ctl *c, const char *path, const struct pages *sealed, struct failure *f)
{
	int r = ctl_flag(c, "force") ? check_replaceable(path, f) : EXIT_DONE;

	if (r)
		return r;
	if (strcmp(path, "-") == 0)
		r = write_stdout(sealed);
	else if (ctl_flag(c, "force"))
		r = file_write_atomic(path, sealed->p, sealed->len, 0600);
	else
		r = write_new(path, sealed);
	if (r == -EEXIST)
		return exists_already(path, f);
	if (r)
		return failure_set(f, r == -EACCES ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE, NULL,
				   "cannot write %s: %s", path, strerror(-r));
	return EXIT_DONE;
}

/* What can be told before anything is asked. */
static int check_target(const struct ctl *c, const char *path, struct failure *f)
{
	struct stat st;

	if (strcmp(path, "-") == 0) {
		if (c->json)
			return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL,
					   "the backup and the JSON answer cannot both go to standard output");
		if (isatty(STDOUT_FILENO))
			return failure_set(f, EXIT_USAGE, ERROR_USAGE, "Redirect it, or name a file.",
					   "standard output is a terminal");
		return EXIT_DONE;
	}
	if (ctl_flag(c, "force"))
		return check_replaceable(path, f);
	return lstat(path, &st) == 0 ? exists_already(path, f) : EXIT_DONE;
}

static int make(struct ctl *c, struct pages *bundle, struct failure *f)
{
	_cleanup_(collection_done) struct collection l = { 0 };
	_cleanup_(secret_freep) struct secret *passphrase = NULL;
	_cleanup_(pages_done) struct pages sealed = { 0 };
	const char *path = ctl_argument(c, 0);
	int r, k;

	r = check_target(c, path, f);
	if (!r)
		r = collect_all(&l, c, f);
	if (!r)
		r = backup_passphrase(c, true, &passphrase, f);
	if (r)
		return r;
	k = bundle_up(bundle, &l);
	if (!k)
		k = archive_seal(&sealed, bundle->p, bundle->len, passphrase, archive_mem_kib());
	if (k)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "cannot seal the backup: %s", strerror(-k));
	return write_file(c, path, &sealed, f);
}

/* Where standard output has the backup itself. */
static void say_unreadable(const struct pages *bundle)
{
	_cleanup_json_ json_t *unreadable = backup_unreadable(bundle);
	const json_t *one;
	size_t i;

	json_array_foreach(unreadable, i, one)
		fprintf(stderr, "Not inside: %s\n", clean_text(json_string_value(one)));
}

int cmd_backup(struct ctl *c)
{
	_cleanup_(pages_done) struct pages bundle = { 0 };
	struct failure f = { 0 };
	json_t *contents;
	int r;

	if (crypto_init() != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "the cryptographic library does not start");
	if (ctl_flag(c, "list"))
		return list_file(c);
	r = make(c, &bundle, &f);
	if (r)
		return ctl_fail_with(c, &f);
	if (strcmp(ctl_argument(c, 0), "-") == 0) {
		say_unreadable(&bundle);
		return EXIT_DONE;
	}
	contents = backup_contents(&bundle);
	json_object_set_new(contents, "file", json_string(clean_text(ctl_argument(c, 0))));
	json_object_set_new(contents, "left_out", backup_left_out(&bundle));
	return ctl_result(c, contents, made_text);
}
