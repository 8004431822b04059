/*
 * Sealed packets to the socket. Packets of one length and traffic class that
 * follow each other, and a shorter last one, are one message that the kernel or the card cuts up
 * (UDP_SEGMENT); all messages of a batch are one call. Where the kernel will
 * not segment, each packet is a message: the same datagrams leave either way.
 */
#include "pskd/packet/path_internal.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "base/clock.h"

/* With IPv6's header and UDP's in front no more than an IP packet can be. */
#define RUN_BYTES_MAX (65535 - 40 - 8)

static size_t wire_len(const struct outbound *o, unsigned int i)
{
	return o->packets[i].len + PSK2_OVERHEAD;
}

/* How many packets from first on may go as one. */
static unsigned int find_run(const struct outbound *o, unsigned int first, size_t *bytes)
{
	size_t size = wire_len(o, first), sum = size;
	unsigned int i = first + 1;

	for (; i < o->sealed; i++) {
		size_t len = wire_len(o, i);

		if (len > size || sum + len > RUN_BYTES_MAX || o->packets[i].class != o->packets[first].class)
			break;
		sum += len;
		if (len < size) {
			i++;
			break;
		}
	}
	*bytes = sum;
	return i - first;
}

/* Where the next control message of m goes. */
static struct cmsghdr *add_control(struct outbound *o, unsigned int m, size_t space)
{
	struct msghdr *h = &o->msgs[m].msg_hdr;
	struct cmsghdr *c = (struct cmsghdr *)(void *)(o->control[m].room + h->msg_controllen);

	h->msg_control = &o->control[m];
	h->msg_controllen += space;
	return c;
}

static void say_size(struct outbound *o, unsigned int m, size_t size)
{
	uint16_t v = (uint16_t)size;
	struct cmsghdr *c = add_control(o, m, CMSG_SPACE(sizeof(v)));

	c->cmsg_level = IPPROTO_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(v));
	memcpy(CMSG_DATA(c), &v, sizeof(v));
}

/* Messages of what is sealed and not sent. Returns how many. */
static unsigned int make_messages(struct path *p, bool segment, struct sockaddr_storage *to, socklen_t to_len)
{
	const struct sockaddr_in6 *peer = &p->current->address;
	const struct udp_local *local = &p->current->local;
	uint32_t way = path_way_out(p, peer);
	size_t way_space = udp_way_space(peer, way, local);
	struct outbound *o = &p->out;
	unsigned int m = 0;

	for (unsigned int i = o->sent; i < o->sealed; i += o->run[m++]) {
		size_t bytes = wire_len(o, i);

		o->run[m] = segment ? find_run(o, i, &bytes) : 1;
		o->iov[m] = (struct iovec){ o->memory + o->packets[i].at, bytes };
		o->msgs[m].msg_hdr = (struct msghdr){ .msg_name = to, .msg_namelen = to_len, .msg_iov = &o->iov[m],
						      .msg_iovlen = 1 };
		if (o->run[m] > 1)
			say_size(o, m, wire_len(o, i));
		/* Else the socket's own. */
		if (o->packets[i].class != path_own_class(p))
			udp_put_class(add_control(o, m, UDP_CLASS_SPACE), peer, o->packets[i].class);
		if (way_space)
			udp_put_way(add_control(o, m, way_space), peer, way, local);
	}
	return m;
}

/* Send the messages. 0; or the errno of the first that did not go. */
static int send_messages(struct path *p, unsigned int n, unsigned int *at)
{
	struct outbound *o = &p->out;

	while (*at < n) {
		int sent = sendmmsg(p->o.udp.fd, o->msgs + *at, n - *at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno;
		for (int i = 0; i < sent; i++)
			o->sent += o->run[(*at)++];
	}
	return 0;
}

/* Each by itself, and in fragments where the path is known to be too narrow. False when the socket is full. */
static bool send_singly(struct path *p, struct sockaddr_storage *to, socklen_t to_len)
{
	struct outbound *o = &p->out;
	unsigned int n = make_messages(p, false, to, to_len), at = 0;

	while (o->sent < o->sealed) {
		int error = send_messages(p, n, &at);

		if (error == EAGAIN || error == EWOULDBLOCK)
			return false;
		if (!error)
			break;
		/* The address that it would leave from is gone: the kernel chooses, for this one and those to come. */
		if (udp_is_refusal(error) && udp_is_local(&p->current->local)) {
			path_forget_local(p->current);
			n = make_messages(p, false, to, to_len);
			at = 0;
			continue;
		}
		/* ENETUNREACH, ECONNREFUSED …: as if the network had lost this one. */
		figure_add(&p->counters.drops.n[DROP_SEND], 1);
		o->sent++;
		at++;
	}
	return true;
}

bool send_sealed(struct path *p)
{
	struct outbound *o = &p->out;
	struct sockaddr_storage to;
	unsigned int n, at = 0;
	bool all = true;
	socklen_t to_len;
	int error;

	if (o->sent == o->sealed)
		return true;
	/* They would come back through the device, to be sealed and sent again. */
	if (path_way_out(p, &p->current->address) == WAY_NONE) {
		figure_add(&p->counters.drops.n[DROP_SEND], o->sealed - o->sent);
		o->sent = o->sealed;
		return true;
	}
	to_len = udp_to_socket(&p->o.udp, &to, &p->current->address);
	n = make_messages(p, p->offload & OFFLOAD_UDP_GSO, &to, to_len);
	error = send_messages(p, n, &at);
	if (error == EAGAIN || error == EWOULDBLOCK)
		return false;
	if (error) {
		/* The way out cannot do checksums, and will not learn it. */
		if (error == EIO)
			__atomic_store_n(&p->offload, p->offload & ~(unsigned int)OFFLOAD_UDP_GSO, __ATOMIC_RELAXED);
		/*
		 * Or the path is too narrow. What the kernel segments would leave without DF were it
		 * let do so, and be cut up on its way unnoticed: so it may only cut single ones itself.
		 */
		if (p->mtu.df != UDP_DF_CLEAR)
			udp_set_df(&p->o.udp, UDP_DF_OWN);
		all = send_singly(p, &to, to_len);
		udp_set_df(&p->o.udp, p->mtu.df);
	}
	if (all)
		path_mark(p, &p->counters.sent_ms, &p->counters.data_sent_ms, clock_now_ms(), true);
	return all;
}
