/*
 * inotify(7) queues an event before the call that caused it returns, so what is read here before a question is all
 * that happened before it. A file that is written is told of when the writer closes it: what we write to an open
 * ledger does not change what it is of.
 */
#include "pskd/keys/twins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pskd/keys/ledger.h"

#define CHANGES (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE)
#define GONE (IN_Q_OVERFLOW | IN_IGNORED | IN_UNMOUNT)

/* A whole ledger. */
struct known {
	char *name;
	uint8_t fingerprint[32];
};

struct twins {
	_Atomic unsigned int refs;
	char *dir;
	pthread_mutex_t lock; /* guards what follows */
	int dir_fd, changes;  /* -1: not looked at, or its changes are not told */
	struct known *v;
	size_t n, cap;
};

int twins_new(struct twins **out, const char *dir)
{
	struct twins *t = calloc(1, sizeof(*t));

	if (t)
		t->dir = strdup(dir);
	if (!t || !t->dir) {
		free(t);
		return -ENOMEM;
	}
	t->refs = 1;
	t->dir_fd = t->changes = -1;
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;
}

struct twins *twins_ref(struct twins *t)
{
	if (t)
		t->refs++;
	return t;
}

static void forget_all(struct twins *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i].name);
	t->n = 0;
	closep(&t->dir_fd);
	closep(&t->changes);
}

struct twins *twins_unref(struct twins *t)
{
	if (!t || --t->refs > 0)
		return NULL;
	forget_all(t);
	pthread_mutex_destroy(&t->lock);
	free(t->v);
	free(t->dir);
	free(t);
	return NULL;
}

static void forget(struct twins *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->v[i].name, name) == 0) {
			free(t->v[i].name);
			t->v[i] = t->v[--t->n];
			return;
		}
}

static int make_room(struct twins *t)
{
	size_t cap = t->cap ? 2 * t->cap : 64;
	struct known *v;

	if (t->n < t->cap)
		return 0;
	v = realloc(t->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	t->v = v;
	t->cap = cap;
	return 0;
}

/* What is no whole ledger, or is gone again, has no twin. What cannot be read now may be one. */
static int learn(struct twins *t, const char *name)
{
	struct known k;
	struct stat st;
	int r = ledger_material(t->dir_fd, name, &st, k.fingerprint);

	if (r)
		return r == -ENOENT || r > 0 ? 0 : r;
	r = make_room(t);
	k.name = r ? NULL : strdup(name);
	if (!k.name)
		return -ENOMEM;
	t->v[t->n++] = k;
	return 0;
}

static int learn_all(struct twins *t)
{
	struct dirent *e;
	int r = 0, copy;
	DIR *d;

	t->dir_fd = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t->changes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	/* First, so that nothing happens between reading and hearing. */
	if (t->dir_fd < 0 || t->changes < 0 || inotify_add_watch(t->changes, t->dir, CHANGES | IN_ONLYDIR) < 0)
		return -errno;
	copy = fcntl(t->dir_fd, F_DUPFD_CLOEXEC, 0);
	d = copy < 0 ? NULL : fdopendir(copy);
	if (!d) {
		r = -errno;
		closep(&copy);
		return r;
	}
	while (!r && (e = readdir(d)))
		r = learn(t, e->d_name);
	closedir(d);
	return r;
}

/* 1: something was missed. */
static int take(struct twins *t, const struct inotify_event *e)
{
	if (e->mask & GONE)
		return 1;
	if (e->len == 0)
		return 0;
	forget(t, e->name);
	return e->mask & (IN_DELETE | IN_MOVED_FROM) ? 0 : learn(t, e->name);
}

/* 0; 1: something was missed; or a negative errno. */
static int take_changes(struct twins *t)
{
	_Alignas(struct inotify_event) uint8_t buf[8192];
	int r = 0;

	while (!r) {
		ssize_t n = read(t->changes, buf, sizeof(buf)), at = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		while (!r && at < n) {
			const struct inotify_event *e = (const void *)(buf + at);

			r = take(t, e);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	return r;
}

/* The folder that is watched may have been moved away, and another be in its place. */
static bool is_same_folder(const struct twins *t)
{
	struct stat held, named;

	return fstat(t->dir_fd, &held) == 0 && stat(t->dir, &named) == 0 && held.st_ino == named.st_ino &&
	       held.st_dev == named.st_dev;
}

static int look(struct twins *t)
{
	int r = t->changes < 0 || !is_same_folder(t) ? 1 : take_changes(t);

	if (r) {
		forget_all(t);
		r = learn_all(t);
	}
	if (r)
		forget_all(t);
	return r;
}

/* What is known names it; the file itself decides. */
static bool is_twin(const struct twins *t, const struct known *k, const struct stat *own, const uint8_t fingerprint[static 32])
{
	uint8_t found[32];
	struct stat st;

	return memcmp(k->fingerprint, fingerprint, sizeof(found)) == 0 &&
	       ledger_material(t->dir_fd, k->name, &st, found) == 0 &&
	       (!own || st.st_dev != own->st_dev || st.st_ino != own->st_ino) &&
	       memcmp(found, fingerprint, sizeof(found)) == 0;
}

int twins_find(struct twins *t, const char *own, const uint8_t fingerprint[static 32], char *name, size_t name_cap)
{
	struct stat st;
	bool has_own = own && stat(own, &st) == 0;
	int r;

	pthread_mutex_lock(&t->lock);
	r = look(t);
	for (size_t i = 0; !r && i < t->n; i++)
		if (is_twin(t, &t->v[i], has_own ? &st : NULL, fingerprint)) {
			snprintf(name, name_cap, "%s", t->v[i].name);
			r = 1;
		}
	pthread_mutex_unlock(&t->lock);
	return r < 0 ? ledger_find_twin(t->dir, own, fingerprint, name, name_cap) : r;
}
