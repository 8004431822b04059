/* Tunnels that files declare: all are read and checked before anything changes. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "pskd/tunnel/tunnels_internal.h"

#define YAML ".yaml"

struct declared {
	struct spec *v[1024];
	size_t n;
};

static void declared_done(struct declared *d)
{
	for (size_t i = 0; i < d->n; i++)
		spec_free(d->v[i]);
}

static int is_declaration(const char *file, char name[static SPEC_NAME_MAX + 1])
{
	size_t len = strlen(file);

	if (len <= strlen(YAML) || strcmp(file + len - strlen(YAML), YAML) != 0 || file[0] == '.')
		return 0;
	len -= strlen(YAML);
	if (len > SPEC_NAME_MAX)
		return -EINVAL;
	memcpy(name, file, len);
	name[len] = '\0';
	return text_is_name(name) ? 1 : -EINVAL;
}

/* What somebody takes for a declaration, and would wait for. */
static bool has_other_ending(const char *file)
{
	const char *dot = strrchr(file, '.');

	return dot && dot != file && file[0] != '.' && (strcasecmp(dot, ".yml") == 0 || (strcasecmp(dot, YAML) == 0 && strcmp(dot, YAML) != 0));
}

static int read_one(struct declared *d, const char *dir, const char *file, struct config_error *err)
{
	_cleanup_free_ char *path = path_join(dir, file);
	char name[SPEC_NAME_MAX + 1];
	int r = is_declaration(file, name);

	if (!path)
		return -ENOMEM;
	if (has_other_ending(file)) {
		snprintf(err->text, sizeof(err->text), "%s: it would be read if it ended with .yaml", path);
		return -EINVAL;
	}
	if (r < 0) {
		snprintf(err->text, sizeof(err->text),
			 "%s: a tunnel's name has 1 to 32 of a-z A-Z 0-9 . _ - and begins with a letter or digit",
			 path);
		return r;
	}
	if (r == 0)
		return 0;
	if (d->n == ARRAY_SIZE(d->v)) {
		snprintf(err->text, sizeof(err->text), "%s: too many tunnels", dir);
		return -EINVAL;
	}
	r = spec_load(&d->v[d->n], path, name, err);
	if (r)
		return r;
	d->n++;
	return 0;
}

/* Of two that come up by themselves, the kernel would give the packets to one. */
static int check_routes(const struct declared *d, const char *dir, struct config_error *err)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < d->n; i++)
		for (size_t j = 0; j < i; j++) {
			const struct spec *a = d->v[j], *b = d->v[i];
			const struct prefix *same = a->enabled && b->enabled ? networks_common(&a->routes, &b->routes) : NULL;

			if (!same)
				continue;
			prefix_format(text, same);
			snprintf(err->text, sizeof(err->text), "%s/%s.yaml: tunnel %s has the route %s, too", dir, b->name,
				 a->name, text);
			return -EINVAL;
		}
	return 0;
}

/* ---- one key file, two tunnels ---- */

struct key_file {
	bool is_there;
	dev_t dev;
	ino_t ino;
};

/* Of each, what is there now; NULL without memory. */
static struct key_file *find_key_files(const struct declared *d)
{
	struct key_file *files = calloc(d->n + 1, sizeof(*files));
	struct stat st;

	for (size_t i = 0; i < d->n && files; i++)
		if (stat(d->v[i]->f.key_file, &st) == 0)
			files[i] = (struct key_file){ .is_there = true, .dev = st.st_dev, .ino = st.st_ino };
	return files;
}

static bool is_same_file(const struct declared *d, const struct key_file *files, size_t i, size_t j)
{
	if (strcmp(d->v[i]->f.key_file, d->v[j]->f.key_file) == 0)
		return true;
	return files[i].is_there && files[j].is_there && files[i].dev == files[j].dev && files[i].ino == files[j].ino;
}

static char *complain(const struct spec *s, const struct spec *other, const char *dir)
{
	char *text = NULL;

	if (asprintf(&text, "%s/%s.yaml: its key_file is that of %s/%s.yaml, too: %s", dir, s->name, dir, other->name,
		     other->f.key_file) < 0)
		return NULL;
	return text;
}

/*
 * A copy is found when it is read; another name of the same file is found here. Of two, the one that has used it,
 * or else the first by name, goes on, and the other has a complaint. How many have one, or -ENOMEM.
 */
static int mark_twins(struct declared *d, const char *dir)
{
	_cleanup_free_ struct key_file *files = find_key_files(d);
	int n = 0;

	if (!files)
		return -ENOMEM;
	for (size_t i = 0; i < d->n; i++)
		for (size_t j = 0; j < i; j++) {
			struct spec *first = d->v[j], *second = d->v[i], *spare = second;

			if (first->complaint || second->complaint || !is_same_file(d, files, i, j))
				continue;
			if (second->ledger[0] && !first->ledger[0])
				spare = first;
			spare->complaint = complain(spare, spare == first ? second : first, dir);
			if (!spare->complaint)
				return -ENOMEM;
			n++;
		}
	return n;
}

static int check_twins(struct declared *d, const char *dir, struct config_error *err)
{
	int n = mark_twins(d, dir);

	for (size_t i = 0; i < d->n && n > 0; i++)
		if (d->v[i]->complaint) {
			snprintf(err->text, sizeof(err->text), "%s", d->v[i]->complaint);
			return -EINVAL;
		}
	return n < 0 ? n : 0;
}

/* ---- the folder ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct spec *const *)a)->name, (*(struct spec *const *)b)->name);
}

static int read_dir(struct declared *d, const char *dir, struct config_error *err)
{
	DIR *list = opendir(dir);
	const struct dirent *e;
	int r = 0;

	if (!list && errno == ENOENT)
		return 0;
	if (!list) {
		snprintf(err->text, sizeof(err->text), "%s: %s", dir, strerror(errno));
		return -errno;
	}
	while (!r && (e = readdir(list)))
		r = read_one(d, dir, e->d_name, err);
	closedir(list);
	qsort(d->v, d->n, sizeof(d->v[0]), by_name);
	return r ? r : check_routes(d, dir, err);
}

int tunnels_check_dir(const char *dir, struct config_error *err)
{
	struct declared *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	r = read_dir(d, dir, err);
	if (!r)
		r = check_twins(d, dir, err);
	declared_done(d);
	free(d);
	return r;
}

static struct spec **find_declared(struct declared *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i] && strcmp(d->v[i]->name, name) == 0)
			return &d->v[i];
	return NULL;
}

/* What state remembers of a declared tunnel. */
static void on_stored_declared(struct spec **stored, void *arg)
{
	struct declared *d = arg;

	if ((*stored)->origin == SPEC_DECLARED && !find_declared(d, (*stored)->name))
		tunnels_tell_left(*stored, "the tunnel is declared no more; it is erased when it is again, or by hand");
	for (size_t i = 0; i < d->n; i++) {
		struct spec *s = d->v[i];

		if ((*stored)->origin != SPEC_DECLARED || strcmp(s->name, (*stored)->name) != 0)
			continue;
		if (spec_take_generations(s, *stored) != 0)
			continue;
		/* Another key file gets another ledger; the old one stays and remembers. */
		if ((*stored)->ledger_for && strcmp((*stored)->ledger_for, s->f.key_file) == 0) {
			memcpy(s->ledger, (*stored)->ledger, sizeof(s->ledger));
			s->fingerprint = (*stored)->fingerprint;
			s->fuel = (*stored)->fuel;
		}
		memcpy(s->last_endpoint, (*stored)->last_endpoint, sizeof(s->last_endpoint));
		memcpy(s->last_identity, (*stored)->last_identity, sizeof(s->last_identity));
		if (spec_set_revoked(s, &(*stored)->revoked) != 0)
			continue;
		if ((*stored)->has_enabled)
			s->enabled = (*stored)->enabled;
	}
}

/* Told at the start already. */
static void on_bad_again(const char *path, int r, void *arg)
{
	(void)path;
	(void)r;
	(void)arg;
}

static int check_declared(struct tunnels *s, const struct declared *d, const char *dir,
			  struct config_error *err)
{
	size_t others = 0;

	list_for_each (it, &s->list)
		if (tunnel_spec(tunnel_of_node(it))->origin != SPEC_DECLARED)
			others++;
	if (d->n + others > s->max_tunnels) {
		snprintf(err->text, sizeof(err->text), "%s: more than max_tunnels (%llu) tunnels", dir,
			 (unsigned long long)s->max_tunnels);
		return -EINVAL;
	}
	for (size_t i = 0; i < d->n; i++) {
		struct tunnel *t = tunnels_find_exact(s, d->v[i]->name);

		if (t && tunnel_spec(t)->origin != SPEC_DECLARED) {
			snprintf(err->text, sizeof(err->text),
				 "%s/%s.yaml: there is a tunnel of this name that was made by command or pairing",
				 dir, d->v[i]->name);
			return -EINVAL;
		}
	}
	return 0;
}

/* From here on nothing fails but memory. */
static void apply(struct tunnels *s, struct declared *d)
{
	list_for_each (it, &s->list) {
		struct tunnel *t = tunnel_of_node(it);
		struct spec **next = find_declared(d, tunnel_spec(t)->name);

		if (tunnel_spec(t)->origin != SPEC_DECLARED)
			continue;
		/* State says otherwise only for want of a disk. */
		if (next && tunnel_spec(t)->unsaved) {
			(*next)->enabled = false;
			(*next)->unsaved = true;
		}
		if (next && spec_same(tunnel_spec(t), *next) && tunnel_spec(t)->enabled == (*next)->enabled &&
		    !tunnel_spec(t)->complaint == !(*next)->complaint)
			*next = spec_free(*next);
		else if (next)
			tunnels_replace(s, t);
		else
			tunnels_drop(s, t);
	}
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i])
			tunnels_add_spec(s, &d->v[i], NULL);
}

int tunnels_declare(struct tunnels *s, const char *dir, bool at_start, struct config_error *err)
{
	struct declared *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	r = read_dir(d, dir, err);
	if (!r)
		r = check_declared(s, d, dir, err);
	if (!r && !at_start)
		r = check_twins(d, dir, err);
	if (!r) {
		tunnel_store_each(&s->store, on_stored_declared, on_bad_again, d);
		/* What runs would not go on: each that can begins. */
		if (at_start)
			(void)mark_twins(d, dir);
		apply(s, d);
	}
	declared_done(d);
	free(d);
	return r;
}
