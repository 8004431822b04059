/*
 * Requests without routes are of one length, whatever they ask, and routes come
 * behind; what a request leaves out is zero on the wire, so that each has one
 * encoding. tund runs with a capability
 * and takes nothing from its caller that is not checked here.
 */
#include "proto/tund_msg.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/text.h"

enum { HAS_V4 = 1, HAS_V6 = 2, MTU_MIN = 1280, MTU_MAX = 65000 };

static_assert(IF_NAMESIZE == 16, "the name's field is 16 bytes");

static void put_name(struct wbuf *w, const char *name)
{
	char field[IF_NAMESIZE] = { 0 };

	memcpy(field, name, strnlen(name, sizeof(field) - 1));
	wbuf_put(w, field, sizeof(field));
}

/* A NUL-terminated name with nothing but zeros behind its end. */
static bool get_name(struct rbuf *r, char name[static IF_NAMESIZE])
{
	size_t len;

	rbuf_get(r, name, IF_NAMESIZE);
	len = strnlen(name, IF_NAMESIZE);
	for (size_t i = len; i < IF_NAMESIZE; i++)
		if (name[i] != '\0')
			return false;
	return len < IF_NAMESIZE;
}

static bool is_plain_name(const char *name)
{
	return strncmp(name, "hf", 2) == 0 && name[2] != '\0' &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-_")] == '\0';
}

size_t tund_connected(struct prefix out[static TUND_CONNECTED_MAX], const struct tund_request *r)
{
	static const uint8_t none[4];
	bool has_peer = memcmp(r->v4_peer, none, sizeof(none)) != 0;
	size_t n = 0;

	/* An address alone has none; behind a point-to-point one is the peer. */
	if (r->has_v4 && (r->v4_prefix < 32 || has_peer))
		out[n++] = prefix_make(4, r->v4_prefix == 32 ? r->v4_peer : r->v4_local, r->v4_prefix);
	if (r->has_v6 && r->v6_prefix < 128)
		out[n++] = prefix_make(6, r->v6_local, r->v6_prefix);
	return n;
}

ssize_t tund_request_encode(uint8_t *out, size_t cap, const struct tund_request *r)
{
	static const uint8_t zeros[16];
	struct wbuf w;

	wbuf_init(&w, out, cap);
	wbuf_u8(&w, r->type);
	put_name(&w, r->ifname);
	wbuf_u8(&w, r->flags);
	wbuf_be16(&w, r->mtu);
	wbuf_u8(&w, (uint8_t)((r->has_v4 ? HAS_V4 : 0) | (r->has_v6 ? HAS_V6 : 0)));
	wbuf_put(&w, r->has_v4 ? r->v4_local : zeros, 4);
	wbuf_put(&w, r->has_v4 ? r->v4_peer : zeros, 4);
	wbuf_u8(&w, r->has_v4 ? r->v4_prefix : 0);
	wbuf_put(&w, r->has_v6 ? r->v6_local : zeros, 16);
	wbuf_u8(&w, r->has_v6 ? r->v6_prefix : 0);
	if (r->n_routes > 0)
		wbuf_u8(&w, (uint8_t)r->n_routes);
	for (size_t i = 0; i < r->n_routes; i++) {
		wbuf_u8(&w, r->routes[i].family);
		wbuf_u8(&w, r->routes[i].len);
		wbuf_put(&w, r->routes[i].a, sizeof(r->routes[i].a));
	}
	return wbuf_ok(&w) ? (ssize_t)w.len : -EMSGSIZE;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= p[i];
	return any == 0;
}

static bool request_is_sound(const struct tund_request *r)
{
	bool creates = r->type == TUND_CREATE;

	if (!creates && r->type != TUND_CONFIGURE && r->type != TUND_CHECK)
		return false;
	if (!is_plain_name(r->ifname) && !(r->type != TUND_CONFIGURE && strcmp(r->ifname, "hf%d") == 0))
		return false;
	if (r->flags & ~TUND_VNET_HDR)
		return false;
	if ((r->mtu < MTU_MIN || r->mtu > MTU_MAX) && !(creates && r->mtu == 0))
		return false;
	if (!r->has_v4 && !(is_zero(r->v4_local, 4) && is_zero(r->v4_peer, 4) && !r->v4_prefix))
		return false;
	if (!r->has_v6 && !(is_zero(r->v6_local, 16) && !r->v6_prefix))
		return false;
	return r->v4_prefix <= 32 && r->v6_prefix <= 128;
}

static bool v4_is_private(uint32_t a)
{
	/* RFC 1918 section 3; RFC 6598 section 7. */
	return a >> 24 == 10 || a >> 20 == 0xac1 || a >> 16 == 0xc0a8 || a >> 22 == 0x191;
}

static const char *v4_complaint(const uint8_t b[static 4], unsigned int prefix, bool any_address)
{
	uint32_t a = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	uint32_t host = prefix < 31 ? UINT32_MAX >> prefix : 0;

	if (prefix < 8)
		return "an IPv4 network wider than /8 is no tunnel's";
	if (a >> 24 == 0 || a >> 24 == 127 || a >> 28 >= 14 || a >> 16 == 0xa9fe)
		return "the IPv4 address is zero, loopback, multicast, link-local or reserved";
	if (host && (a & host) == host)
		return "the IPv4 address is its network's broadcast address";
	if (!any_address && !v4_is_private(a))
		return "the IPv4 address is not private: tund takes others with --any-address alone";
	return NULL;
}

static const char *v6_complaint(const uint8_t b[static 16], unsigned int prefix, bool any_address)
{
	static const uint8_t low[10];

	if (prefix < 16)
		return "an IPv6 network wider than /16 is no tunnel's";
	/* ::, ::1 and whatever has an IPv4 address inside (RFC 4291 sections 2.5.2, 2.5.3 and 2.5.5). */
	if (memcmp(b, low, sizeof(low)) == 0 || b[0] == 0xff || (b[0] == 0xfe && b[1] >= 0x80))
		return "the IPv6 address is zero, loopback, multicast, link-local or reserved";
	if (!any_address && (b[0] & 0xfe) != 0xfc)
		return "the IPv6 address is not private: tund takes others with --any-address alone";
	return NULL;
}

const char *tund_request_complaint(const struct tund_request *r, bool any_address)
{
	const char *c = NULL;

	if (r->has_v4)
		c = v4_complaint(r->v4_local, r->v4_prefix, any_address);
	/* Whether it becomes a route of its own, or only stands in the answer: the same rules. */
	if (!c && r->has_v4 && !is_zero(r->v4_peer, 4))
		c = v4_complaint(r->v4_peer, r->v4_prefix, any_address);
	if (!c && r->has_v6)
		c = v6_complaint(r->v6_local, r->v6_prefix, any_address);
	return c;
}

static bool is_private(const struct prefix *route)
{
	static const char *const ranges[] = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7" };
	struct prefix range;

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (prefix_parse(&range, ranges[i]) == 0 && prefix_contains(&range, route))
			return true;
	return false;
}

const char *tund_route_complaint(const struct prefix *route, bool any_route)
{
	/* What ends at this machine or at this link. */
	static const char *const never[] = { "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
					     "::/80", "fe80::/9", "ff00::/8" };
	struct prefix range;

	if (route->len == 0)
		return "the default route is the machine's own: a tunnel takes its two halves";
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		if (prefix_parse(&range, never[i]) == 0 && prefix_contains(&range, route))
			return "it is loopback, multicast, link-local or reserved";
	if (!any_route && !is_private(route))
		return "it is not private: tund sets others with --any-route alone";
	return NULL;
}

/* A count that is not zero, and so many networks; or nothing. */
static bool get_routes(struct rbuf *r, struct tund_request *q)
{
	if (rbuf_done(r))
		return true;
	q->n_routes = rbuf_u8(r);
	if (q->n_routes == 0 || q->n_routes > TUND_ROUTES_MAX)
		return false;
	for (size_t i = 0; i < q->n_routes; i++) {
		struct prefix *p = &q->routes[i];

		p->family = rbuf_u8(r);
		p->len = rbuf_u8(r);
		rbuf_get(r, p->a, sizeof(p->a));
		if (!prefix_is_sound(p))
			return false;
	}
	return rbuf_done(r);
}

int tund_request_decode(struct tund_request *out, const uint8_t *in, size_t len)
{
	struct tund_request q = { 0 };
	struct rbuf r;
	uint8_t has;

	rbuf_init(&r, in, len);
	q.type = rbuf_u8(&r);
	if (!get_name(&r, q.ifname))
		return -EBADMSG;
	q.flags = rbuf_u8(&r);
	q.mtu = rbuf_be16(&r);
	has = rbuf_u8(&r);
	q.has_v4 = has & HAS_V4;
	q.has_v6 = has & HAS_V6;
	rbuf_get(&r, q.v4_local, sizeof(q.v4_local));
	rbuf_get(&r, q.v4_peer, sizeof(q.v4_peer));
	q.v4_prefix = rbuf_u8(&r);
	rbuf_get(&r, q.v6_local, sizeof(q.v6_local));
	q.v6_prefix = rbuf_u8(&r);
	if (!get_routes(&r, &q) || (has & ~(HAS_V4 | HAS_V6)) || !request_is_sound(&q))
		return -EBADMSG;
	*out = q;
	return 0;
}

ssize_t tund_reply_encode(uint8_t *out, size_t cap, const struct tund_reply *r)
{
	struct wbuf w;

	wbuf_init(&w, out, cap);
	wbuf_be32(&w, (uint32_t)r->error);
	put_name(&w, r->ifname);
	wbuf_lv16(&w, r->detail, strnlen(r->detail, sizeof(r->detail) - 1));
	return wbuf_ok(&w) ? (ssize_t)w.len : -EMSGSIZE;
}

int tund_reply_decode(struct tund_reply *out, const uint8_t *in, size_t len)
{
	struct tund_reply y = { 0 };
	const uint8_t *detail;
	size_t detail_len;
	uint32_t error;
	struct rbuf r;

	rbuf_init(&r, in, len);
	error = rbuf_be32(&r);
	if (!get_name(&r, y.ifname))
		return -EBADMSG;
	detail = rbuf_lv16(&r, &detail_len);
	if (!rbuf_done(&r) || error > INT32_MAX || detail_len >= sizeof(y.detail) ||
	    !text_is_utf8((const char *)detail, detail_len))
		return -EBADMSG;
	if (!error && !is_plain_name(y.ifname))
		return -EBADMSG;
	y.error = (int32_t)error;
	memcpy(y.detail, detail, detail_len);
	*out = y;
	return 0;
}
