/* Logins on disk, their keys in the keyring. A damaged file is no login, and is in nobody's way. */
#include "ctl/auth/logins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "auth/session.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

enum { FILE_MAX = 16384, ID_BYTES = 16, ID_LEN = 2 * ID_BYTES, LOGINS_MAX = 1000, TIDY_AFTER_S = 86400 };

/* ---- names ---- */

/* What names a login's file and key: of the server and user, so that the next one takes its place. */
static void login_id(char out[static ID_LEN + 1], const struct auth_session *s)
{
	uint8_t hash[SHA256_LEN];
	char text[2048];
	int n = snprintf(text, sizeof(text), "%s://%s%s\n%s", s->url.scheme, s->url.authority, s->url.prefix, s->user);

	sha256(hash, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
	hex_format(out, hash, ID_BYTES);
}

/* What names its key: of the session, so that logins of two folders, or one after the other, never share one. */
static void key_id(char out[static ID_LEN + 1], const struct auth_session *s)
{
	uint8_t hash[SHA256_LEN];

	sha256(hash, s->id, strlen(s->id));
	hex_format(out, hash, ID_BYTES);
}

/* In the keyring. */
static void key_name(char out[static 64], const struct auth_session *s)
{
	char hex[ID_LEN + 1];

	key_id(hex, s);
	snprintf(out, 64, "handfast:login:%s", hex);
}

/* In the folder. */
static void key_file(char out[static 96], const struct auth_session *s)
{
	char id[ID_LEN + 1], hex[ID_LEN + 1];

	login_id(id, s);
	key_id(hex, s);
	snprintf(out, 96, "%s.%s.key", id, hex);
}

/* The folder; the caller frees it. NULL with *f filled. */
static char *logins_folder(struct failure *f)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *dir = NULL;
	int n;

	/* The basedir specification: a relative path is none. */
	if (state && *state == '/')
		n = asprintf(&dir, "%s/handfast/logins", state);
	else if (home && *home == '/')
		n = asprintf(&dir, "%s/.local/state/handfast/logins", home);
	else
		n = -1;
	if (n >= 0)
		return dir;
	failure_set(f, EXIT_FAILED, ERROR_FILE, "Set $HOME or $XDG_STATE_HOME.", "there is no folder to keep logins in");
	return NULL;
}

static char *login_path(const char *dir, const char *id, const char *ending)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s%s", dir, id, ending) < 0 ? NULL : path;
}

bool login_is_expired(const struct auth_session *s)
{
	return s->expires_s <= clock_wall_s();
}

/* ---- the keyring ---- */

typedef int key_serial;

/* The key's number, or -1. */
static key_serial keyring_find(const struct auth_session *s)
{
	char name[64];

	key_name(name, s);
	return (key_serial)syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", name, 0);
}

static void keyring_forget(const struct auth_session *s)
{
	key_serial k = keyring_find(s);

	if (k >= 0)
		syscall(SYS_keyctl, KEYCTL_UNLINK, k, KEY_SPEC_USER_KEYRING);
}

static struct secret *keyring_load(const struct auth_session *s)
{
	key_serial k = keyring_find(s);
	uint8_t raw[POP_KEY_LEN];
	struct secret *key = NULL;

	if (k >= 0 && syscall(SYS_keyctl, KEYCTL_READ, k, raw, sizeof(raw)) == sizeof(raw))
		(void)secret_take(&key, raw, sizeof(raw));
	wipe(raw, sizeof(raw));
	return key;
}

/* False where there is no keyring, or none that gives a key back. */
static bool keyring_save(const struct auth_session *s)
{
	/* What this user may do to the key, from whichever session: cron jobs have another. */
	const unsigned int permissions = 0x3f3f0000;
	_cleanup_(secret_freep) struct secret *back = NULL;
	int64_t left_s = s->expires_s - clock_wall_s();
	char name[64];
	key_serial k;

	key_name(name, s);
	k = (key_serial)syscall(SYS_add_key, "user", name, secret_bytes(s->key), secret_len(s->key),
				KEY_SPEC_USER_KEYRING);
	if (k < 0)
		return false;
	syscall(SYS_keyctl, KEYCTL_SETPERM, k, permissions);
	syscall(SYS_keyctl, KEYCTL_SET_TIMEOUT, k, (unsigned int)(left_s > 0 ? left_s : 1));
	back = keyring_load(s);
	return back && secret_equal(back, secret_bytes(s->key), secret_len(s->key));
}

/* ---- files ---- */

/* Ours, of ours alone: anything else was put there by somebody else. */
static int read_own(char **out, size_t *len, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		return -EPERM;
	return file_read_fd(out, len, fd, FILE_MAX);
}

static struct auth_session *load_session(const char *dir, const char *id)
{
	static const struct json_limits limits = { .max_bytes = FILE_MAX, .max_depth = 3, .max_keys = 50 };
	_cleanup_free_ char *path = login_path(dir, id, ".json"), *text = NULL;
	_cleanup_(auth_session_freep) struct auth_session *s = NULL;
	_cleanup_json_ json_t *o = NULL;
	char own[ID_LEN + 1];
	size_t len = 0;

	if (!path || read_own(&text, &len, path) || json_parse(&o, text, len, &limits) || auth_session_from_json(&s, o))
		return NULL;
	/* A file under another one's name is no login: two could not be told apart. */
	login_id(own, s);
	return strcmp(own, id) == 0 ? steal(&s) : NULL;
}

static struct secret *load_key(const char *dir, const struct auth_session *s, enum login_key *where)
{
	_cleanup_free_ char *path = NULL, *raw = NULL;
	struct secret *key = keyring_load(s);
	char name[96];
	size_t len = 0;

	key_file(name, s);
	path = login_path(dir, name, "");

	*where = LOGIN_KEY_KEYRING;
	if (key || !path || read_own(&raw, &len, path))
		return key;
	*where = LOGIN_KEY_FILE;
	if (len == POP_KEY_LEN)
		(void)secret_take(&key, (uint8_t *)raw, len);
	wipe(raw, len);
	return key;
}

static int cannot_keep(const char *dir, int r, struct failure *f)
{
	return failure_set(f, EXIT_FAILED, ERROR_FILE, NULL, "cannot keep the login in %s: %s", dir, strerror(-r));
}

static int no_keyring(struct failure *f)
{
	return failure_set(f, EXIT_FAILED, ERROR_FILE, "Without --key-store the key is kept in a file there.",
			   "the kernel gives no keyring to this user");
}

int logins_check(enum login_key where, struct failure *f)
{
	_cleanup_free_ char *dir = logins_folder(f), *path = NULL;
	char name[32], room[4096] = "";
	int r;

	if (!dir)
		return (int)f->exit;
	if (where == LOGIN_KEY_KEYRING && syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1) < 0)
		return no_keyring(f);
	snprintf(name, sizeof(name), ".room-%d", (int)getpid());
	path = login_path(dir, name, "");
	if (!path)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	r = file_mkdirs(dir, 0700);
	if (!r)
		r = file_write_atomic(path, room, sizeof(room), 0600);
	if (!r)
		unlink(path);
	return r ? cannot_keep(dir, r, f) : EXIT_DONE;
}

/* Key files of this server and user, all but one (NULL: all): also those that a kill left. */
static void remove_keys(const char *dir, const char *id, const char *but)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len > ID_LEN + 4 && strncmp(e->d_name, id, ID_LEN) == 0 && strcmp(e->d_name + len - 4, ".key") == 0 &&
		    (!but || strcmp(e->d_name, but) != 0))
			unlinkat(dirfd(d), e->d_name, 0);
	}
	if (d)
		closedir(d);
}

/* The key first, under a name of its own: whatever ends this in between, the earlier login has its own still. */
static int save_key(const struct auth_session *s, enum login_key where, const char *dir, char file[static 96],
		    struct failure *f)
{
	_cleanup_free_ char *path = NULL;
	int r;

	*file = '\0';
	if (where != LOGIN_KEY_FILE && keyring_save(s))
		return EXIT_DONE;
	if (where == LOGIN_KEY_KEYRING)
		return no_keyring(f);
	key_file(file, s);
	path = login_path(dir, file, "");
	r = path ? file_write_atomic(path, secret_bytes(s->key), secret_len(s->key), 0600) : -ENOMEM;
	return r ? cannot_keep(dir, r, f) : EXIT_DONE;
}

static void forget_key(const struct auth_session *s, const char *dir)
{
	_cleanup_free_ char *path = NULL;
	char file[96];

	keyring_forget(s);
	key_file(file, s);
	path = login_path(dir, file, "");
	if (path)
		unlink(path);
}

int logins_save(const struct auth_session *s, enum login_key where, struct auth_session **earlier, struct failure *f)
{
	_cleanup_free_ char *dir = logins_folder(f), *path = NULL, *text = NULL;
	_cleanup_json_ json_t *o = auth_session_to_json(s);
	_cleanup_(auth_session_freep) struct auth_session *before = NULL;
	char id[ID_LEN + 1], file[96];
	enum login_key ignored;
	int r;

	if (!dir)
		return (int)f->exit;
	login_id(id, s);
	path = login_path(dir, id, ".json");
	text = o ? json_text(o) : NULL;
	if (!path || !text)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	r = file_mkdirs(dir, 0700);
	if (r)
		return cannot_keep(dir, r, f);
	before = load_session(dir, id);
	if (before)
		before->key = load_key(dir, before, &ignored);
	r = save_key(s, where, dir, file, f);
	if (!r) {
		r = file_write_atomic(path, text, strlen(text), 0600);
		r = r ? cannot_keep(dir, r, f) : EXIT_DONE;
	}
	if (r) {
		forget_key(s, dir);
		return r;
	}
	if (before && strcmp(before->id, s->id) != 0)
		keyring_forget(before);
	remove_keys(dir, id, file);
	*earlier = before && before->key && !login_is_expired(before) && strcmp(before->id, s->id) != 0 ? steal(&before) : NULL;
	return EXIT_DONE;
}

void logins_forget(const struct auth_session *s)
{
	struct failure ignored;
	_cleanup_free_ char *dir = logins_folder(&ignored), *path = NULL;
	char id[ID_LEN + 1];

	login_id(id, s);
	keyring_forget(s);
	path = dir ? login_path(dir, id, ".json") : NULL;
	if (!path)
		return;
	/* The file first: a login without a key can be forgotten again, a key without a login is seen by nobody. */
	unlink(path);
	remove_keys(dir, id, NULL);
}

/* ---- looking ---- */

struct found {
	struct auth_session *v[LOGINS_MAX];
	size_t n;
};

static void found_done(struct found *l)
{
	for (size_t i = 0; i < l->n; i++)
		auth_session_free(l->v[i]);
}

static int by_server(const void *a, const void *b)
{
	const struct auth_session *x = *(const struct auth_session *const *)a, *y = *(const struct auth_session *const *)b;
	int r = strcmp(x->url.authority, y->url.authority);

	r = r ? r : strcmp(x->url.scheme, y->url.scheme);
	r = r ? r : strcmp(x->url.prefix, y->url.prefix);
	return r ? r : strcmp(x->user, y->user);
}

/* All that can be read, in order; none where there is no folder. */
static void read_all(struct found *out, const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	out->n = 0;
	while (d && (e = readdir(d)) && out->n < LOGINS_MAX) {
		char id[ID_LEN + 1];
		struct auth_session *s;

		if (strlen(e->d_name) != ID_LEN + 5 || strcmp(e->d_name + ID_LEN, ".json") != 0)
			continue;
		memcpy(id, e->d_name, ID_LEN);
		id[ID_LEN] = '\0';
		s = load_session(dir, id);
		if (s)
			out->v[out->n++] = s;
	}
	if (d)
		closedir(d);
	qsort(out->v, out->n, sizeof(*out->v), by_server);
}

int logins_each(void (*fn)(const struct auth_session *s, enum login_key where, bool has_key, void *arg), void *arg,
		struct failure *f)
{
	_cleanup_free_ char *dir = logins_folder(f);
	_cleanup_free_ struct found *all = calloc(1, sizeof(*all));

	if (!dir)
		return (int)f->exit;
	if (!all)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	read_all(all, dir);
	for (size_t i = 0; i < all->n; i++) {
		enum login_key where;
		struct secret *key = load_key(dir, all->v[i], &where);

		fn(all->v[i], where, key != NULL, arg);
		secret_free(key);
	}
	found_done(all);
	return EXIT_DONE;
}

void logins_tidy(void)
{
	struct failure ignored;
	_cleanup_free_ char *dir = logins_folder(&ignored);
	_cleanup_free_ struct found *all = calloc(1, sizeof(*all));

	if (!dir || !all)
		return;
	read_all(all, dir);
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i]->expires_s + TIDY_AFTER_S < clock_wall_s())
			logins_forget(all->v[i]);
	found_done(all);
}

static bool matches(const struct auth_session *s, const struct auth_url *url, const char *user)
{
	return strcmp(s->url.scheme, url->scheme) == 0 && strcmp(s->url.authority, url->authority) == 0 &&
	       (!*url->prefix || strcmp(s->url.prefix, url->prefix) == 0) && (!user || strcmp(s->user, user) == 0);
}

static int none_found(const struct auth_url *url, const char *user, struct failure *f)
{
	char origin[AUTH_ORIGIN_SPACE], hint[640];

	auth_url_origin(origin, url);
	snprintf(hint, sizeof(hint), "Log in: “handfast auth login %s%s%s%s”.", origin, url->prefix, user ? " " : "",
		 user ? user : "");
	return failure_set(f, EXIT_NO_SUCH, ERROR_NOT_LOGGED_IN, hint, "%s is%s logged in at %s%s", user ? user : "nobody",
			   user ? " not" : "", origin, url->prefix);
}

/* One of those here, with its key where there is one: that has not expired, or, where all have, that has. */
int logins_look(struct auth_session **out, const struct auth_url *url, const char *user, struct failure *f)
{
	_cleanup_free_ char *dir = logins_folder(f);
	_cleanup_free_ struct found *all = calloc(1, sizeof(*all));
	_cleanup_(auth_session_freep) struct auth_session *one = NULL;
	enum login_key where;
	size_t n = 0;

	if (!dir)
		return (int)f->exit;
	if (!all)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	read_all(all, dir);
	for (int expired = 0; expired < 2 && n == 0; expired++) {
		for (size_t i = 0; i < all->n; i++) {
			if (!all->v[i] || login_is_expired(all->v[i]) != (expired == 1) || !matches(all->v[i], url, user))
				continue;
			n++;
			if (!one)
				one = steal(&all->v[i]);
		}
	}
	found_done(all);
	if (n > 1)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, "“handfast auth status” lists them; name the user.",
				   "%zu users %s at %s", n, login_is_expired(one) ? "were logged in" : "are logged in",
				   url->authority);
	if (!one)
		return none_found(url, user, f);
	one->key = load_key(dir, one, &where);
	*out = steal(&one);
	return EXIT_DONE;
}

int logins_find(struct auth_session **out, const struct auth_url *url, const char *user, struct failure *f)
{
	_cleanup_(auth_session_freep) struct auth_session *one = NULL;
	int r = logins_look(&one, url, user, f);
	char at[512], hint[640];

	if (r || !one)
		return r;
	if (one->key && !login_is_expired(one)) {
		*out = steal(&one);
		return EXIT_DONE;
	}
	snprintf(at, sizeof(at), "%s://%s%s", one->url.scheme, one->url.authority, one->url.prefix);
	snprintf(hint, sizeof(hint), "Log in again: “handfast auth login %s %s”.", at, one->user);
	if (login_is_expired(one))
		return failure_set(f, EXIT_NO_SUCH, ERROR_NOT_LOGGED_IN, hint, "the login of %s at %s has expired", one->user, at);
	return failure_set(f, EXIT_NO_SUCH, ERROR_NOT_LOGGED_IN, hint,
			   "the key of the login of %s at %s is gone: it is in the kernel's keyring, and ends with a restart of "
			   "this machine",
			   one->user, at);
}
