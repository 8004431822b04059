/* One JSON file a tunnel, written beside and renamed over. */
#include "pskd/tunnel/store.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "pskd/keys/twins.h"

#define SUFFIX ".json"

int tunnel_store_init(struct tunnel_store *s, const char *state_dir)
{
	_cleanup_free_ char *restored = path_join(state_dir, STORE_RESTORED);
	int r;

	s->tunnels_dir = path_join(state_dir, "tunnels");
	s->ledgers_dir = path_join(state_dir, "ledgers");
	if (!s->tunnels_dir || !s->ledgers_dir || !restored)
		return -ENOMEM;
	s->restored = access(restored, F_OK) == 0;
	if (!s->restored && errno != ENOENT)
		return -errno;
	r = file_mkdirs(s->tunnels_dir, 0700);
	if (!r)
		r = file_mkdirs(s->ledgers_dir, 0700);
	return r ? r : twins_new(&s->twins, s->ledgers_dir);
}

void tunnel_store_done(struct tunnel_store *s)
{
	free(s->tunnels_dir);
	free(s->ledgers_dir);
	s->twins = twins_unref(s->twins);
	s->tunnels_dir = NULL;
	s->ledgers_dir = NULL;
}

static char *file_path(const struct tunnel_store *s, const char *name)
{
	char file[SPEC_NAME_MAX + sizeof(SUFFIX)];

	snprintf(file, sizeof(file), "%.*s" SUFFIX, SPEC_NAME_MAX, name);
	return path_join(s->tunnels_dir, file);
}

int tunnel_store_save(const struct tunnel_store *s, const struct spec *spec)
{
	_cleanup_free_ char *path = file_path(s, spec->name);
	_cleanup_json_ json_t *j = spec_to_json(spec);
	_cleanup_free_ char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;

	if (!path || !text)
		return -ENOMEM;
	/* What is written can be read again. */
	if (strlen(text) > SPEC_STATE_MAX)
		return -EFBIG;
	return file_write_atomic(path, text, strlen(text), 0600);
}

int tunnel_store_remove(const struct tunnel_store *s, const char *name)
{
	_cleanup_free_ char *path = file_path(s, name);

	if (!path)
		return -ENOMEM;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	return file_sync_parent(path);
}

static int load(const struct tunnel_store *s, const char *name, struct spec **out)
{
	_cleanup_free_ char *path = file_path(s, name), *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	size_t len;
	int r;

	if (!path)
		return -ENOMEM;
	r = file_read(&text, &len, path, SPEC_STATE_MAX);
	if (!r)
		r = json_parse(&j, text, len, &spec_state_limits);
	if (r)
		return r < 0 ? r : -EBADMSG;
	return spec_from_json(out, name, j);
}

int tunnel_store_each(const struct tunnel_store *s, void (*fn)(struct spec **spec, void *arg),
		      void (*on_bad)(const char *path, int r, void *arg), void *arg)
{
	DIR *d = opendir(s->tunnels_dir);
	const struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		_cleanup_(spec_freep) struct spec *spec = NULL;
		char name[SPEC_NAME_MAX + sizeof(SUFFIX)];
		size_t len = strlen(e->d_name);
		int r;

		if (len <= strlen(SUFFIX) || len >= sizeof(name) ||
		    strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX) != 0)
			continue;
		memcpy(name, e->d_name, len - strlen(SUFFIX));
		name[len - strlen(SUFFIX)] = '\0';
		if (!text_is_name(name))
			continue;
		r = load(s, name, &spec);
		if (r)
			on_bad(e->d_name, r, arg);
		else
			fn(&spec, arg);
	}
	closedir(d);
	return 0;
}

static int check_file(const struct tunnel_store *s, const char *file, char *why, size_t cap)
{
	_cleanup_free_ char *path = path_join(s->tunnels_dir, file), *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	int64_t version;
	size_t len;

	/* What cannot be read is told when it is to be used. */
	if (!path || file_read(&text, &len, path, SPEC_STATE_MAX) || json_parse(&j, text, len, &spec_state_limits))
		return 0;
	version = json_get_int(j, "version", 0);
	if (version <= SPEC_VERSION)
		return 0;
	snprintf(why, cap,
		 "%s was written by a newer handfast (version %lld, this one knows up to %d): install that version "
		 "again, or move the state folder away and restore a backup; nothing was changed",
		 path, (long long)version, SPEC_VERSION);
	return 1;
}

int tunnel_store_check(const struct tunnel_store *s, char *why, size_t cap)
{
	DIR *d = opendir(s->tunnels_dir);
	const struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	while (!r && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len > strlen(SUFFIX) && strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX) == 0)
			r = check_file(s, e->d_name, why, cap);
	}
	closedir(d);
	return r;
}

char *tunnel_store_ledger_path(const struct tunnel_store *s, const char *ledger)
{
	return path_join(s->ledgers_dir, ledger);
}
