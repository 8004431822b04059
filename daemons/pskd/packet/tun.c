/* One connection and one datagram each way, in a worker thread: tund may be starting just now. */
#include "pskd/packet/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "event/loop.h"
#include "event/unixsock.h"
#include "proto/tund_msg.h"
#include "pskd/network/device_address.h"
#include "pskd/network/routes.h"

#define ANSWER_MS 10000
#define BUSY_TRIES 10
#define BUSY_WAIT_US 50000

/* ---- a device that is there ---- */

/* Whether fd is a device as tund makes them. */
static bool get_name(int fd, char name[static IF_NAMESIZE])
{
	struct ifreq ifr = { 0 };
	/* With virtio headers or, from an earlier life, without. */
	const int mask = IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE;

	if (ioctl(fd, TUNGETIFF, &ifr) < 0 || (ifr.ifr_flags & mask) != (IFF_TUN | IFF_NO_PI))
		return false;
	memcpy(name, ifr.ifr_name, IF_NAMESIZE);
	name[IF_NAMESIZE - 1] = '\0';
	return true;
}

static bool is_wanted_name(const char *name, const char *wanted)
{
	if (strcmp(wanted, "hf%d") != 0)
		return strcmp(name, wanted) == 0;
	return strncmp(name, "hf", 2) == 0 && name[2] && name[2 + strspn(name + 2, "0123456789")] == '\0';
}

static int get_mtu(const char *name)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return fd < 0 || ioctl(fd, SIOCGIFMTU, &ifr) < 0 ? -1 : ifr.ifr_mtu;
}

static bool is_up(const char *name)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &ifr) == 0 && ifr.ifr_flags & IFF_UP;
}

static bool is_whole(const struct device_addresses *s, const char *name, const struct tunnel_addresses *a)
{
	return is_up(name) && s->right == (unsigned int)a->has_v4 + a->has_v6 && routes_are(name, a);
}

enum tun_state tun_look(int fd, const char *ifname, uint16_t mtu, const struct tunnel_addresses *a,
			char found[static IF_NAMESIZE])
{
	struct device_addresses s;

	if (!get_name(fd, found) || !is_wanted_name(found, ifname) || device_addresses_look(&s, found, a) < 0 || s.foreign)
		return TUN_OTHER;
	return is_whole(&s, found, a) && get_mtu(found) == mtu ? TUN_SAME : TUN_INCOMPLETE;
}

enum tun_state tun_lacks(int fd, const struct tunnel_addresses *a)
{
	char name[IF_NAMESIZE];
	struct device_addresses s;

	if (!get_name(fd, name) || device_addresses_look(&s, name, a) < 0)
		return TUN_OTHER;
	return is_whole(&s, name, a) ? TUN_SAME : TUN_INCOMPLETE;
}

/* ---- a question to tund ---- */

struct job {
	char path[108];
	struct tund_request q;
	int device; /* to configure; -1: none */
	bool mends; /* it, and no other */
	char device_name[16];
	struct tun_result result;
	void (*done)(const struct tun_result *r, void *arg);
	void *arg;
};

static int fail(struct tun_result *r, int error, const char *detail)
{
	r->error = error;
	snprintf(r->detail, sizeof(r->detail), "%s", detail);
	return -1;
}

/* One question and its answer. On success *device is what the answer brought. */
static int ask(struct job *j, const struct tund_request *q, int pass, int *device)
{
	_cleanup_close_ int fd = unix_connect(j->path, SOCK_SEQPACKET, false);
	_cleanup_close_ int got = -1;
	uint8_t buf[TUND_MSG_MAX];
	struct tund_reply reply;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n;

	if (fd < 0)
		return fail(&j->result, -fd, "tund, which makes the device, cannot be reached");
	n = tund_request_encode(buf, sizeof(buf), q);
	if (n < 0 || unix_send(fd, buf, (size_t)n, pass) != 0 || poll(&p, 1, ANSWER_MS) <= 0)
		return fail(&j->result, ETIMEDOUT, "tund, which makes the device, does not answer");
	n = unix_recv(fd, buf, sizeof(buf), &got);
	if (n == 0)
		return fail(&j->result, EACCES, "tund does not serve this user");
	if (n < 0 || tund_reply_decode(&reply, buf, (size_t)n) != 0 ||
	    (!reply.error && got < 0 && q->type == TUND_CREATE))
		return fail(&j->result, EPROTO, "tund gave no proper answer");
	if (reply.error)
		return fail(&j->result, reply.error, reply.detail);
	j->result.error = 0;
	memcpy(j->result.ifname, reply.ifname, sizeof(j->result.ifname));
	*device = steal_fd(&got);
	return 0;
}

static void work(void *arg)
{
	struct job *j = arg;
	struct tund_request q = j->q;
	int none = -1;

	j->result.fd = -1;
	if (q.type == TUND_CHECK) {
		(void)ask(j, &q, -1, &none);
		return;
	}
	if (j->device >= 0) {
		q.type = TUND_CONFIGURE;
		memcpy(q.ifname, j->device_name, sizeof(q.ifname));
		if (ask(j, &q, j->device, &none) == 0 && !j->mends) {
			j->result.fd = steal_fd(&j->device);
			j->result.is_old = true;
			return;
		}
		close(steal_fd(&j->device));
	}
	if (j->mends)
		return;
	/* The manager may be about to close the last descriptor of a device of this name. */
	for (int i = 0; ask(j, &j->q, -1, &j->result.fd) != 0 && j->result.error == EBUSY && i < BUSY_TRIES; i++)
		usleep(BUSY_WAIT_US);
}

static void done(void *arg, bool cancelled)
{
	struct job *j = arg;

	(void)cancelled;
	j->done(&j->result, j->arg);
	free(j);
}

static struct job *new_job(const char *socket_path, uint16_t mtu, const struct tunnel_addresses *a,
			   void (*fn)(const struct tun_result *r, void *arg), void *arg)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	snprintf(j->path, sizeof(j->path), "%s", socket_path);
	j->q = (struct tund_request){ .type = TUND_CREATE, .mtu = mtu };
	address_ask(&j->q, a);
	j->device = -1;
	j->done = fn;
	j->arg = arg;
	return j;
}

int tun_request(struct loop *l, const char *socket_path, const char *ifname, uint16_t mtu,
		bool vnet_header, const struct tunnel_addresses *a, int device,
		void (*fn)(const struct tun_result *r, void *arg), void *arg)
{
	_cleanup_free_ struct job *j = new_job(socket_path, mtu, a, fn, arg);
	int r;

	if (!j)
		return -ENOMEM;
	j->q.flags = vnet_header ? TUND_VNET_HDR : 0;
	snprintf(j->q.ifname, sizeof(j->q.ifname), "%s", ifname);
	j->device = device;
	if (device >= 0 && !get_name(device, j->device_name))
		return -EINVAL;
	r = worker_start(NULL, l, work, done, j);
	if (r)
		return r;
	steal(&j);
	return 0;
}

int tun_mend(struct loop *l, const char *socket_path, uint16_t mtu, const struct tunnel_addresses *a, int device,
	     void (*fn)(const struct tun_result *r, void *arg), void *arg)
{
	_cleanup_free_ struct job *j = new_job(socket_path, mtu, a, fn, arg);
	_cleanup_close_ int copy = fcntl(device, F_DUPFD_CLOEXEC, 0);
	int r;

	if (!j || copy < 0 || !get_name(copy, j->device_name))
		return j && copy >= 0 ? -ENODEV : -ENOMEM;
	j->mends = true;
	j->device = copy;
	r = worker_start(NULL, l, work, done, j);
	if (r)
		return r;
	steal(&j);
	steal_fd(&copy);
	return 0;
}

int tun_check(struct loop *l, const char *socket_path, const char *ifname, uint16_t mtu, const struct tunnel_addresses *a,
	      void (*fn)(const struct tun_result *r, void *arg), void *arg)
{
	_cleanup_free_ struct job *j = new_job(socket_path, mtu, a, fn, arg);
	int r;

	if (!j)
		return -ENOMEM;
	j->q.type = TUND_CHECK;
	snprintf(j->q.ifname, sizeof(j->q.ifname), "%s", ifname);
	r = worker_start(NULL, l, work, done, j);
	if (r)
		return r;
	steal(&j);
	return 0;
}
