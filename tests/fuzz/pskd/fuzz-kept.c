/*
 * Descriptors that the manager hands over under any names, as $LISTEN_FDNAMES has them, and tunnels that ask for
 * theirs: each is given out once or closed, and none is left.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"
#include "pskd/tunnel/kept.h"
#include "service/fds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FDS = 8 };

static const uint8_t *input;
static size_t input_len;
static int own = -1;

/* The manager's side: names ended by ':', descriptors from SD_LISTEN_FDS_START on. */
int sd_listen_fds_with_names(int unset, char ***names)
{
	char **v = calloc(FDS + 1, sizeof(*v));
	int n = 0;

	assert(unset && v);
	while (n < FDS && input_len > 0) {
		const uint8_t *colon = memchr(input, ':', input_len);
		size_t len = colon ? (size_t)(colon - input) : input_len;

		v[n] = strndup((const char *)input, len);
		assert(v[n] && dup2(own, SD_LISTEN_FDS_START + n) >= 0);
		n++;
		input_len -= len + (colon != NULL);
		input += len + (colon != NULL);
	}
	*names = v;
	return n;
}

int sd_pid_notify_with_fds(pid_t pid, int unset, const char *state, const int *fds, unsigned int n)
{
	(void)pid;
	(void)unset;
	(void)fds;
	(void)n;
	assert(!strchr(state, '\n') || strstr(state, "FDNAME="));
	return 1;
}

/* One of ours, and not what libFuzzer's own thread opened meanwhile. */
static bool is_passed(int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstat(own, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static bool is_wanted(const char *tunnel, void *arg)
{
	(void)arg;
	assert(strlen(tunnel) < 256);
	return tunnel[0] == 'a';
}

static void take(struct kept *k, const char *tunnel)
{
	int tun = kept_take_tun(k, tunnel), udp = kept_take_udp(k, tunnel);

	assert(tun < 0 || fcntl(tun, F_GETFD) == FD_CLOEXEC);
	if (tun >= 0)
		close(tun);
	if (udp >= 0)
		close(udp);
	/* The manager may hold several of one name. */
	for (int fd; (fd = kept_take_tun(k, tunnel)) >= 0 || (fd = kept_take_udp(k, tunnel)) >= 0;)
		close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct service_fds *fds = NULL;
	struct kept *k = NULL;

	if (own < 0) {
		log_set_level(LOG_CRIT);
		/* Ours stays above theirs. */
		own = fcntl(memfd_create("fuzz", 0), F_DUPFD_CLOEXEC, 100);
		assert(own >= 0);
		for (int i = 0; i < FDS; i++)
			close(SD_LISTEN_FDS_START + i);
	}
	input = data;
	input_len = size;
	assert(service_fds_new(&fds) == 0);
	for (size_t i = 0; service_fds_name(fds, i); i++)
		assert(i < FDS);
	assert(kept_new(&k, fds) == 0);
	fds = service_fds_free(fds);
	take(k, "a");
	take(k, "office");
	kept_prune(k, is_wanted, NULL);
	take(k, "ab");
	kept_free(k);
	for (int i = 0; i < FDS; i++)
		assert(!is_passed(SD_LISTEN_FDS_START + i));
	return 0;
}
