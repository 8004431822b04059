/* Handing out portable state, and reading it again. The bundle lies in a sealed memfd: nobody can change it on the way. */
#include "service/export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "event/unixsock.h"

enum { CONNECTIONS_MAX = 4, PIPE_CHUNK = 65536 };

struct export {
	int fd;
	uint64_t at;
	int error;
};

struct export_server {
	struct unix_server *server;
	export_fn fn;
	void *arg;
	const char *name;
	char *path;
};

static void put(struct export *e, const void *data, size_t len)
{
	if (e->error)
		return;
	if (len > BUNDLE_MAX - e->at) {
		e->error = -EFBIG;
		return;
	}
	e->error = file_pwrite_all(e->fd, data, len, (off_t)e->at);
	e->at += len;
}

void export_add(struct export *e, const char *name, const void *data, size_t len)
{
	uint8_t prefix[BUNDLE_PREFIX_MAX];

	put(e, prefix, bundle_prefix(prefix, name, len));
	put(e, data, len);
}

int export_make(export_fn fn, void *arg)
{
	static const uint8_t end[BUNDLE_END_LEN];
	_cleanup_close_ int fd = memfd_create("handfast-export", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct export e = { .fd = fd };
	uint8_t head[BUNDLE_HEAD_LEN];
	int r;

	if (fd < 0)
		return -errno;
	bundle_head(head);
	put(&e, head, sizeof(head));
	r = fn(&e, arg);
	put(&e, end, sizeof(end));
	if (r || e.error)
		return r ? r : e.error;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return -errno;
	return steal_fd(&fd);
}

static void answer(struct export_server *s, int fd, uid_t uid)
{
	_cleanup_close_ int state = export_make(s->fn, s->arg);
	char msg[1 + EXPORT_WHY_MAX] = "", who[32];
	size_t len = 1;

	snprintf(who, sizeof(who), "uid %u", (unsigned int)uid);
	if (state < 0) {
		msg[0] = 1;
		snprintf(msg + 1, sizeof(msg) - 1, "%s", strerror(-state));
		len += strlen(msg + 1);
	}
	if (unix_send(fd, msg, len, state >= 0 ? state : -1) != 0)
		return;
	if (state >= 0)
		log_event(LOG_NOTICE, &MSG_STATE_EXPORTED, LOG_FIELDS({ FIELD_CALLER, who }),
			  "the portable state of %s was given to %s", s->name, who);
}

static void on_accept(int fd, const struct unix_caller *caller, void *arg)
{
	struct export_server *s = arg;

	/* The socket's mode says the same; this holds wherever it may be bound. */
	if (caller->uid == 0 || caller->uid == geteuid())
		answer(s, fd, caller->uid);
	close(fd);
	unix_server_conn_closed(s->server);
}

int export_server_new(struct export_server **out, struct loop *loop, const char *runtime_dir, int passed,
		      const char *name, export_fn fn, void *arg)
{
	_cleanup_close_ int fd = passed;
	_cleanup_(export_server_freep) struct export_server *s = calloc(1, sizeof(*s));
	char file[64];
	int r;

	if (!s)
		return -ENOMEM;
	snprintf(file, sizeof(file), "%s.export", name);
	s->fn = fn;
	s->arg = arg;
	s->name = name;
	if (fd < 0) {
		s->path = path_join(runtime_dir, file);
		if (!s->path)
			return -ENOMEM;
		fd = unix_listen(s->path, SOCK_SEQPACKET, 0600, NULL, false);
		if (fd < 0)
			return fd;
	}
	r = unix_server_new(&s->server, loop, steal_fd(&fd), CONNECTIONS_MAX, on_accept, s);
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

struct export_server *export_server_free(struct export_server *s)
{
	if (!s)
		return NULL;
	if (s->server && s->path)
		unlink(s->path);
	unix_server_free(s->server);
	free(s->path);
	free(s);
	return NULL;
}

int state_lock(const char *dir, bool alone)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* ---- reading ---- */

static int read_all(struct pages *out, int fd)
{
	uint8_t chunk[PIPE_CHUNK];
	int r = 0;

	while (!r) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : 0;
			break;
		}
		r = out->len + (size_t)n > BUNDLE_MAX ? -EFBIG : pages_add(out, chunk, (size_t)n);
	}
	wipe(chunk, sizeof(chunk));
	return r;
}

int import_read(struct pages *out, int fd, char *why, size_t cap)
{
	struct pages b;
	uint32_t version = 0;
	int r;

	if (pages_init(&b, 1 << 20))
		return text_explain(why, cap, -1, "no memory");
	r = read_all(&b, fd);
	if (r) {
		text_say(why, cap, "cannot read the state to be imported: %s", strerror(-r));
	} else {
		r = bundle_check(b.p, b.len, &version);
		if (r == BUNDLE_E_NEWER)
			text_say(why, cap,
				 "the state to be imported is of a newer handfast (format %u, this one knows %u): "
				 "install that version first",
				 version, BUNDLE_VERSION);
		else if (r)
			text_say(why, cap, "the state to be imported is damaged");
	}
	if (r) {
		pages_done(&b);
		return -1;
	}
	*out = b;
	return 0;
}
