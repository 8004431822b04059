/* Names are tunnels' names with a prefix; the list here is what the earlier life left and nobody took yet. */
#include "pskd/tunnel/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "pskd/tunnel/spec.h"
#include "service/fds.h"

#define NAME_MAX_ (sizeof("tun.") + SPEC_NAME_MAX)

static const char *const prefixes[] = { "tun.", "udp." };

/* For a manager that is slow, or does not know what it is asked. */
#define PATIENCE_MS 5000

struct left {
	struct list node;
	char name[NAME_MAX_]; /* with its prefix */
	int fd;
};

struct kept {
	struct list left;
	bool leaving;
	bool dropped;	   /* something, since the manager was last asked */
	int barrier;	   /* service_fd_barrier(), or -1 */
	uint64_t asked_ms; /* for it */
};

static void left_free(struct left *l)
{
	list_remove(&l->node);
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}

static bool is_ours(const char *name)
{
	return (strncmp(name, prefixes[0], 4) == 0 || strncmp(name, prefixes[1], 4) == 0) && name[4] &&
	       strlen(name) < NAME_MAX_;
}

int kept_new(struct kept **out, struct service_fds *fds)
{
	_cleanup_(kept_freep) struct kept *k = calloc(1, sizeof(*k));
	const char *name;
	size_t at = 0;

	if (!k)
		return -ENOMEM;
	list_init(&k->left);
	k->barrier = -1;
	while ((name = service_fds_name(fds, at))) {
		struct left *l;

		if (!is_ours(name)) {
			at++;
			continue;
		}
		l = calloc(1, sizeof(*l));
		if (!l)
			return -ENOMEM;
		snprintf(l->name, sizeof(l->name), "%s", name);
		l->fd = service_fds_take(fds, l->name);
		list_append(&k->left, &l->node);
	}
	*out = steal(&k);
	return 0;
}

struct kept *kept_free(struct kept *k)
{
	if (!k)
		return NULL;
	list_for_each (it, &k->left)
		left_free(container_of(it, struct left, node));
	if (k->barrier >= 0)
		close(k->barrier);
	free(k);
	return NULL;
}

static void make_name(char out[static NAME_MAX_], const char *prefix, const char *tunnel)
{
	snprintf(out, NAME_MAX_, "%s%.32s", prefix, tunnel);
}

static struct left *find(struct kept *k, const char *name)
{
	list_for_each (it, &k->left) {
		struct left *l = container_of(it, struct left, node);

		if (strcmp(l->name, name) == 0)
			return l;
	}
	return NULL;
}

static int take(struct kept *k, const char *prefix, const char *tunnel)
{
	char name[NAME_MAX_];
	struct left *l;
	int fd;

	make_name(name, prefix, tunnel);
	l = k ? find(k, name) : NULL;
	if (!l)
		return -1;
	fd = steal_fd(&l->fd);
	left_free(l);
	return fd;
}

int kept_take_tun(struct kept *k, const char *tunnel)
{
	return take(k, prefixes[0], tunnel);
}

int kept_take_udp(struct kept *k, const char *tunnel)
{
	return take(k, prefixes[1], tunnel);
}

static void store(struct kept *k, const char *prefix, const char *tunnel, int fd)
{
	/* A device that was deleted may be let go of; a socket may be told of an error and still be good. */
	bool watch = prefix == prefixes[0];
	char name[NAME_MAX_];
	int r;

	if (!k)
		return;
	make_name(name, prefix, tunnel);
	r = service_fd_store(name, fd, watch);
	if (r)
		log_debug("%s is not kept: %s", name, strerror(-r));
}

void kept_store_tun(struct kept *k, const char *tunnel, int fd)
{
	store(k, prefixes[0], tunnel, fd);
}

void kept_store_udp(struct kept *k, const char *tunnel, int fd)
{
	store(k, prefixes[1], tunnel, fd);
}

static void unstore(struct kept *k, const char *name)
{
	(void)service_fd_unstore(name);
	k->dropped = true;
}

static void drop(struct kept *k, const char *prefix, const char *tunnel)
{
	char name[NAME_MAX_];
	struct left *l;

	if (!k || k->leaving)
		return;
	make_name(name, prefix, tunnel);
	while ((l = find(k, name)))
		left_free(l);
	unstore(k, name);
}

void kept_drop_tun(struct kept *k, const char *tunnel)
{
	drop(k, prefixes[0], tunnel);
}

void kept_drop_udp(struct kept *k, const char *tunnel)
{
	drop(k, prefixes[1], tunnel);
}

void kept_drop(struct kept *k, const char *tunnel)
{
	kept_drop_tun(k, tunnel);
	kept_drop_udp(k, tunnel);
}

/* Put *fd where the next one takes it; without memory it is only closed. */
static void leave(struct kept *k, const char *prefix, const char *tunnel, int *fd)
{
	struct left *l = *fd >= 0 ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return;
	make_name(l->name, prefix, tunnel);
	l->fd = steal_fd(fd);
	list_append(&k->left, &l->node);
}

void kept_hand_over(struct kept *k, const char *tunnel, int tun_fd, int udp_fd)
{
	_cleanup_close_ int tun = fcntl(tun_fd, F_DUPFD_CLOEXEC, 3), udp = fcntl(udp_fd, F_DUPFD_CLOEXEC, 3);

	if (!k)
		return;
	leave(k, prefixes[0], tunnel, &tun);
	leave(k, prefixes[1], tunnel, &udp);
}

void kept_rename(struct kept *k, const char *from, const char *to, int tun_fd, int udp_fd)
{
	_cleanup_close_ int left_tun = -1, left_udp = -1;

	if (!k)
		return;
	left_tun = kept_take_tun(k, from);
	left_udp = kept_take_udp(k, from);
	/* The manager keeps a descriptor under one name only. */
	kept_drop(k, from);
	if (tun_fd >= 0 && udp_fd >= 0) {
		kept_store_tun(k, to, tun_fd);
		kept_store_udp(k, to, udp_fd);
		return;
	}
	if (left_tun >= 0)
		kept_store_tun(k, to, left_tun);
	if (left_udp >= 0)
		kept_store_udp(k, to, left_udp);
	leave(k, prefixes[0], to, &left_tun);
	leave(k, prefixes[1], to, &left_udp);
}

void kept_prune(struct kept *k, bool (*is_wanted)(const char *tunnel, void *arg), void *arg)
{
	list_for_each (it, &k->left) {
		struct left *l = container_of(it, struct left, node);

		if (is_wanted(l->name + 4, arg))
			continue;
		log_event(LOG_NOTICE, &MSG_FD_REFUSED, LOG_FIELDS({ FIELD_FILE, l->name }),
			  "%s was kept for a tunnel that is not to be up; it is closed", l->name);
		unstore(k, l->name);
		left_free(l);
	}
}

bool kept_is_settled(struct kept *k)
{
	struct pollfd at;

	if (!k)
		return true;
	if (k->dropped) {
		if (k->barrier >= 0)
			close(k->barrier);
		k->dropped = false;
		(void)service_fd_barrier(&k->barrier);
		k->asked_ms = clock_now_ms();
	}
	at = (struct pollfd){ .fd = k->barrier };
	if (k->barrier < 0)
		return true;
	if (poll(&at, 1, 0) == 0 && clock_now_ms() - k->asked_ms < PATIENCE_MS)
		return false;
	close(k->barrier);
	k->barrier = -1;
	return true;
}

void kept_leave(struct kept *k)
{
	if (k)
		k->leaving = true;
}
