/* One connection and one datagram each way, in a worker thread: tund may be starting just now. */
#include "pskd/tun.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "event/loop.h"
#include "event/unixsock.h"
#include "proto/tund_msg.h"

#define ANSWER_MS 10000

struct job {
	char path[108];
	struct tund_request q;
	struct tun_result result;
	void (*done)(const struct tun_result *r, void *arg);
	void *arg;
};

static void fail(struct tun_result *r, int error, const char *detail)
{
	r->error = error;
	snprintf(r->detail, sizeof(r->detail), "%s", detail);
}

static void work(void *arg)
{
	struct job *j = arg;
	_cleanup_close_ int fd = unix_connect(j->path, SOCK_SEQPACKET, false);
	uint8_t buf[TUND_MSG_MAX];
	struct tund_reply reply;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int device = -1;
	ssize_t n;

	j->result.fd = -1;
	if (fd < 0) {
		fail(&j->result, -fd, "tund, which makes the device, cannot be reached");
		return;
	}
	n = tund_request_encode(buf, sizeof(buf), &j->q);
	if (n < 0 || unix_send(fd, buf, (size_t)n, -1) != 0 || poll(&p, 1, ANSWER_MS) <= 0) {
		fail(&j->result, ETIMEDOUT, "tund, which makes the device, does not answer");
		return;
	}
	n = unix_recv(fd, buf, sizeof(buf), &device);
	if (n <= 0 || tund_reply_decode(&reply, buf, (size_t)n) != 0 || (!reply.error && device < 0)) {
		if (device >= 0)
			close(device);
		fail(&j->result, n == 0 ? EACCES : EPROTO,
		     n == 0 ? "tund does not serve this user" : "tund gave no proper answer");
		return;
	}
	if (reply.error) {
		if (device >= 0)
			close(device);
		fail(&j->result, reply.error, reply.detail);
		return;
	}
	j->result.fd = device;
	memcpy(j->result.ifname, reply.ifname, sizeof(j->result.ifname));
}

static void done(void *arg, bool cancelled)
{
	struct job *j = arg;

	(void)cancelled;
	j->done(&j->result, j->arg);
	free(j);
}

int tun_request(struct loop *l, const char *socket_path, const char *ifname, uint16_t mtu,
		const struct tunnel_addresses *a, void (*fn)(const struct tun_result *r, void *arg),
		void *arg)
{
	_cleanup_free_ struct job *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return -ENOMEM;
	snprintf(j->path, sizeof(j->path), "%s", socket_path);
	j->q = (struct tund_request){ .type = TUND_CREATE, .mtu = mtu };
	snprintf(j->q.ifname, sizeof(j->q.ifname), "%s", ifname);
	j->q.has_v4 = a->has_v4;
	j->q.has_v6 = a->has_v6;
	memcpy(j->q.v4_local, a->v4_local, 4);
	memcpy(j->q.v4_peer, a->v4_peer, 4);
	j->q.v4_prefix = a->v4_prefix;
	memcpy(j->q.v6_local, a->v6_local, 16);
	j->q.v6_prefix = a->v6_prefix;
	j->done = fn;
	j->arg = arg;
	r = worker_start(NULL, l, work, done, j);
	if (r)
		return r;
	steal(&j);
	return 0;
}
