/*
 * The socket that takes PINs, with datagrams of any content: one byte of answer each, the connection is over, and no
 * secret is taken that is not one.
 */
#include "fuzz/lib/pairs.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "event/loop.h"
#include "event/unixsock.h"
#include "fuzz/lib/quick_loop.h"
#include "pairingd/secret_server.h"
#include "pairingd/session.h"
#include "proto/secret_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct secret_server *server;
static char path[64];
static bool taken;

/* In place of the pairings that wait for one. */
enum secret_status sessions_take_secret(struct sessions *s, const struct secret_msg *m)
{
	(void)s;
	taken = true;
	assert(m->value_len > 0 && m->value_len <= SECRET_VALUE_MAX);
	if (m->class == SECRET_PIN)
		assert(m->value_len >= 6 && m->value_len <= 8);
	else
		assert(m->class == SECRET_SEC && m->value_len >= SECRET_VALUE_MIN_SEC);
	return m->ticket[0] & 1 ? SECRET_OK : SECRET_NO_TICKET;
}

static void remove_socket(void)
{
	unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t answer[8];
	bool fd_too = size && data[size - 1] & 1;
	ssize_t n = -1;
	int fd;

	if (!loop) {
		snprintf(path, sizeof(path), "%s/handfast-fuzz-%d", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", (int)getpid());
		assert(loop_new(&loop) == 0 && secret_server_new(&server, loop, path, "nogroup", NULL) == 0);
		atexit(remove_socket);
	}
	if (size > 60000)
		return 0;
	taken = false;
	timers_begin(1000000);
	fd = pairs_connect(SOCK_SEQPACKET);
	assert(fd >= 0);
	/* A descriptor that comes along is nobody's, and closed. */
	if (size > 0)
		assert(unix_send(fd, data, size, fd_too ? fd : -1) == 0);
	for (int i = 0; i < 4 && n < 0; i++) {
		loop_step(loop, 0);
		n = recv(fd, answer, sizeof(answer), 0);
		if (n < 0)
			assert(errno == EAGAIN);
	}
	if (size > 0)
		assert((n == 1 && answer[0] <= SECRET_DENIED) || (n == 0 && size > SECRET_MSG_MAX));
	assert(!taken || (n == 1 && answer[0] <= SECRET_NO_TICKET));
	if (n == 1)
		assert(recv(fd, answer, sizeof(answer), 0) == 0);
	close(fd);
	loop_step(loop, 0);
	assert(n_timers == 0 && n_ios == 0);
	return 0;
}
