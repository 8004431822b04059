/*
 * The pairings, and the way to each peer: when it was last heard, what the route outside
 * carries, and whether full packets come through the tunnel. For that echo requests of many sizes go
 * to all peers at once; it takes a second and a half at most, however many there are.
 */
#include "ctl/doctor/doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"

enum {
	MTU_MIN = 1280,	/* what a tunnel can be set to: handfast-tunnels(5) */
	SMALL = 100,	/* passes everywhere */
	STEP = 8,
	SIZES_MAX = 96,
	ROUNDS = 3,
	ROUND_MS = 500,
	TUNNELS_MAX = 64,
	PACKET_MAX = 9000 + 64,
	WIRE = 48, /* header and tag of handfast-tunnel(7) */
	UDP_HEADER = 8,
};

/* ---- pairings ---- */

void doctor_peers(struct doctor *d)
{
	const json_t *p;
	size_t i;

	if (!d->peers) {
		doctor_tell(d, DOCTOR_NOTE, "", NULL, "pairingd cannot be asked");
		return;
	}
	if (json_array_size(d->peers) == 0)
		doctor_tell(d, DOCTOR_OK, "", NULL, "this device is not paired with any other: “handfast pair” begins");
	json_array_foreach(d->peers, i, p) {
		const char *name = json_get_str(p, "name"), *state = json_get_str(p, "state");
		const char *root = json_get_str(p, "tunnel_root");

		if (!name || !state)
			continue;
		if (strcmp(state, "active") != 0)
			doctor_tell(d, DOCTOR_WARNING, name, "Bring its tunnel up on both sides; when that fails, “handfast peer forget” and pair anew.",
				    "the pairing is not confirmed by the other side yet");
		else if (json_is_true(json_object_get(p, "newer_unconfirmed")))
			doctor_tell(d, DOCTOR_NOTE, name, "Bring its tunnel up on both sides.",
				    "a newer pairing waits to be confirmed; the earlier one is in use");
		else if (root && strcmp(root, "none") == 0)
			doctor_tell(d, DOCTOR_WARNING, name, "“handfast pair” on both devices.",
				    "is known, but without keys (restored from a backup): it must be paired again");
		else
			doctor_tell(d, DOCTOR_OK, name, NULL, "is paired");
	}
}

/* ---- one way ---- */

struct way {
	const char *tunnel, *device;
	struct sockaddr_storage peer; /* inside */
	socklen_t peer_len;
	bool v6, raw;
	unsigned int mtu;
	unsigned int path_mtu;	/* the largest that pskd sends */
	const char *path_state; /* what it knows of that, see handfast-json(7); "": nothing */
	int fd;
	int error; /* of making the socket */
	uint16_t id;
	size_t n;
	unsigned int sizes[SIZES_MAX]; /* of IP packets; the first is the full one, the last the small one */
	bool answered[SIZES_MAX], refused[SIZES_MAX];
};

static bool read_address(struct way *w, const char *text)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&w->peer;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&w->peer;
	char host[INET6_ADDRSTRLEN];

	snprintf(host, sizeof(host), "%.*s", (int)strcspn(text, "/"), text);
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		w->peer_len = sizeof(*v4);
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	w->peer_len = sizeof(*v6);
	w->v6 = true;
	return true;
}

static void choose_sizes(struct way *w)
{
	w->sizes[w->n++] = w->mtu;
	for (unsigned int size = w->mtu - STEP; size > MTU_MIN && w->n < SIZES_MAX - 3; size -= STEP)
		w->sizes[w->n++] = size;
	if (w->mtu > MTU_MIN)
		w->sizes[w->n++] = MTU_MIN;
	w->sizes[w->n++] = SMALL;
}

/* An echo socket that anybody may have where ping_group_range allows it; else root's. */
static int open_echo(struct way *w)
{
	int family = w->v6 ? AF_INET6 : AF_INET, protocol = w->v6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP;
	int probe = w->v6 ? IPV6_PMTUDISC_PROBE : IP_PMTUDISC_PROBE, on = 1;

	w->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	if (w->fd < 0) {
		w->fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
		w->raw = true;
	}
	if (w->fd < 0)
		return -errno;
	/* Whole or not at all, whatever the kernel has learnt of the route. */
	if (w->v6) {
		setsockopt(w->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe, sizeof(probe));
		setsockopt(w->fd, IPPROTO_IPV6, IPV6_DONTFRAG, &on, sizeof(on));
	} else {
		setsockopt(w->fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe));
	}
	/* Through the tunnel, also where another route is better. */
	(void)setsockopt(w->fd, SOL_SOCKET, SO_BINDTODEVICE, w->device, (socklen_t)strlen(w->device));
	return connect(w->fd, (struct sockaddr *)&w->peer, w->peer_len) < 0 ? -errno : 0;
}

/* RFC 1071. The kernel does it for all but IPv4's raw sockets. */
static uint16_t checksum(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	if (len % 2)
		sum += (uint32_t)data[len - 1] << 8;
	sum = (sum >> 16) + (sum & 0xffff);
	sum += sum >> 16;
	return (uint16_t)~sum;
}

static void send_one(struct way *w, size_t i)
{
	size_t len = w->sizes[i] - (w->v6 ? 40 : 20);
	uint8_t packet[PACKET_MAX] = { 0 };
	uint16_t sum;

	/* Type, code, checksum, identifier, sequence number. */
	packet[0] = w->v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
	packet[4] = (uint8_t)(w->id >> 8);
	packet[5] = (uint8_t)w->id;
	packet[6] = (uint8_t)(i >> 8);
	packet[7] = (uint8_t)i;
	sum = w->v6 ? 0 : checksum(packet, len);
	packet[2] = (uint8_t)(sum >> 8);
	packet[3] = (uint8_t)sum;
	if (send(w->fd, packet, len, MSG_NOSIGNAL) < 0 && errno == EMSGSIZE)
		w->refused[i] = true;
}

static void take_answers(struct way *w)
{
	uint8_t packet[PACKET_MAX];
	ssize_t n;

	while ((n = recv(w->fd, packet, sizeof(packet), 0)) >= 0 || errno == EINTR || errno == EMSGSIZE) {
		const uint8_t *p = packet;
		size_t at;

		if (n < 0)
			continue;
		if (w->raw && !w->v6) {
			size_t head = n > 0 ? 4 * (size_t)(packet[0] & 15) : 0;

			if ((size_t)n < head)
				continue;
			p += head;
			n -= (ssize_t)head;
		}
		if (n < 8 || p[0] != (w->v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY))
			continue;
		if (w->raw && (p[4] << 8 | p[5]) != w->id)
			continue;
		at = (size_t)p[6] << 8 | p[7];
		if (at < w->n)
			w->answered[at] = true;
	}
}

static bool is_done(const struct way *w)
{
	return w->fd < 0 || (w->answered[0] && w->answered[w->n - 1]);
}

static bool one_round(struct way *ways, size_t n)
{
	struct pollfd fds[TUNNELS_MAX];
	uint64_t end = clock_now_ms() + ROUND_MS, now;
	bool done = false;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; !is_done(&ways[i]) && k < ways[i].n; k++)
			if (!ways[i].answered[k])
				send_one(&ways[i], k);
	while (!done && (now = clock_now_ms()) < end) {
		done = true;
		for (size_t i = 0; i < n; i++) {
			fds[i] = (struct pollfd){ .fd = is_done(&ways[i]) ? -1 : ways[i].fd, .events = POLLIN };
			done = done && fds[i].fd < 0;
		}
		if (!done && poll(fds, n, (int)(end - now)) > 0)
			for (size_t i = 0; i < n; i++)
				if (fds[i].revents)
					take_answers(&ways[i]);
	}
	return done;
}

/* ---- the route outside ---- */

/* "192.0.2.1:7200", "[2001:db8::1]:7200". */
static socklen_t parse_endpoint(struct sockaddr_storage *out, const char *text)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 2], *scope;
	bool bracket = *text == '[';
	uint16_t port = colon ? htons((uint16_t)atoi(colon + 1)) : 0;

	*out = (struct sockaddr_storage){ 0 };
	if (!colon || (bracket && colon < text + 2))
		return 0;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - (bracket ? 2 : 0), text + bracket);
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = port;
		return sizeof(*v4);
	}
	scope = strchr(host, '%');
	if (scope)
		*scope++ = '\0';
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		return 0;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = port;
	v6->sin6_scope_id = scope ? if_nametoindex(scope) : 0;
	return sizeof(*v6);
}

/* What the kernel knows that a packet to endpoint may have, IP header and all; 0 or a negative errno without a route. */
static int route_mtu(const char *endpoint, bool *v6)
{
	struct sockaddr_storage to;
	socklen_t len = parse_endpoint(&to, endpoint), size = sizeof(int);
	int fd, mtu = 0, r;

	if (!len)
		return 0;
	*v6 = to.ss_family == AF_INET6;
	fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, (struct sockaddr *)&to, len) < 0 ? -errno : 0;
	if (!r && (*v6 ? getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &size) :
			 getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &size)) < 0)
		r = -errno;
	close(fd);
	return r ? r : mtu;
}

/* ---- findings ---- */

static const char *set_mtu(const struct way *w, unsigned int mtu)
{
	return doctor_text("Set “mtu: %u” for it on both sides (handfast-tunnels(5)); until its next start “sudo ip link set dev %s mtu %u” helps.",
			   mtu, w->device, mtu);
}

static void tell_pieces(struct doctor *d, const struct way *w, const char *endpoint)
{
	bool v6 = false;
	int mtu = route_mtu(endpoint, &v6), over = WIRE + UDP_HEADER + (v6 ? 40 : 20);

	if (mtu > 0 && (unsigned int)mtu < w->mtu + (unsigned int)over && mtu - over >= MTU_MIN)
		doctor_tell(d, DOCTOR_WARNING, w->tunnel, set_mtu(w, (unsigned int)(mtu - over)),
			    "the way to %s carries packets of %d bytes, and full ones of the tunnel have %u: they go in pieces, which is slow and often lost",
			    endpoint, mtu, w->mtu + (unsigned int)over);
	else if (mtu > 0 && (unsigned int)mtu < w->mtu + (unsigned int)over)
		doctor_tell(d, DOCTOR_WARNING, w->tunnel, set_mtu(w, MTU_MIN),
			    "the way to %s carries packets of %d bytes only: those of the tunnel go in pieces, which is slow and often lost",
			    endpoint, mtu);
	else
		doctor_tell(d, DOCTOR_OK, w->tunnel, NULL, "full packets of %u bytes come through", w->mtu);
}

static bool is_path(const struct way *w, const char *state)
{
	return strcmp(w->path_state, state) == 0;
}

/* Full packets do not come through; the largest that do have size bytes. The tunnel sees to that by itself. */
static void tell_found_path(struct doctor *d, const struct way *w, unsigned int size)
{
	if (is_path(w, "found") && w->path_mtu < w->mtu)
		doctor_tell(d, DOCTOR_NOTE, w->tunnel, set_mtu(w, w->path_mtu),
			    "packets of up to %u bytes come through; who sends larger ones is told, which costs each connection a moment",
			    w->path_mtu);
	else
		doctor_tell(d, DOCTOR_WARNING, w->tunnel, "Look again in a minute.",
			    "packets of %u bytes come through, full ones of %u do not: the tunnel is finding out which do",
			    size, w->mtu);
}

static void tell_way(struct doctor *d, const struct way *w, const char *endpoint)
{
	bool v6;
	size_t best = 0;
	int mtu = route_mtu(endpoint, &v6);

	if (mtu < 0) {
		doctor_tell(d, DOCTOR_FAILURE, w->tunnel, "See “ip route get” with that address.",
			    "this machine has no route to %s: %s", endpoint, strerror(-mtu));
		return;
	}
	if (w->fd < 0) {
		doctor_tell(d, DOCTOR_NOTE, w->tunnel, w->error == -EACCES || w->error == -EPERM ? "Look as root, or see net.ipv4.ping_group_range." : NULL,
			    "whether full packets come through cannot be tried: %s", strerror(-w->error));
		return;
	}
	while (best < w->n && !w->answered[best])
		best++;
	if (best == w->n)
		doctor_tell(d, DOCTOR_NOTE, w->tunnel, "“ping” answers are not needed for the tunnel; a firewall on the other side may keep them back: “sudo handfast doctor --only firewall” there.",
			    "the peer's address inside does not answer to pings");
	else if (w->refused[0])
		doctor_tell(d, DOCTOR_WARNING, w->tunnel, doctor_text("“sudo ip link set dev %s mtu %u”.", w->device, w->mtu),
			    "the device %s was given a smaller MTU than the %u of its tunnel", w->device, w->mtu);
	else if (is_path(w, "smaller"))
		doctor_tell(d, DOCTOR_WARNING, w->tunnel, "The network between must carry more; try another one.",
			    "the way to %s does not carry packets of %d bytes whole: those of the tunnel go in pieces, which is slow and often lost",
			    endpoint, MTU_MIN);
	else if (best == 0)
		tell_pieces(d, w, endpoint);
	else if (*w->path_state && !is_path(w, "unanswered"))
		tell_found_path(d, w, w->sizes[best]);
	else if (best == w->n - 1)
		doctor_tell(d, DOCTOR_FAILURE, w->tunnel, "The network between must carry more; try another one, or let its routers send “fragmentation needed” (ICMP).",
			    "small packets come through, but not even those of %d bytes do", MTU_MIN);
	else
		doctor_tell(d, DOCTOR_FAILURE, w->tunnel, set_mtu(w, w->sizes[best]),
			    "packets of %u bytes come through, full ones of %u do not: connections will hang",
			    w->sizes[best], w->mtu);
}

/* Whether the tunnel is such that packets can be sent through it. */
static bool tell_state(struct doctor *d, const json_t *t)
{
	const char *name = json_get_str(t, "name"), *state = clean_member(t, "state");
	const char *problem = clean_member(t, "problem");
	int64_t last = json_get_int(t, "last_received_ms", -1);
	char ago[32];

	if (!json_is_true(json_object_get(t, "enabled"))) {
		doctor_tell(d, DOCTOR_OK, name, NULL, "is down, as it should be");
		return false;
	}
	if (*problem) {
		doctor_tell(d, DOCTOR_FAILURE, name, doctor_text("“handfast tunnel show %s” has more.", name), "%s", problem);
		return false;
	}
	if (last >= 0)
		text_format_duration(ago, sizeof(ago), (uint64_t)last);
	if (strcmp(state, "up") != 0) {
		doctor_tell(d, DOCTOR_WARNING, name, "See that the peer runs and its tunnel is up, and that one of the two can be reached by UDP.",
			    "is %s: there is no session with the peer%s%s%s", state, last >= 0 ? "; last heard " : "",
			    last >= 0 ? ago : "", last >= 0 ? " ago" : "");
		return false;
	}
	doctor_tell(d, DOCTOR_OK, name, NULL, "is up; last heard %s%s", last >= 0 ? ago : "never", last >= 0 ? " ago" : "");
	return true;
}

static bool make_way(struct way *w, const json_t *t)
{
	const char *peer = json_string_value(json_array_get(json_object_get(t, "peer_addresses"), 0));
	int64_t mtu = json_get_int(t, "mtu", 0);

	*w = (struct way){
		.tunnel = json_get_str(t, "name"),
		.device = json_get_str(t, "interface_name"),
		.path_mtu = (unsigned int)json_get_int(t, "path_mtu", 0),
		.path_state = clean_member(t, "path_mtu_state"),
		.fd = -1,
	};
	if (!peer || !w->device || mtu <= SMALL || mtu > 9000 || !read_address(w, peer))
		return false;
	w->mtu = (unsigned int)mtu;
	w->id = (uint16_t)getpid();
	choose_sizes(w);
	w->error = open_echo(w);
	if (w->error && w->fd >= 0) {
		close(w->fd);
		w->fd = -1;
	}
	return true;
}

void doctor_path(struct doctor *d)
{
	struct way *ways = calloc(TUNNELS_MAX, sizeof(*ways));
	const char *endpoints[TUNNELS_MAX];
	const json_t *t;
	size_t i, n = 0;

	if (!d->tunnels || !ways) {
		doctor_tell(d, DOCTOR_NOTE, "", NULL, "pskd cannot be asked which tunnels there are");
		free(ways);
		return;
	}
	json_array_foreach(d->tunnels, i, t) {
		if (n == TUNNELS_MAX || !json_get_str(t, "name") || !tell_state(d, t) || !make_way(&ways[n], t))
			continue;
		endpoints[n++] = clean_text(json_get_str(t, "endpoint"));
	}
	for (i = 0; i < ROUNDS && n > 0 && !one_round(ways, n); i++)
		;
	for (i = 0; i < n; i++) {
		tell_way(d, &ways[i], endpoints[i]);
		if (ways[i].fd >= 0)
			close(ways[i].fd);
	}
	free(ways);
}
