/* A tunnel's socket and device, of an earlier life or new, and the packet path between them. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "pskd/packet/offload.h"
#include "pskd/packet/tun.h"
#include "pskd/tunnel/kept.h"
#include "pskd/tunnel/tunnel_internal.h"

#define SETTLE_MS 20

static int listen_address(const struct tunnel *t, struct sockaddr_in6 *at)
{
	char port[8];

	if (t->spec->f.listen)
		return udp_parse(at, t->spec->f.listen);
	if (t->spec->origin == SPEC_PAIRED) {
		snprintf(port, sizeof(port), "%u", t->spec->own_port);
		return udp_parse(at, port);
	}
	/* Who knows where the peer is need not be found itself. */
	if (t->spec->f.endpoint) {
		*at = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
		return 0;
	}
	snprintf(port, sizeof(port), "%d", SPEC_PORT);
	return udp_parse(at, port);
}

static void on_device(const struct tun_result *result, void *arg);
static void use_device(struct tunnel *t, int fd, bool is_kept);

static void refuse_kept(struct tunnel *t, int fd, const char *what)
{
	log_event(LOG_NOTICE, &MSG_FD_REFUSED,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }),
		  "tunnel %s: the %s that was kept is not the one it needs now; it is closed", t->spec->name, what);
	close(fd);
}

static bool take_socket(struct tunnel *t, const struct sockaddr_in6 *at)
{
	int fd = kept_take_udp(t->ctx.kept, t->spec->name);

	if (fd < 0)
		return false;
	t->kept = true;
	if (udp_adopt(&t->udp, fd, at) == 0)
		return true;
	refuse_kept(t, fd, "socket");
	kept_drop_udp(t->ctx.kept, t->spec->name);
	return false;
}

/* The device that was kept, or -1. *is_same: it needs nothing. */
static int take_device(struct tunnel *t, bool *is_same)
{
	int fd = kept_take_tun(t->ctx.kept, t->spec->name);
	enum tun_state state;

	*is_same = false;
	if (fd < 0)
		return -1;
	t->kept = true;
	state = tun_look(fd, t->spec->f.interface, (uint16_t)t->spec->f.mtu, &t->addresses, t->ifname);
	if (state == TUN_OTHER) {
		refuse_kept(t, fd, "device");
		kept_drop_tun(t->ctx.kept, t->spec->name);
		return -1;
	}
	log_event(LOG_INFO, &MSG_TUNNEL_KEPT,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) },
			     { FIELD_DEVICE, t->ifname }),
		  "tunnel %s goes on with %s", t->spec->name, t->ifname);
	*is_same = state == TUN_SAME;
	return fd;
}

static void choose_addresses(struct tunnel *t)
{
	struct keys_info info;
	enum keys_role role = (enum keys_role)t->spec->f.role;

	if (t->spec->f.local_address) {
		/* Checked when the spec was read. */
		address_parse(&t->addresses, t->spec->f.local_address, t->spec->f.peer_address);
		return;
	}
	keys_info(t->keys, &info);
	/* Both sides have the same file, so its fingerprint names the tunnel. */
	if (info.is_file)
		address_derive(&t->addresses, t->spec->has_first ? t->spec->first_fingerprint : info.fingerprint, role);
	else
		address_derive(&t->addresses, t->spec->tunnel_id, role);
}

bool tunnel_spec_addresses(const struct spec *s, struct tunnel_addresses *out)
{
	enum keys_role role = (enum keys_role)s->f.role;

	if (s->f.local_address)
		return address_parse(out, s->f.local_address, s->f.peer_address) == 0;
	if (s->origin == SPEC_PAIRED)
		address_derive(out, s->tunnel_id, role);
	else if (s->has_first)
		address_derive(out, s->first_fingerprint, role);
	else if (s->fingerprint.is_known)
		address_derive(out, s->fingerprint.b, role);
	else
		return false;
	return true;
}

static void choose_networks(struct tunnel *t)
{
	choose_addresses(t);
	t->addresses.routes = t->spec->routes;
	sources_init(&t->sources, &t->addresses, &t->spec->allowed);
}

/* The manager still has what a tunnel that went down had, which is in the way; tunnel_listen() is called again. */
static bool must_wait(struct tunnel *t)
{
	if (kept_is_settled(t->ctx.kept))
		return false;
	loop_timer_start(t->retry, SETTLE_MS);
	return true;
}

/* -EAGAIN: not yet. */
static int open_socket(struct tunnel *t, struct sockaddr_in6 *at)
{
	int r = listen_address(t, at);

	if (r || take_socket(t, at))
		return r;
	if (must_wait(t))
		return -EAGAIN;
	r = udp_open(&t->udp, at);
	if (!r)
		kept_store_udp(t->ctx.kept, t->spec->name, t->udp.fd);
	t->kept = true;
	return r;
}

void tunnel_listen(struct tunnel *t)
{
	struct sockaddr_in6 at;
	struct tunnel_error e = { 0 };
	struct tunnel_link *link;
	char text[UDP_TEXT_MAX];
	int device, r;
	bool is_same;

	r = t->udp.fd >= 0 ? 0 : open_socket(t, &at);
	if (r == -EAGAIN)
		return;
	if (r) {
		udp_format(text, &at);
		tunnel_error_set(&e, E(ListenFailed),
				 r == -EADDRNOTAVAIL ? "This machine does not have that address: “listen” with a port alone takes any." :
						       "Choose another port with “listen”.",
				 "cannot listen on UDP %s: %s", text, strerror(-r));
		tunnel_fail(t, &e);
		return;
	}
	choose_networks(t);
	device = take_device(t, &is_same);
	if (device < 0 && must_wait(t))
		return;
	tunnel_tell(t, "listening");
	if (is_same) {
		use_device(t, device, true);
		return;
	}
	link = calloc(1, sizeof(*link));
	r = link ? tun_request(t->ctx.loop, t->ctx.tund_socket, t->spec->f.interface,
			       (uint16_t)t->spec->f.mtu, t->ctx.offload & OFFLOAD_VNET_HEADER, &t->addresses,
			       device, on_device, link) :
		   -ENOMEM;
	if (r) {
		if (device >= 0)
			close(device);
		free(link);
		tunnel_fail_errno(t, E(DeviceFailed), r, "device");
		return;
	}
	link->t = t;
	t->job = link;
}

/* What tund did not do, or would not, and what can be done about it; what, as a sentence, goes before. */
static void device_error(struct tunnel_error *e, const struct tun_result *result, const char *what)
{
	const char *code = E(DeviceFailed), *hint = NULL;

	if (result->error == EADDRINUSE) {
		code = E(AddressConflict);
		hint = "Set local_address and peer_address, on both sides.";
	} else if (result->error == EEXIST) {
		code = E(RouteConflict);
		hint = "Leave that network out of “routes”, or take the other one away.";
	} else if (result->error == ENOENT || result->error == ECONNREFUSED) {
		hint = "“systemctl start tund.socket” starts it.";
	} else if (strstr(result->detail, "--any-")) {
		hint = "tund(8) says how it gets that option.";
	}
	tunnel_error_set(e, code, hint, "%s: %s", what, result->detail);
}

static void refused_device(struct tunnel_error *e, const struct tunnel *t, const struct tun_result *result)
{
	char what[sizeof(t->spec->name) + 16];

	if (result->error == EADDRINUSE) {
		device_error(e, result, "the tunnel's address cannot be used");
	} else if (result->error == EEXIST) {
		device_error(e, result, "a route cannot be set");
	} else {
		snprintf(what, sizeof(what), "no device for %s", t->spec->name);
		device_error(e, result, what);
		snprintf(e->message + strlen(e->message), sizeof(e->message) - strlen(e->message), " (%s)",
			 strerror(result->error));
	}
}

/* ---- what would be refused ---- */

struct question {
	tunnel_answer_fn fn;
	void *arg;
	bool is_wanted; /* now, not only some time */
	char what[SPEC_NAME_MAX + 40];
};

static void on_answer(const struct tun_result *result, void *arg)
{
	struct question *q = arg;
	struct tunnel_error e = { 0 };

	/* What tund never does is wrong also of a tunnel that is down; the rest may be otherwise when it comes up. */
	if (result->error == EPERM || (result->error && q->is_wanted))
		device_error(&e, result, q->what);
	q->fn(&e, q->arg);
	free(q);
}

int tunnel_ask_networks(struct tunnel *t, tunnel_answer_fn fn, void *arg)
{
	struct tunnel_addresses a = { 0 };
	struct question *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return -ENOMEM;
	*q = (struct question){ .fn = fn, .arg = arg, .is_wanted = t->spec->enabled };
	snprintf(q->what, sizeof(q->what), "tunnel %s stays as it is", t->spec->name);
	if (!tunnel_spec_addresses(t->spec, &a))
		a = (struct tunnel_addresses){ 0 };
	a.routes = t->spec->routes;
	r = tun_check(t->ctx.loop, t->ctx.tund_socket, t->ifname[0] ? t->ifname : t->spec->f.interface,
		      (uint16_t)t->spec->f.mtu, &a, on_answer, q);
	if (r)
		free(q);
	return r;
}

/* ---- the device, and what begins with it ---- */

static int make_path(struct tunnel *t, int tun_fd)
{
	struct path_options po = {
		.loop = t->ctx.loop, .keys = t->keys, .role = (enum keys_role)t->spec->f.role,
		.prototype = t->spec->f.peer != 0, .window = (uint32_t)t->spec->f.window,
		.hold = packet_thread_hold(t->thread), .control = t->ctx.loop,
		.mtu = (uint16_t)t->spec->f.mtu, .sources = &t->sources, .udp = t->udp, .tun_fd = tun_fd, .ifindex = t->ifindex,
		.offload = t->ctx.offload, .addresses = t->addresses, .dscp = t->spec->dscp,
		.events = &tunnel_path_events, .arg = t,
	};
	struct hello_options ho = {
		.loop = t->ctx.loop, .keys = t->keys, .role = po.role, .window = po.window,
		.pinned = t->spec->pinned, .peer_public = t->spec->peer_public, .allowed = &t->spec->labels,
		.revoked = &t->ctx.policy->revoked, .revoked_here = &t->spec->revoked_ids, .ops = &tunnel_hello_ops, .arg = t,
		.last_session = &t->last_session,
	};
	int r;

	if (t->thread)
		po.loop = packet_thread_loop(t->thread);
	r = path_new(&t->path, &po);
	if (r) {
		close(tun_fd);
		return r;
	}
	t->udp.fd = -1;
	t->offload_told = path_offload(t->path);
	if (po.prototype)
		return 0;
	tunnel_make_identity(t);
	memcpy(ho.own_identity, t->own_identity, sizeof(ho.own_identity));
	ho.drops = path_drops(t->path);
	return hello_new(&t->hello, &ho);
}

static void use_device(struct tunnel *t, int fd, bool is_kept)
{
	int r;

	if (!is_kept) {
		/* One that could not be configured again may be there still. */
		kept_drop_tun(t->ctx.kept, t->spec->name);
		kept_store_tun(t->ctx.kept, t->spec->name, fd);
	}
	t->kept = true;
	t->ifindex = if_nametoindex(t->ifname);
	r = make_path(t, fd);
	if (!r) {
		t->state = TUNNEL_WAITING;
		tunnel_clear_problem(t);
		t->retry_ms = 0;
		tunnel_tell(t, "device");
		r = tunnel_begin(t);
	}
	if (r)
		tunnel_fail_errno(t, E(DeviceFailed), r, "packet path");
}

static void on_device(const struct tun_result *result, void *arg)
{
	struct tunnel_link *link = arg;
	struct tunnel *t = link->t;
	struct tunnel_error e = { 0 };

	free(link);
	if (!t) {
		if (!result->error)
			close(result->fd);
		return;
	}
	t->job = NULL;
	if (result->error) {
		refused_device(&e, t, result);
		tunnel_fail(t, &e);
		return;
	}
	memcpy(t->ifname, result->ifname, sizeof(t->ifname));
	use_device(t, result->fd, result->is_old);
}
