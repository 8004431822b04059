/* Units, daemons, sockets, groups, versions, configuration: is it installed, and does it run? */
#include "ctl/doctor/doctor.h"

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/journal.h"
#include "base/json.h"
#include "base/text.h"

#define READ_GROUP "handfast"
#define ADMIN_GROUP "handfast-admin"

/* ---- units ---- */

/* How much it matters that one is there. */
enum wanted { ALWAYS, RUNNING, ON_DEMAND, OPTIONAL };

static const struct wish {
	const char *unit;
	enum wanted wanted;
} wishes[] = {
	{ "handfast.target", ALWAYS },
	{ "pairingd.socket", ALWAYS },
	{ "pskd.socket", ALWAYS },
	{ "tund.socket", ALWAYS },
	{ "relayd.socket", ALWAYS },
	{ "relayd-listen.socket", OPTIONAL },
	{ "pairingd.service", RUNNING },
	{ "pskd.service", RUNNING },
	{ "tund.service", ON_DEMAND },
	{ "relayd.service", ON_DEMAND },
	{ "authd.service", OPTIONAL },
	{ "authd-listen.socket", OPTIONAL },
};

static void tell_failed(struct doctor *d, const struct unit *u)
{
	const char *how = unit_is_looping(u) ? "does not stay up" : "has failed";
	char words[400];

	if (journal_last_message(u->name, words, sizeof(words)))
		doctor_tell(d, DOCTOR_FAILURE, u->name,
			    doctor_text("Mend what it says, then “sudo systemctl restart %s”; all of its log: “journalctl -e -u %s”.",
					u->name, u->name),
			    "%s (%s); its last words: %s", how, u->result, words);
	else
		doctor_tell(d, DOCTOR_FAILURE, u->name,
			    doctor_text("Its log says why: “sudo journalctl -e -u %s”.", u->name), "%s (%s)", how,
			    u->result);
}

/* Things of a unit that runs, or may. Returns whether anything was told. */
static bool tell_oddities(struct doctor *d, const struct unit *u)
{
	enum { CALM_MS = 10 * 60 * 1000 };
	char since[32];
	bool told = false;

	if (u->need_reload) {
		doctor_tell(d, DOCTOR_WARNING, u->name,
			    doctor_text("“sudo systemctl daemon-reload && sudo systemctl try-restart %s”.", u->name),
			    "its file was changed since systemd read it");
		told = true;
	}
	if (u->restarts) {
		/* systemd counts on until it is started by hand: what was long ago is no trouble of today. */
		bool calm = u->active_ms >= CALM_MS;

		text_format_duration(since, sizeof(since), u->active_ms);
		doctor_tell(d, calm ? DOCTOR_NOTE : DOCTOR_WARNING, u->name,
			    doctor_text("See why: “journalctl -u %s”.", u->name),
			    "systemd had to restart it %u %s; it has run for %s since", u->restarts,
			    u->restarts == 1 ? "time" : "times", since);
		told = true;
	}
	return told;
}

static void tell_unit(struct doctor *d, const struct unit *u, enum wanted wanted)
{
	bool active = strcmp(u->active, "active") == 0 || strcmp(u->active, "reloading") == 0;
	bool enabled = strncmp(u->file, "enabled", 7) == 0 || strcmp(u->file, "static") == 0 ||
		       strcmp(u->file, "indirect") == 0;

	if (strcmp(u->load, "not-found") == 0) {
		if (wanted < ON_DEMAND)
			doctor_tell(d, DOCTOR_WARNING, u->name, "Install the package handfast again.",
				    "is not installed");
		return;
	}
	if (strcmp(u->load, "masked") == 0) {
		doctor_tell(d, wanted >= ON_DEMAND ? DOCTOR_NOTE : DOCTOR_WARNING, u->name,
			    doctor_text("“sudo systemctl unmask %s”, if that is not what you want.", u->name),
			    "is masked: it can never start");
		return;
	}
	if (strcmp(u->load, "loaded") != 0) {
		doctor_tell(d, DOCTOR_FAILURE, u->name,
			    doctor_text("“systemctl status %s” says what is wrong with it, or with a drop-in.", u->name),
			    "systemd cannot use its file (%s)", u->load);
		return;
	}
	if (strcmp(u->active, "failed") == 0 || unit_is_looping(u)) {
		tell_failed(d, u);
		return;
	}
	if (strcmp(u->active, "activating") == 0) {
		doctor_tell(d, DOCTOR_WARNING, u->name, doctor_text("See its log: “journalctl -e -u %s”.", u->name),
			    "is starting (%s)", u->sub);
		return;
	}
	if (tell_oddities(d, u))
		return;
	if (!active && wanted >= ON_DEMAND) {
		doctor_tell(d, DOCTOR_OK, u->name, NULL, wanted == OPTIONAL ? "does not run, and need not" : "starts when it is needed");
		return;
	}
	if (!active) {
		doctor_tell(d, DOCTOR_WARNING, u->name,
			    doctor_text("“sudo systemctl enable --now %s”.", u->name), "does not run");
		return;
	}
	if (!enabled && wanted < ON_DEMAND) {
		doctor_tell(d, DOCTOR_NOTE, u->name, doctor_text("“sudo systemctl enable %s”.", u->name),
			    "runs, but does not come back after the next boot");
		return;
	}
	doctor_tell(d, DOCTOR_OK, u->name, NULL, "is %s (%s)", u->active, u->sub);
}

void doctor_units(struct doctor *d)
{
	struct unit units[ARRAY_SIZE(wishes)] = { 0 };
	int r;

	if (!d->own) {
		doctor_tell(d, DOCTOR_NOTE, "", NULL, "daemons in %s are not systemd's", d->c->runtime_dir);
		return;
	}
	if (!systemd_is_here()) {
		doctor_tell(d, DOCTOR_NOTE, "", "Start the daemons by whatever supervises them here.",
			    "systemd does not run this machine");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(wishes); i++)
		snprintf(units[i].name, sizeof(units[i].name), "%s", wishes[i].unit);
	r = systemd_units(units, ARRAY_SIZE(units));
	if (r) {
		doctor_tell(d, DOCTOR_WARNING, "", "See whether dbus runs: “systemctl status dbus”.",
			    "systemd cannot be asked: %s", strerror(-r));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(wishes); i++)
		tell_unit(d, &units[i], wishes[i].wanted);
}

/* ---- daemons ---- */

void doctor_daemons(struct doctor *d)
{
	for (size_t i = 0; i < AWAKE_MAX; i++) {
		const char *name = awake_names[i];
		const struct failure *f = &d->failure[i];
		bool needed = i == AWAKE_PAIRINGD || i == AWAKE_PSKD;
		char since[32];

		if (d->status[i]) {
			int64_t ms = json_get_int(d->status[i], "uptime_ms", 0);

			text_format_duration(since, sizeof(since), ms < 0 ? 0 : (uint64_t)ms);
			doctor_tell(d, DOCTOR_OK, name, NULL, "answers, and has run for %s: %s", since,
				    clean_member(d->status[i], "status"));
		} else if (f->exit == EXIT_NOT_RUNNING) {
			if (needed || d->awake.asleep[i])
				doctor_tell(d, needed ? DOCTOR_FAILURE : DOCTOR_OK, name,
					    needed ? doctor_text("“sudo systemctl start %s”.", name) : NULL,
					    needed ? "does not run" : "does not run; it starts when it is needed");
			else
				doctor_tell(d, DOCTOR_NOTE, name, NULL, "does not run");
		} else if (f->exit == EXIT_PERMISSION) {
			doctor_tell(d, DOCTOR_WARNING, name, *f->hint ? f->hint : NULL, "%s", f->message);
		} else if (unit_is_looping(&d->awake.service[i])) {
			doctor_tell(d, DOCTOR_FAILURE, name,
				    doctor_text("Its log says why: “journalctl -e -u %s”.", name),
				    "does not stay up: systemd starts it again and again");
		} else {
			doctor_tell(d, DOCTOR_FAILURE, name,
				    doctor_text("Its log says why: “journalctl -e -u %s”; “sudo systemctl restart %s” helps for now.",
						name, name),
				    "runs, but gives no answer: %s", f->message);
		}
	}
}

/* ---- sockets ---- */

static const struct endpoint {
	const char *name;
	int daemon; /* index of awake_names; -1: tund */
	int type;
	mode_t mode;
	bool optional;
} endpoints[] = {
	{ "pairingd.sock", AWAKE_PAIRINGD, SOCK_STREAM, 0666, false },
	{ "pskd.sock", AWAKE_PSKD, SOCK_STREAM, 0666, false },
	{ "relayd.sock", AWAKE_RELAYD, SOCK_STREAM, 0666, true },
	{ "authd.sock", AWAKE_AUTHD, SOCK_STREAM, 0666, true },
	{ "tund.sock", -1, SOCK_SEQPACKET, 0666, false },
	{ "identity.sock", AWAKE_PAIRINGD, SOCK_SEQPACKET, 0666, true },
	{ "pairing-secret.sock", AWAKE_PAIRINGD, SOCK_SEQPACKET, 0666, true },
};

/* 0, or the negative errno of connecting. Nothing is sent. */
static int knock(const char *path, int type)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd, r = 0;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* systemd makes them as root, a daemon those of its own as the user it runs as: no other daemon may. */
static bool may_own(const struct doctor *d, const struct endpoint *e, uid_t uid)
{
	return uid == 0 || (e->daemon >= 0 && uid == doctor_uid(d, (size_t)e->daemon));
}

static void tell_socket(struct doctor *d, const struct endpoint *e)
{
	const char *daemon = e->daemon < 0 ? "tund.socket" : awake_names[e->daemon];
	char path[4096];
	struct stat st;
	int r;

	runtime_path(d->c, path, sizeof(path), e->name);
	if (lstat(path, &st) < 0) {
		if (errno == EACCES)
			doctor_tell(d, DOCTOR_WARNING, path, "Look as root, or at the mode of the folder.",
				    "cannot be looked at: %s", strerror(errno));
		else if (!e->optional)
			doctor_tell(d, DOCTOR_FAILURE, path, doctor_text("“sudo systemctl restart %s”.", daemon),
				    "is not there");
		return;
	}
	if (!S_ISSOCK(st.st_mode)) {
		doctor_tell(d, DOCTOR_FAILURE, path,
			    doctor_text("Remove it and “sudo systemctl restart %s”.", daemon), "is no socket");
		return;
	}
	if ((st.st_mode & 0777) != e->mode) {
		doctor_tell(d, DOCTOR_FAILURE, path,
			    doctor_text("“sudo systemctl restart %s” makes it anew; who may do what is decided by group, not by its mode.",
					daemon),
			    "has mode %04o instead of %04o", (unsigned int)(st.st_mode & 0777), (unsigned int)e->mode);
		return;
	}
	if (d->own && !may_own(d, e, st.st_uid)) {
		doctor_tell(d, DOCTOR_FAILURE, path, doctor_text("Find out who made it; then “sudo systemctl restart %s”.", daemon),
			    "belongs to %s: what answers there is not %s", doctor_user(st.st_uid),
			    e->daemon < 0 ? "tund" : daemon);
		return;
	}
	/* Knocking at systemd's would start who sleeps. */
	if ((e->daemon >= 0 && d->awake.asleep[e->daemon]) || (e->daemon < 0 && d->awake.units)) {
		doctor_tell(d, DOCTOR_OK, path, NULL, "is there, and systemd listens");
		return;
	}
	r = knock(path, e->type);
	if (r == -ECONNREFUSED)
		doctor_tell(d, DOCTOR_FAILURE, path, doctor_text("“sudo systemctl restart %s”.", daemon),
			    "is there, but nobody listens: it was left behind");
	else if (r == -EAGAIN)
		doctor_tell(d, DOCTOR_WARNING, path, doctor_text("See what it does: “journalctl -e -u %s”.", daemon),
			    "has more callers waiting than it takes");
	else if (r)
		doctor_tell(d, DOCTOR_FAILURE, path, NULL, "cannot be reached: %s", strerror(-r));
	else
		doctor_tell(d, DOCTOR_OK, path, NULL, "owner %s, and somebody listens", doctor_user(st.st_uid));
}

void doctor_sockets(struct doctor *d)
{
	const char *dir = d->c->runtime_dir;
	struct stat st;

	if (stat(dir, &st) < 0) {
		doctor_tell(d, DOCTOR_FAILURE, dir, "“sudo systemd-tmpfiles --create handfast.conf”, then start the daemons.",
			    "the runtime folder: %s", strerror(errno));
		return;
	}
	if ((st.st_mode & S_IWOTH) || ((st.st_mode & S_IWGRP) && !(st.st_mode & S_ISVTX)))
		doctor_tell(d, DOCTOR_FAILURE, dir, doctor_text("“sudo chmod 1775 %s”.", dir),
			    "mode %04o lets others put a socket in a daemon's place, which would be given PINs",
			    (unsigned int)(st.st_mode & 07777));
	for (size_t i = 0; i < ARRAY_SIZE(endpoints); i++)
		tell_socket(d, &endpoints[i]);
}

/* ---- groups ---- */

enum { GROUPS_MAX = 1024 };

static bool has_group(const gid_t *list, int n, gid_t gid)
{
	for (int i = 0; i < n; i++)
		if (list[i] == gid)
			return true;
	return false;
}

/* Of the account as it is on disk now; -1 when it cannot be told. */
static int account_groups(const char *user, gid_t primary, gid_t *list)
{
	int n = GROUPS_MAX;

	return getgrouplist(user, primary, list, &n) < 0 ? -1 : n;
}

static void tell_member(struct doctor *d, const char *user, gid_t primary, bool session)
{
	const struct group *g = getgrnam(READ_GROUP);
	gid_t read = g ? g->gr_gid : (gid_t)-1, admin, now[GROUPS_MAX], on_disk[GROUPS_MAX];
	int n_now = session ? getgroups(GROUPS_MAX, now) : 0, n = account_groups(user, primary, on_disk);

	g = getgrnam(ADMIN_GROUP);
	admin = g ? g->gr_gid : (gid_t)-1;
	if (n < 0 || n_now < 0) {
		doctor_tell(d, DOCTOR_NOTE, user, NULL, "its groups cannot be told");
	} else if (session && (has_group(now, n_now, admin) || getegid() == admin)) {
		doctor_tell(d, DOCTOR_OK, user, NULL, "is in %s: may ask and change", ADMIN_GROUP);
	} else if (has_group(on_disk, n, admin) && session) {
		doctor_tell(d, DOCTOR_WARNING, user, "Log out and in again (or “newgrp " ADMIN_GROUP "” in this shell).",
			    "was put into %s after this login began, which does not have it yet", ADMIN_GROUP);
	} else if (has_group(on_disk, n, admin)) {
		doctor_tell(d, DOCTOR_OK, user, NULL, "is in %s", ADMIN_GROUP);
	} else if (session && (has_group(now, n_now, read) || getegid() == read)) {
		doctor_tell(d, DOCTOR_NOTE, user, doctor_text("To change things, too: “sudo usermod -aG %s %s”, then log in again.", ADMIN_GROUP, user),
			    "is in %s: may ask, but not change", READ_GROUP);
	} else if (has_group(on_disk, n, read) && session) {
		doctor_tell(d, DOCTOR_WARNING, user, "Log out and in again (or “newgrp " READ_GROUP "” in this shell).",
			    "was put into %s after this login began, which does not have it yet", READ_GROUP);
	} else {
		doctor_tell(d, DOCTOR_WARNING, user,
			    doctor_text("“sudo usermod -aG %s %s”, then log in again.", ADMIN_GROUP, user),
			    "is in neither %s nor %s: every command needs sudo", READ_GROUP, ADMIN_GROUP);
	}
}

void doctor_groups(struct doctor *d)
{
	static const char *const names[] = { READ_GROUP, ADMIN_GROUP };
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *p;
	bool all = true;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (getgrnam(names[i]))
			continue;
		all = false;
		doctor_tell(d, DOCTOR_WARNING, names[i], "“sudo systemd-sysusers handfast.conf”, then restart the daemons.",
			    "there is no such group: only root is heard");
	}
	if (!all)
		return;
	if (d->root) {
		p = sudo && *sudo ? getpwnam(sudo) : NULL;
		if (p && p->pw_uid != 0)
			tell_member(d, sudo, p->pw_gid, false);
		else
			doctor_tell(d, DOCTOR_OK, "root", NULL, "may do everything");
		return;
	}
	p = getpwuid(getuid());
	if (p) {
		_cleanup_free_ char *user = strdup(p->pw_name);

		tell_member(d, user ? user : "", p->pw_gid, true);
	} else {
		doctor_tell(d, DOCTOR_WARNING, "", NULL, "uid %u has no name here", (unsigned int)getuid());
	}
}

/* ---- versions ---- */

/* "0.2.0~deb12u1" and "0.2.0" are the same program. */
static bool same_version(const char *a, const char *b)
{
	size_t n = strcspn(a, "~+-"), m = strcspn(b, "~+-");

	return n == m && strncmp(a, b, n) == 0;
}

/* "pskd 0.2.0\n": what an installed program says it is. */
static bool installed_version(const char *daemon, char *out, size_t cap)
{
	char program[4200], said[128];
	char *argv[] = { program, (char *)"--version", NULL }, *space;

	if (!daemon_program(program, sizeof(program), daemon) || doctor_run(argv, said, sizeof(said), 3000) != 0)
		return false;
	space = strchr(said, ' ');
	snprintf(out, cap, "%.*s", space ? (int)strcspn(space + 1, "\n") : 0, space ? space + 1 : "");
	return *out != '\0';
}

static void tell_version(struct doctor *d, size_t i)
{
	const char *name = awake_names[i], *running = json_get_str(d->status[i], "version");
	char installed[64] = "";

	if (!installed_version(name, installed, sizeof(installed))) {
		if (i == AWAKE_PSKD || i == AWAKE_PAIRINGD)
			doctor_tell(d, DOCTOR_WARNING, name, "Install the package handfast again.",
				    "its program is not beside this one and not in /usr/libexec/handfast");
		return;
	}
	if (running && !same_version(running, installed))
		doctor_tell(d, DOCTOR_WARNING, name, doctor_text("“sudo systemctl restart %s”.", name),
			    "version %s runs, but %s is installed: it was not restarted after an upgrade", running,
			    installed);
	else if (!same_version(installed, HANDFAST_VERSION))
		doctor_tell(d, DOCTOR_WARNING, name, "Install one version of both.",
			    "is %s, but this command is %s", installed, HANDFAST_VERSION);
	else
		doctor_tell(d, DOCTOR_OK, name, NULL, "%s%s", installed, running ? ", and this is what runs" : "");
}

/* What the peer said in the last handshake of its tunnel, or NULL. */
static const char *handshake_version(const struct doctor *d, const char *peer)
{
	const json_t *t;
	size_t i;

	json_array_foreach(d->tunnels, i, t) {
		const char *of = json_get_str(t, "peer"), *version = json_get_str(t, "peer_version");

		if (of && version && strcmp(of, peer) == 0)
			return version;
	}
	return NULL;
}

void doctor_versions(struct doctor *d)
{
	const json_t *peer;
	size_t i;

	for (i = 0; i < AWAKE_MAX; i++)
		tell_version(d, i);
	json_array_foreach(d->peers, i, peer) {
		const char *name = json_get_str(peer, "name"), *version = json_get_str(peer, "version");
		const char *now = name ? handshake_version(d, name) : NULL;

		if (!name || (!now && (!version || !*version)))
			continue;
		if (same_version(now ? now : version, HANDFAST_VERSION))
			doctor_tell(d, DOCTOR_OK, name, NULL, "%s the same version %s%s", now ? "has" : "had",
				    clean_text(now ? now : version), now ? "" : " when it was paired");
		else
			doctor_tell(d, DOCTOR_NOTE, name,
				    now ? "Update the older one." : "Update the older one, unless that was done since.",
				    "%s version %s%s; this is %s", now ? "has" : "had", clean_text(now ? now : version),
				    now ? "" : " when it was paired", HANDFAST_VERSION);
	}
}

/* ---- configuration ---- */

void doctor_configuration(struct doctor *d)
{
	for (size_t i = 0; i < AWAKE_MAX; i++) {
		char program[4200], said[1024], file[4096];
		char *argv[] = { program, (char *)"--check", (char *)"--config", file, NULL };
		int r;

		doctor_config_file(d, i, file, sizeof(file));
		if (!daemon_program(program, sizeof(program), awake_names[i]))
			continue;
		/* Without a file of its own the defaults hold. */
		if (access(file, F_OK) < 0 && errno == ENOENT) {
			doctor_tell(d, DOCTOR_OK, file, NULL, "is not there: all is as by default");
			continue;
		}
		if (access(file, R_OK) < 0) {
			doctor_tell(d, d->root ? DOCTOR_FAILURE : DOCTOR_NOTE, file, NULL, "cannot be read: %s",
				    strerror(errno));
			continue;
		}
		r = doctor_run(argv, said, sizeof(said), 3000);
		if (r < 0)
			doctor_tell(d, DOCTOR_WARNING, file, NULL, "cannot be checked: %s", strerror(-r));
		else if (r && !d->root && strstr(said, "ermission denied"))
			doctor_tell(d, DOCTOR_NOTE, file, "Check it as root.", "%.*s", (int)strcspn(said, "\n"), said);
		else if (r)
			doctor_tell(d, DOCTOR_FAILURE, file,
				    doctor_text(d->status[i] ? "Mend it, then “sudo systemctl reload %s”; until then the old one stays in force, but a restart fails." :
							       "Mend it, then “sudo systemctl restart %s”.",
						awake_names[i]),
				    "would be refused: %.*s", (int)strcspn(said, "\n"), said);
		else
			doctor_tell(d, DOCTOR_OK, file, NULL, "is fine");
	}
}

/* ---- the relay ---- */

/*
 * pairingd knows which it is and how to speak TLS to it, so its program is asked, also when no pairingd
 * runs; this command need not carry a TLS library for that.
 */
static void tell_probed(struct doctor *d, const char *line, size_t len)
{
	static const struct json_limits limits = { .max_bytes = 4096, .max_depth = 2, .max_keys = 8 };
	_cleanup_json_ json_t *one = NULL;
	const char *verdict, *about, *message, *todo;

	if (json_parse(&one, line, len, &limits) != 0)
		return;
	verdict = json_get_str(one, "verdict");
	about = json_get_str(one, "about");
	message = json_get_str(one, "message");
	todo = json_get_str(one, "todo");
	if (verdict && about && message)
		doctor_tell(d, strcmp(verdict, "ok") == 0      ? DOCTOR_OK :
			       strcmp(verdict, "warning") == 0 ? DOCTOR_WARNING :
								 DOCTOR_FAILURE,
			    about, todo && *todo ? todo : NULL, "%s", message);
}

void doctor_relay(struct doctor *d)
{
	enum { PROBE_MS = 8000 };
	char program[4200], said[8192], file[4096];
	char *argv[] = { program, (char *)"--check", (char *)"--probe-relay", (char *)"--config", file, NULL };
	size_t before = json_array_size(d->findings);
	int r;

	if (!daemon_program(program, sizeof(program), PAIRINGD)) {
		doctor_tell(d, DOCTOR_NOTE, "", NULL, "pairingd is not installed");
		return;
	}
	doctor_config_file(d, AWAKE_PAIRINGD, file, sizeof(file));
	if (access(file, F_OK) < 0)
		argv[3] = NULL;
	r = doctor_run(argv, said, sizeof(said), PROBE_MS);
	for (const char *line = said; *line; line += strcspn(line, "\n"), line += *line == '\n')
		if (*line == '{')
			tell_probed(d, line, strcspn(line, "\n"));
	if (json_array_size(d->findings) != before)
		return;
	if (r < 0)
		doctor_tell(d, DOCTOR_WARNING, "", NULL, "it could not be tried: %s", strerror(-r));
	else if (r)
		doctor_tell(d, DOCTOR_NOTE, "", NULL, "which it is cannot be told: pairingd's configuration cannot be used");
	else
		doctor_tell(d, DOCTOR_OK, "", NULL, "none is configured: pairing uses the local network, or what --relay says");
}
