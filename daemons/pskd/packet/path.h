/*
 * The packet path of one tunnel: what stands between its TUN device and its
 * UDP socket, and the only code that touches packets. Batches of 64, no
 * allocation and no lock a packet. The control part (tunnel.c, hello.c) gives
 * it sessions and hears of what it cannot decide. Its loop may be a packet
 * thread's: all functions and events here are the control thread's even then.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "pskd/handshake/session.h"
#include "pskd/keys/keys.h"
#include "pskd/network/address.h"
#include "pskd/packet/drops.h"
#include "pskd/packet/sources.h"
#include "pskd/packet/udp.h"

struct hold;
struct loop;
struct path;
struct pmtu;

/* Slots that a sender may be ahead of what its peer has seen. */
#define PATH_SLOTS_AHEAD 16

struct path_events {
	/*
	 * A message that begins with "PSKH"; believed in nothing. high: keys_rx_high() of the key material that it
	 * names when it came, which may be a while ago; UINT64_MAX also when it names none of ours.
	 */
	void (*on_handshake)(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high, void *arg);
	/*
	 * The first authenticated packet of the pending session: it is the current one now. There is a pending one all
	 * the same when another was agreed on before this was heard.
	 */
	void (*on_proven)(void *arg);
	/* The first authenticated packet of the staged session: its key file is the current one now. */
	void (*on_switched)(void *arg);
	/* Authenticated data came, or data was sent, after a silence, or a probe was answered: timers may be due. */
	void (*on_traffic)(void *arg);
	/* Nothing left to send with. */
	void (*on_exhausted)(void *arg);
	/* A packet with our own direction and the right tag: a reflection, or a second peer in our role. */
	void (*on_own_packet)(const struct sockaddr_in6 *from, void *arg);
	/* Some of what just came was dropped and counted. */
	void (*on_drops)(void *arg);
};

struct path_options {
	struct loop *loop; /* that carries packets */
	struct hold *hold; /* of loop's thread; NULL: it is the control thread */
	struct loop *control; /* where events are told; with hold */
	struct keys *keys;
	enum keys_role role;
	bool prototype;
	uint32_t window;
	uint16_t mtu;
	struct tunnel_addresses addresses; /* inside */
	const struct sources *sources; /* NULL: the peer may speak for anybody */
	struct udp udp; /* both descriptors are taken on success */
	int tun_fd;
	unsigned int ifindex; /* of the device */
	unsigned int offload; /* of enum offload: what may be used where it can be had */
	uint8_t dscp; /* of outer packets: 0 to 63, or ECN_DSCP_COPY */
	const struct path_events *events;
	void *arg;
};

struct path_counters {
	uint64_t tx_packets, tx_bytes; /* of IP packets */
	uint64_t rx_packets, rx_bytes;
	struct drops drops;
	/* clock_now_ms(); 0: never */
	uint64_t sent_ms, data_sent_ms;		/* any packet; one with an IP packet in it */
	uint64_t received_ms, data_received_ms; /* authenticated */
	uint64_t unanswered_since_ms;		/* the first data after sent_ms */
};

/* By which device packets to there leave now; as way_find(). */
uint32_t path_way(struct path *p, const struct sockaddr_in6 *to);
/* Routes are others now: what was known of them is looked for again. */
void path_forget_ways(struct path *p);
/* Packets to the peer leave otherwise than before: from which address, the kernel chooses until the peer is heard again. */
void path_forget_locals(struct path *p);

/* 0 or a negative errno. */
int path_new(struct path **out, const struct path_options *o);
struct path *path_free(struct path *p);
DEFINE_CLEANUP(struct path *, path_free);

/*
 * A session that the handshake made, taken on success: pending until its first
 * authenticated packet; an earlier pending one is dropped.
 */
void path_set_pending(struct path *p, struct session **s);
/* The one session of a prototype peer. */
void path_set_current(struct path *p, struct session **s);
const struct session *path_current(const struct path *p);
const struct session *path_pending(const struct path *p);
/* The one before, while its packets may come; or NULL. */
const struct session *path_previous(const struct path *p);
/* The current session is dead: nothing is sent until the next. */
void path_drop_sessions(struct path *p);
/* Let go of a previous session after 10 s. */
void path_expire(struct path *p, uint64_t now_ms);
/* When path_expire() has something to do, or UINT64_MAX. */
uint64_t path_expiry(const struct path *p);
/* The last packet of the current session came from there, or did a moment ago. */
bool path_is_heard_from(struct path *p, const struct sockaddr_in6 *from);

/*
 * Sessions of another key material, k, may come: that of a staged key file. k must live until
 * path_unstage(), or path_is_retiring() is false again after the switch. 0, -ENOMEM, or -EBUSY while packets
 * of the file before are still waited for.
 */
int path_stage(struct path *p, struct keys *k);
/* No more of it; what is current stays. */
void path_unstage(struct path *p);
/* A session of the staged key material, taken on success; the peer will begin at peer_tx_next. */
void path_set_staged(struct path *p, struct session **s, uint64_t peer_tx_next);
/* A session that was agreed on and has not proven itself yet, or NULL. */
const struct session *path_staged(const struct path *p);
/* An empty packet in it. */
void path_send_proof(struct path *p);
/* Packets of the key file before may still come. */
bool path_is_retiring(const struct path *p);

/* The peer will send from next on (keys_rx_forward() was called): prepare for it. */
void path_rx_forward(struct path *p, uint64_t next);
/*
 * An empty packet, in the pending session if there is one and pending is set.
 * False when it was not sent: there is no session, or keys are not ready, and
 * then it follows when they are.
 */
bool path_send_keepalive(struct path *p, bool pending);
/* One follows. */
bool path_owes_keepalive(const struct path *p);
/* keys_options.on_ready: go on with what waited. */
void path_on_keys_ready(struct path *p);
/* A handshake message; an answer leaves from where the other was sent to. */
void path_send_handshake(struct path *p, const uint8_t *msg, size_t len, const struct udp_ends *to);

/* Ask how large packets may be, as time and traffic demand. */
void path_probe(struct path *p);
/* When path_probe() has something to do, or UINT64_MAX. */
uint64_t path_probe_due(const struct path *p);
/* As it is now; what is returned changes with the next call. */
const struct pmtu *path_pmtu(struct path *p);
/* Outer packets carry the ECN field of what is inside, since the peer is known to obey it. */
bool path_copies_ecn(struct path *p);

/*
 * As they are now, and so with times that may be later than what a caller took for now before: clock_since_ms().
 * What is returned changes with the next call.
 */
const struct path_counters *path_counters(struct path *p);
/* For what the control thread drops: counted with the others. */
struct drops *path_drops(struct path *p);
const struct udp *path_udp(const struct path *p);
int path_tun_fd(const struct path *p);
/* What is in use, of enum offload. */
unsigned int path_offload(const struct path *p);
/* One more than the highest sequence authenticated. */
uint64_t path_rx_next(struct path *p);
/* Sessions keep this many slots for receiving. */
size_t path_rx_slots(uint32_t window);
