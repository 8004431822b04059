/*
 * How what an import committed gets its place, now or at the next start.
 */
#include "pskd/portable/portable_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "pskd/keys/keys.h"
#include "pskd/tunnel/spec.h"
#include "pskd/tunnel/store.h"

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* All of it, also what a stop in the middle of a write left. 0, also when it is not there, or a negative errno. */
int portable_remove_tree(const char *dir)
{
	int r = nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);

	if (r == -1 && errno == ENOENT)
		return 0;
	return r == -1 ? -errno : r;
}

static int move_all(const char *from, const char *to, const char *suffix)
{
	_cleanup_(portable_names_done) struct portable_names l = { 0 };
	int r = portable_names_read(&l, from, suffix);

	for (size_t i = 0; !r && i < l.n; i++) {
		_cleanup_free_ char *a = path_join(from, l.v[i]), *b = path_join(to, l.v[i]);

		if (!a || !b)
			r = -ENOMEM;
		else if (rename(a, b) < 0)
			r = -errno;
	}
	return r;
}

int portable_sync_dir(const char *dir)
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
	int r = list ? file_read(&text, &len, list, SPEC_STATE_MAX * 16) : -ENOMEM;

	if (r)
		return r == -ENOENT ? 0 : r;
	for (line = strtok_r(text, "\n", &rest); !r && line; line = strtok_r(NULL, "\n", &rest)) {
		_cleanup_free_ char *path = path_join(state_dir, line);

		if (!path)
			r = -ENOMEM;
		else if (portable_ends_with(line, LEDGER))
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
	return portable_sync_dir(state_dir);
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
	(void)portable_remove_tree(stage);
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
		r = portable_sync_dir(ledgers);
	if (!r)
		r = move_all(from_tunnels, tunnels, JSON);
	if (!r)
		r = portable_sync_dir(tunnels);
	if (r)
		return r;
	/* Everything has its place: what cannot be removed is in nobody's way but the next import's, which says so. */
	r = portable_remove_tree(from);
	if (r)
		log_debug("%s cannot be removed: %s", from, strerror(-r));
	return 0;
}
