/*
 * handfast restore: everything is checked, then asked about, then done. Each
 * daemon takes its own part back (`NAME --import`, as the owner of its state
 * folder), whole or not at all; configuration files that differ are kept beside the new ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "config/config.h"
#include "crypto/archive.h"
#include "crypto/secret.h"
#include "proto/bundle.h"
#include "service/export.h"

#include "ctl/backup/backup_file.h"
#include "ctl/backup/import.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/terminal.h"

#define CONFIG_DIR "/etc/handfast"

enum { OLD_TRIES = 1000 };

/* Stopped while state is replaced, sockets first, so that nobody starts a daemon meanwhile. */
static const char *const units[] = {
	"pskd.socket", "pairingd.socket", "authd.socket", "pskd.service", "pairingd.service", "authd.service",
};

struct restore {
	struct ctl *c;
	const char *config_dir, *state_dir;
	struct pages bundle;
	int part_fds[IMPORT_PARTS]; /* each daemon's bundle; -1: the backup has none */
	bool was_active[ARRAY_SIZE(units)];
	bool stopped;
	pid_t guard; /* starts the units again when this process cannot */
	int guard_fd; /* closed without a byte: start them; -1: there is no guard */
	json_t *imported; /* daemon: its answer */
	json_t *kept;	  /* configuration files that were moved away */
	json_t *notes;
};

static void restore_done(struct restore *s)
{
	pages_done(&s->bundle);
	for (size_t i = 0; i < IMPORT_PARTS; i++)
		if (s->part_fds[i] >= 0)
			close(s->part_fds[i]);
	json_decref(s->imported);
	json_decref(s->kept);
	json_decref(s->notes);
}

/* ---- taking the backup apart ---- */

static int write_fd(int fd, const void *data, size_t len, off_t *at)
{
	int r = file_pwrite_all(fd, data, len, *at);

	*at += (off_t)len;
	return r;
}

/* The pieces of one daemon as a bundle of their own, which never touches a disk. */
static int extract(struct restore *s, size_t n)
{
	static const uint8_t end[BUNDLE_END_LEN];
	uint8_t prefix[BUNDLE_PREFIX_MAX];
	struct bundle_piece piece;
	struct bundle_reader reader;
	char wanted[32];
	size_t found = 0;
	off_t at = 0;
	int fd, r;

	fd = memfd_create("handfast-import", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	s->part_fds[n] = fd;
	snprintf(wanted, sizeof(wanted), "%s/", import_parts[n].daemon);
	bundle_head(prefix);
	r = write_fd(fd, prefix, BUNDLE_HEAD_LEN, &at);
	bundle_open(&reader, s->bundle.p, s->bundle.len, NULL);
	while (!r && bundle_next(&reader, &piece) == 1) {
		if (strncmp(piece.name, wanted, strlen(wanted)) != 0)
			continue;
		found++;
		r = write_fd(fd, prefix, bundle_prefix(prefix, piece.name + strlen(wanted), piece.len), &at);
		if (!r)
			r = write_fd(fd, piece.data, piece.len, &at);
	}
	if (!r)
		r = write_fd(fd, end, sizeof(end), &at);
	/* pskd is told of every restore: what its tunnels may use afterwards depends on it. */
	if (r || (found == 0 && strcmp(import_parts[n].daemon, PSKD) != 0)) {
		close(fd);
		s->part_fds[n] = -1;
	}
	return r;
}

/* ---- the daemons' parts ---- */

static char *state_path(const struct restore *s, const struct import_part *part)
{
	return path_join(s->state_dir, part->daemon);
}

static int make_state_dir(const char *dir, uid_t uid, gid_t gid)
{
	_cleanup_free_ char *parent = strdup(dir);
	int r;

	if (!parent)
		return -ENOMEM;
	*strrchr(parent, '/') = '\0';
	r = *parent ? file_mkdirs(parent, 0755) : 0;
	if (r)
		return r;
	if (mkdir(dir, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	return chown(dir, uid, gid) < 0 ? -errno : 0;
}

/* The hint when a part is not taken: what is so, and what makes it whole. */
static void how_to_finish(const struct restore *s, char *out, size_t cap)
{
	const char *taken = json_object_get(s->imported, PSKD)	   ? "pairingd and pskd have taken their parts" :
			    json_object_get(s->imported, PAIRINGD) ? "pairingd has taken its part" :
								     NULL;

	if (taken)
		snprintf(out, cap, "%s, configuration files are as before: say it again with --replace to finish.", taken);
	else
		snprintf(out, cap, "Say it again with --replace once that is mended.");
}

/* Let the daemon check its part, or take it. */
static int import_part(struct restore *s, size_t n, bool check, struct failure *f)
{
	const struct import_part *part = &import_parts[n];
	_cleanup_free_ char *dir = state_path(s, part);
	struct import_run run = { part, dir, s->part_fds[n], s->guard_fd, check, ctl_flag(s->c, "replace") };
	char why[1024] = "no memory", hint[256] = "Nothing was changed.";
	json_t *answer = NULL;
	int r = dir ? 0 : -ENOMEM;
	uid_t uid;
	gid_t gid;

	if (!r && !check) {
		import_owner(part, dir, &uid, &gid);
		r = make_state_dir(dir, uid, gid);
		if (r)
			snprintf(why, sizeof(why), "cannot make %s: %s", dir, strerror(-r));
	}
	if (!r)
		r = import_run(s->c, &run, &answer, why, sizeof(why));
	if (r == 0) {
		/* Of the check, nothing is told that did not happen. */
		if (check)
			json_decref(answer);
		else
			json_object_set_new(s->imported, part->daemon, answer);
		return EXIT_DONE;
	}
	/* What a running daemon has is seen once it is stopped. */
	if (r == IMPORT_RUNNING && ctl_flag(s->c, "dry-run"))
		return EXIT_DONE;
	if (r == -ENOENT)
		snprintf(hint, sizeof(hint), "It belongs beside this program or in /usr/libexec/handfast.");
	else if (!check)
		how_to_finish(s, hint, sizeof(hint));
	return failure_set(f, EXIT_FAILED, r == -ENOENT ? ERROR_NO_SUCH_FILE : ERROR_REFUSED, hint, "%s: %s",
			   part->daemon, why);
}

/* ---- units ---- */

/* systemctl VERB UNIT, quietly: its exit code. */
static int systemctl(const char *verb, const char *unit)
{
	char *argv[] = { (char *)"systemctl", (char *)"--quiet", (char *)(uintptr_t)verb,
			 (char *)(uintptr_t)unit, NULL };
	posix_spawn_file_actions_t actions;
	int status = 0, r;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	r = posix_spawnp(&pid, "systemctl", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return 127;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Only what is installed is systemd's to stop; instances with folders of their own are whoever's they are. */
static bool has_units(const struct restore *s)
{
	return strcmp(s->state_dir, STATE_DIR) == 0 && strcmp(s->c->runtime_dir, RUNTIME_DIR) == 0 &&
	       access("/run/systemd/system", F_OK) == 0;
}

/* NULL, or a unit that did not start. */
static const char *start_stopped(const struct restore *s)
{
	const char *failed = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (s->was_active[i] && systemctl("start", units[i]) != 0)
			failed = units[i];
	return failed;
}

/*
 * A child that outlives us: it starts what we stopped when we are killed, and
 * our children with us, who hold the other end of its pipe.
 */
static void guard(const struct restore *s, int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ssize_t n;
	char byte;

	setsid();
	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		(void)start_stopped(s);
	_exit(0);
}

static int guard_units(struct restore *s)
{
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	s->guard = fork();
	r = s->guard < 0 ? -errno : 0;
	if (s->guard == 0) {
		close(ends[1]);
		guard(s, ends[0]);
	}
	close(ends[0]);
	if (r)
		close(ends[1]);
	else
		s->guard_fd = ends[1];
	return r;
}

/* It has nothing to do. */
static void dismiss_guard(struct restore *s)
{
	if (s->guard_fd < 0)
		return;
	(void)!write(s->guard_fd, "", 1);
	close(s->guard_fd);
	s->guard_fd = -1;
	while (waitpid(s->guard, NULL, 0) < 0 && errno == EINTR)
		;
}

static int stop_units(struct restore *s, struct failure *f)
{
	int r;

	if (!has_units(s))
		return EXIT_DONE;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		s->was_active[i] = systemctl("is-active", units[i]) == 0;
	r = guard_units(s);
	if (r)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, "Nothing was changed.", "cannot begin: %s", strerror(-r));
	s->stopped = true;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (s->was_active[i] && systemctl("stop", units[i]) != 0)
			return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, "Nothing was changed.",
					   "“systemctl stop %s” failed", units[i]);
	return EXIT_DONE;
}

static void start_units(struct restore *s)
{
	const char *failed;

	if (!s->stopped)
		return;
	failed = start_stopped(s);
	if (failed)
		json_array_append_new(s->notes, json_sprintf("%s does not start: see “journalctl -u %s”", failed, failed));
	dismiss_guard(s);
	/* It has nothing but configuration. */
	systemctl("try-restart", "relayd.service");
}

/* ---- configuration ---- */

static bool is_same(const char *path, const struct bundle_piece *piece)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	return file_read(&text, &len, path, 1 << 20) == 0 && len == piece->len && memcmp(text, piece->data, len) == 0;
}

/* Give the present file another name: FILE.handfast-old, or that with a number. */
static int keep_old(struct restore *s, const char *path)
{
	char old[4200];

	for (unsigned int i = 0; i < OLD_TRIES; i++) {
		if (i == 0)
			snprintf(old, sizeof(old), "%s.handfast-old", path);
		else
			snprintf(old, sizeof(old), "%s.handfast-old.%u", path, i);
		if (link(path, old) == 0) {
			json_array_append_new(s->kept, json_string(clean_text(old)));
			return 0;
		}
		if (errno != EEXIST)
			return errno == ENOENT ? 0 : -errno;
	}
	return -EEXIST;
}

static int restore_file(struct restore *s, const struct bundle_piece *piece)
{
	_cleanup_free_ char *path = path_join(s->config_dir, piece->name + strlen("config/"));
	int r;

	if (!path)
		return -ENOMEM;
	if (is_same(path, piece))
		return 0;
	r = keep_old(s, path);
	return r ? r : file_rewrite_atomic(path, piece->data, piece->len, 0644);
}

static void restore_config(struct restore *s)
{
	_cleanup_free_ char *tunnels = path_join(s->config_dir, "tunnels");
	mode_t old = umask(0022);
	struct bundle_piece piece;
	struct bundle_reader reader;
	int r = tunnels ? file_mkdirs(tunnels, 0755) : -ENOMEM;

	bundle_open(&reader, s->bundle.p, s->bundle.len, NULL);
	while (bundle_next(&reader, &piece) == 1) {
		if (strncmp(piece.name, "config/", strlen("config/")) != 0)
			continue;
		if (!r)
			r = restore_file(s, &piece);
		if (r)
			json_array_append_new(s->notes, json_sprintf("%s/%s was not restored: %s", s->config_dir,
								     piece.name + strlen("config/"), strerror(-r)));
		r = 0;
	}
	umask(old);
}

/* Only these two folders: whatever a backup says, nothing is written elsewhere. */
static bool config_is_known(const char *name)
{
	const char *rest = name + strlen("config/");

	if (strncmp(rest, "tunnels/", strlen("tunnels/")) == 0)
		rest += strlen("tunnels/");
	return !strchr(rest, '/') && strlen(rest) > 5 && strcmp(rest + strlen(rest) - 5, ".yaml") == 0;
}

static int check_config(const struct restore *s, struct failure *f)
{
	struct bundle_piece piece;
	struct bundle_reader reader;

	bundle_open(&reader, s->bundle.p, s->bundle.len, NULL);
	while (bundle_next(&reader, &piece) == 1)
		if (strncmp(piece.name, "config/", strlen("config/")) == 0 && !config_is_known(piece.name))
			return failure_set(f, EXIT_VERIFICATION, ERROR_VERIFICATION, "Nothing was changed.",
					   "the backup holds %s, which is no configuration file", piece.name);
	return EXIT_DONE;
}

/* ---- asking and telling ---- */

static void not_again(const struct json_t *result)
{
	const json_t *peers = json_object_get(result, "peers"), *one;
	size_t i;

	if (json_array_size(peers) > 0) {
		printf("Pair again, for a tunnel:");
		json_array_foreach(peers, i, one)
			printf("%s %s", i ? "," : "", clean_text(json_string_value(one)));
		printf("\n");
	}
	printf("The machine this came from must not go on with the same identity: switch it off, or remove "
	       "its /var/lib/handfast.\n");
}

static void restored_text(const struct ctl *c, const json_t *result)
{
	const json_t *one;
	size_t i;

	printf("Restored from %s:\n", clean_text(ctl_argument(c, 0)));
	backup_contents_text(c, result);
	json_array_foreach(json_object_get(result, "kept"), i, one)
		fact(stdout, &c->style, i ? "" : "kept", "%s", clean_text(json_string_value(one)));
	json_array_foreach(json_object_get(result, "notes"), i, one)
		printf("%s\n", clean_text(json_string_value(one)));
	not_again(result);
}

static void dry_text(const struct ctl *c, const json_t *result)
{
	printf("%s can be restored here. It holds:\n", clean_text(ctl_argument(c, 0)));
	backup_contents_text(c, result);
	printf("Nothing was changed.\n");
}

static int confirm(const struct restore *s, const json_t *contents, struct failure *f)
{
	int r;

	if (ctl_flag(s->c, "yes"))
		return EXIT_DONE;
	if (!s->c->json)
		backup_contents_text(s->c, contents);
	r = terminal_confirm("Make this device what the backup holds?");
	if (r == TERMINAL_E_NONE)
		return failure_set(f, EXIT_USAGE, ERROR_NO_TERMINAL, "Say --yes.",
				   "there is no terminal to ask on whether to restore");
	if (r == TERMINAL_E_INTERRUPTED)
		return failure_set(f, interrupt_exit(), ERROR_INTERRUPTED, NULL, "interrupted; nothing was changed");
	if (r)
		return failure_set(f, EXIT_FAILED, ERROR_DECLINED, NULL, "nothing was changed");
	return EXIT_DONE;
}

static bool is_noted(const struct restore *s, const char *name)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(s->imported, PSKD), "needs_burn"), i, one)
		if (strcmp(json_string_value(one), name) == 0)
			return true;
	return false;
}

/* A declared tunnel that pskd did not know yet when the backup was made: its file says what its peer is. */
static void note_undeclared(struct restore *s)
{
	static const char prefix[] = "config/tunnels/";
	struct bundle_piece piece;
	struct bundle_reader reader;

	bundle_open(&reader, s->bundle.p, s->bundle.len, NULL);
	while (bundle_next(&reader, &piece) == 1) {
		_cleanup_free_ char *path = NULL;
		char name[64], peer[32];

		if (strncmp(piece.name, prefix, strlen(prefix)) != 0 || strlen(piece.name) - strlen(prefix) >= sizeof(name))
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(strlen(piece.name) - strlen(prefix) - strlen(".yaml")),
			 piece.name + strlen(prefix));
		path = path_join(s->config_dir, piece.name + strlen("config/"));
		if (path && !is_noted(s, name) && config_find(path, "peer", peer, sizeof(peer)) && strcmp(peer, "prototype") == 0)
			json_array_append_new(json_object_get(json_object_get(s->imported, PSKD), "needs_burn"), json_string(name));
	}
}

/* What tunnels still need: key files that are not there, and words of the administrator. */
static void note_tunnels(struct restore *s, const json_t *contents)
{
	_cleanup_json_ json_t *unreadable = backup_unreadable(&s->bundle);
	const json_t *one;
	size_t i;

	note_undeclared(s);
	json_array_foreach(json_object_get(contents, "tunnels"), i, one) {
		const char *name = clean_member(one, "name"), *file = json_get_str(one, "key_file");

		if (file && *file && access(file, F_OK) != 0)
			json_array_append_new(s->notes, json_sprintf("Tunnel %s needs its key file, %s: carry it there.",
								     name, clean_text(file)));
	}
	json_array_foreach(json_object_get(json_object_get(s->imported, PSKD), "needs_burn"), i, one) {
		const char *name = clean_text(json_string_value(one));

		json_array_append_new(s->notes,
				      json_sprintf("Tunnel %s to a prototype peer stays down: say “handfast tunnel burn %s "
						   "--to-slot N” with an N that neither side has reached.", name, name));
	}
	json_array_foreach(unreadable, i, one)
		json_array_append_new(s->notes, json_sprintf("The backup is without %s.", json_string_value(one)));
	json_array_foreach(json_object_get(json_object_get(s->imported, PSKD), "skipped"), i, one)
		json_array_append_new(s->notes, json_sprintf("Tunnel %s was not restored: its ledger is not in the backup.",
							     clean_text(json_string_value(one))));
	json_array_foreach(json_object_get(json_object_get(s->imported, PSKD), "sealed"), i, one)
		json_array_append_new(s->notes,
				      json_sprintf("pskd/ledgers/%s was here already and is sealed: pskd starts only with the "
						   "credential handfast.state-key that it was sealed under.",
						   clean_text(json_string_value(one))));
}

/* A backup is older than what it replaces: what ended since has not ended there. */
static void note_logins(struct restore *s)
{
	if (json_object_get(s->imported, AUTHD))
		json_array_append_new(s->notes, json_string("Users are as they were when the backup was made, with the passwords "
							    "of then: disable and delete again whom you have since. Everybody logs in "
							    "again; invitations are void."));
}

/* ---- doing ---- */

static int load(struct restore *s, struct failure *f)
{
	_cleanup_(secret_freep) struct secret *passphrase = NULL;
	_cleanup_(pages_done) struct pages sealed = { 0 };
	const char *path = ctl_argument(s->c, 0), *from = ctl_option(s->c, "passphrase-file");
	int r;

	if (strcmp(path, "-") == 0 && from && strcmp(from, "-") == 0)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL,
				   "the backup and its passphrase cannot both come from standard input");
	r = backup_read(path, &sealed, f);
	if (!r)
		r = backup_check_head(path, &sealed, f);
	if (!r)
		r = backup_passphrase(s->c, false, &passphrase, f);
	if (!r)
		r = backup_open(path, &sealed, passphrase, &s->bundle, f);
	if (!r)
		r = check_config(s, f);
	for (size_t i = 0; !r && i < IMPORT_PARTS; i++)
		if (extract(s, i))
			r = failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	return r;
}

static int each_part(struct restore *s, bool check, struct failure *f)
{
	int r = EXIT_DONE;

	for (size_t i = 0; !r && i < IMPORT_PARTS; i++)
		if (s->part_fds[i] >= 0)
			r = import_part(s, i, check, f);
	return r;
}

/* From here to the end an interrupt would only leave daemons stopped. */
static int apply(struct restore *s, const json_t *contents, struct failure *f)
{
	int r;

	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	r = stop_units(s, f);
	/* All say yes before one begins. */
	if (!r)
		r = each_part(s, true, f);
	if (!r)
		r = each_part(s, false, f);
	if (!r) {
		restore_config(s);
		note_tunnels(s, contents);
		note_logins(s);
	}
	start_units(s);
	return r;
}

static int may_restore(const struct restore *s, struct failure *f)
{
	if (geteuid() == 0 || strcmp(s->state_dir, STATE_DIR) != 0)
		return EXIT_DONE;
	return failure_set(f, EXIT_PERMISSION, ERROR_NO_PERMISSION, "Say it as root: “sudo handfast restore …”.",
			   "only root may restore a backup");
}

int cmd_restore(struct ctl *c)
{
	_cleanup_(restore_done) struct restore s = { .c = c, .part_fds = { -1, -1, -1 }, .guard_fd = -1, .imported = json_object(),
						     .kept = json_array(), .notes = json_array() };
	bool dry = ctl_flag(c, "dry-run");
	struct failure f = { 0 };
	json_t *contents;
	int r;

	s.config_dir = ctl_option(c, "config-dir") ? ctl_option(c, "config-dir") : CONFIG_DIR;
	s.state_dir = ctl_option(c, "state-dir") ? ctl_option(c, "state-dir") : STATE_DIR;
	if (crypto_init() != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "the cryptographic library does not start");
	r = dry ? EXIT_DONE : may_restore(&s, &f);
	if (!r)
		r = load(&s, &f);
	if (r)
		return ctl_fail_with(c, &f);
	contents = backup_contents(&s.bundle);
	json_object_set_new(contents, "file", json_string(clean_text(ctl_argument(c, 0))));
	if (dry)
		r = each_part(&s, true, &f);
	else
		r = confirm(&s, contents, &f);
	if (!r && dry)
		return ctl_result(c, contents, dry_text);
	if (!r)
		r = apply(&s, contents, &f);
	if (r) {
		json_decref(contents);
		return ctl_fail_with(c, &f);
	}
	json_object_set(contents, "imported", s.imported);
	json_object_set(contents, "kept", s.kept);
	json_object_set(contents, "notes", s.notes);
	return ctl_result(c, contents, restored_text);
}
