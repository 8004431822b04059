/*
 * The helper that makes devices, with rows of datagrams from an allowed caller: each a two-byte length and its
 * bytes. Making is a double; what must hold is what reaches it.
 */
#include "fuzz/lib/pairs.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "event/unixsock.h"
#include "fuzz/lib/quick_loop.h"
#include "proto/tund_msg.h"
#include "tund/device.h"
#include "tund/helper.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct helper *helper;
static char path[64];
static unsigned int made;

bool device_is(int fd, const char *name)
{
	assert(fd >= 0);
	return strcmp(name, "hf1") == 0;
}

void device_handle(const struct tund_request *q, struct tund_reply *reply, int *fd)
{
	/* Devices of our own names, and of no other. */
	assert(tund_request_complaint(q, false) == NULL);
	for (size_t i = 0; i < q->n_routes; i++)
		assert(tund_route_complaint(&q->routes[i], false) == NULL);
	assert(strncmp(q->ifname, "hf", 2) == 0 && strlen(q->ifname) < 16);
	made++;
	*reply = (struct tund_reply){ 0 };
	snprintf(reply->ifname, sizeof(reply->ifname), "%s", q->type == TUND_CREATE ? "hf1" : q->ifname);
	*fd = q->type == TUND_CREATE ? dup(2) : -1;
}

static void remove_socket(void)
{
	unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t answer[TUND_MSG_MAX];
	struct tund_reply reply;
	int fd, listening;

	if (!loop) {
		log_set_level(LOG_CRIT);
		snprintf(path, sizeof(path), "%s/handfast-fuzz-%d", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", (int)getpid());
		listening = unix_listen(path, SOCK_SEQPACKET, 0600, NULL, false);
		assert(listening >= 0 && loop_new(&loop) == 0);
		assert(helper_new(&helper, loop, listening, NULL, 0, &(struct helper_rules){ .any_route = false }) == 0);
		atexit(remove_socket);
	}
	timers_begin(1000000);
	fd = pairs_connect(SOCK_SEQPACKET);
	assert(fd >= 0);
	while (size > 2) {
		size_t len = (size_t)(data[0] & 3) << 8 | data[1];
		bool with_fd = data[0] & 128;
		unsigned int before = made;
		int got = -1;
		ssize_t n = -EAGAIN;

		data += 2;
		size -= 2;
		len = len < size ? len : size;
		if (len == 0)
			continue;
		if (unix_send(fd, data, len, with_fd ? 2 : -1))
			break;
		data += len;
		size -= len;
		for (int i = 0; i < 3 && n == -EAGAIN; i++) {
			loop_step(loop, 0);
			n = unix_recv(fd, answer, sizeof(answer), &got);
		}
		if (n <= 0) {
			/* Hung up on, and nothing was made. */
			assert(made == before);
			break;
		}
		assert(tund_reply_decode(&reply, answer, (size_t)n) == 0);
		assert(reply.error ? made == before && got < 0 : made == before + 1);
		if (got >= 0)
			close(got);
	}
	close(fd);
	loop_step(loop, 0);
	assert(n_ios == 0);
	return 0;
}
