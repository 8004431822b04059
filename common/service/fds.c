/* Descriptors from the manager, and to it; sd_listen_fds(3), sd_pid_notify_with_fds(3). */
#include "service/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <systemd/sd-daemon.h>

struct passed {
	char *name;
	int fd;
};

struct service_fds {
	size_t n;
	struct passed v[];
};

static int prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	/* They come blocking: accept() would hang when the client is gone already. */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

int service_fds_new(struct service_fds **out)
{
	_cleanup_(service_fds_freep) struct service_fds *f = NULL;
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);
	int r = 0;

	*out = NULL;
	if (n < 0)
		return n;
	f = calloc(1, sizeof(*f) + (size_t)n * sizeof(f->v[0]));
	for (int i = 0; i < n; i++) {
		if (!f) {
			free(names[i]);
			continue;
		}
		f->v[f->n++] = (struct passed){ names[i], SD_LISTEN_FDS_START + i };
		if (!r)
			r = prepare(SD_LISTEN_FDS_START + i);
	}
	free(names);
	if (!f)
		return -ENOMEM;
	if (r)
		return r;
	*out = steal(&f);
	return 0;
}

struct service_fds *service_fds_free(struct service_fds *f)
{
	if (!f)
		return NULL;
	for (size_t i = 0; i < f->n; i++) {
		close(f->v[i].fd);
		free(f->v[i].name);
	}
	free(f);
	return NULL;
}

int service_fds_take(struct service_fds *f, const char *name)
{
	for (size_t i = 0; f && i < f->n; i++)
		if (strcmp(f->v[i].name, name) == 0) {
			int fd = f->v[i].fd;

			free(f->v[i].name);
			f->n--;
			memmove(&f->v[i], &f->v[i + 1], (f->n - i) * sizeof(f->v[0]));
			return fd;
		}
	return -ENOENT;
}

const char *service_fds_name(const struct service_fds *f, size_t at)
{
	return f && at < f->n ? f->v[at].name : NULL;
}

bool service_fd_is_listening(int fd, int family, int type)
{
	return sd_is_socket(fd, family, type, 1) > 0;
}

static bool is_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > SERVICE_FD_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':')
			return false;
	return true;
}

int service_fd_store(const char *name, int fd, bool watch)
{
	char state[SERVICE_FD_NAME_MAX + 64];
	int r;

	if (!is_name(name))
		return -EINVAL;
	snprintf(state, sizeof(state), "FDSTORE=1\nFDNAME=%s%s", name, watch ? "" : "\nFDPOLL=0");
	r = sd_pid_notify_with_fds(0, 0, state, &fd, 1);
	return r < 0 ? r : 0;
}

int service_fd_unstore(const char *name)
{
	int r;

	if (!is_name(name))
		return -EINVAL;
	r = sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return r < 0 ? r : 0;
}

int service_fd_barrier(int *fd)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	int ends[2], r;

	*fd = -1;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	ours = ends[0];
	theirs = ends[1];
	r = sd_pid_notify_with_fds(0, 0, "BARRIER=1", &theirs, 1);
	if (r > 0)
		*fd = steal_fd(&ours);
	return r < 0 ? r : 0;
}
