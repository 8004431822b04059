/* What path.c, outbound.c and inbound.c share: one path's state. */
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include "crypto/bulk.h"
#include "event/loop.h"
#include "proto/psk2.h"
#include "proto/psk_handshake.h"
#include "pskd/network/way.h"
#include "pskd/packet/ecn.h"
#include "pskd/packet/gro.h"
#include "pskd/packet/gso.h"
#include "pskd/packet/hold.h"
#include "pskd/packet/news.h"
#include "pskd/packet/offload.h"
#include "pskd/packet/path.h"
#include "pskd/packet/pmtu.h"
#include "pskd/packet/replay.h"
#include "pskd/packet/room.h"

#define BATCH 64
/* Batches in a row before the loop may look at other things. */
#define ROUNDS 4
#define PREVIOUS_KEPT_MS 10000
/* The most that the device gives. */
#define LARGE_MAX 65535

/* Datagrams come to the loop's room; with UDP_GRO there are fewer messages, each of which may hold many. */
struct inbound {
	struct room *room;
	size_t each; /* bytes of a message */
	unsigned int n_msgs;
	size_t capacity; /* of a packet inside; what is larger is dropped */
	struct gro gro;
};

/*
 * Packets on their way out lie back to back, as UDP_SEGMENT wants them: header,
 * packet, tag, and at once the next header.
 */
struct outbound {
	uint8_t *memory;
	size_t used;
	struct {
		uint32_t at;
		uint16_t len; /* of the IP packet inside */
		uint8_t class; /* traffic class of the outer packet */
	} packets[BATCH];
	unsigned int n, sealed, sent;
	uint8_t *large; /* one read of the device, with its virtio header */
	struct gso gso; /* what of it is not in the batch yet */
	/* A packet that goes in fragments; len 0: none. */
	struct {
		uint8_t *packet;
		size_t len, done;
	} cut;
	bool told; /* the sender of what was read knows that it is too big */
	bool waits_for_keys, waits_for_socket;
	/* The runs of one send. */
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	unsigned int run[BATCH]; /* packets of each */
	union {
		struct cmsghdr align;
		uint8_t room[CMSG_SPACE(sizeof(uint16_t)) + UDP_CLASS_SPACE + UDP_WAY_SPACE_MAX];
	} control[BATCH];
};

/* By which device packets to there leave; see way.h. */
struct way {
	struct in6_addr to;
	uint32_t by;
	uint64_t looked_ms; /* 0: never */
};
#define PATH_WAYS 8
struct ways {
	struct way v[PATH_WAYS];
	unsigned int next; /* to be forgotten for another */
};

/* The sequences of one key material: whose they are, and which of them came. */
struct space {
	struct keys *keys;
	uint8_t hint[PSKH_HINT_LEN]; /* of the keys, as handshakes say it */
	struct replay *replay;
	uint64_t rx_base; /* one more than what the peer is known to have reached */
	uint64_t told;	  /* the keys know that all below were received, or given up */
};

/* How many of something there were within a second. */
struct path_rate {
	uint64_t since_ms;
	unsigned int n;
};

/* What the packet thread tells the control thread. */
enum {
	FACT_PROVEN = 1, /* a session's first packet came */
	FACT_TRAFFIC = 2,
	FACT_EXHAUSTED = 4,
	FACT_DROPS = 8,
	FACT_KEYS = 16, /* keys have something to do: keys_go_on() */
};

struct path {
	struct path_options o; /* keys: those of space */
	struct loop_io *tun_io, *udp_io;
	struct session *current, *pending, *previous;
	uint64_t previous_until_ms;
	bool untold; /* current has proven itself, and nobody was told: the control thread's */
	uint64_t down_since_ms;
	bool owes_keepalive, owes_proof; /* they wait for a sequence */
	bool heard_previous; /* in this batch */
	uint64_t repeated_ms;
	struct space *space; /* of current and pending */
	/*
	 * Of a staged key file, with the session that its handshake made; once that has proven
	 * itself, of the file before (retired), with the last session of that.
	 */
	struct space *spare;
	struct session *other;
	bool retired;
	uint64_t retired_until_ms;
	struct path_counters counters;
	/* The control thread's: what it dropped, and what it was shown. */
	struct drops control_drops;
	struct path_counters shown;
	struct {
		const struct session *of; /* to compare with, no more */
		uint64_t at_ms;
		struct sockaddr_in6 from;
	} heard;
	struct news *news; /* NULL: one thread does all, and is told at once */
	unsigned int offload; /* of enum offload, in use */
	struct inbound in;
	struct outbound out;
	struct {
		struct pmtu pmtu;
		uint64_t changes; /* a figure: of pmtu, but for what was sent */
		struct pmtu shown; /* the control thread's, with so many of them */
		uint64_t shown_changes;
		/* Figures: when pmtu wants to be looked at, and whether the kernel should be asked at each look. */
		uint64_t due_ms, wants_hint;
		enum udp_df df; /* what the socket was told */
		struct sockaddr_in6 at; /* whom that is about */
		struct path_rate answers, words;
		uint8_t *room; /* of one packet */
	} mtu;

	struct ways ways, control_ways; /* each thread looks for itself */
};

/* outbound.c */
int outbound_init(struct path *p);
void outbound_done(struct path *p);
void outbound_on_tun(int fd, unsigned int events, void *arg);
/* Send what waits; true when nothing is left of it. */
bool outbound_push(struct path *p);
/* Read and forget what the device holds. */
void outbound_drain(struct path *p);
/* Watch the device and the socket as the state asks. */
void outbound_update(struct path *p);
/* Seal the packet of len bytes behind header with the next sequence of session s. 0 or -KEYS_E_. */
int outbound_seal_one(struct path *p, struct session *s, uint8_t *header, size_t len);

/* send.c: send what is sealed. False when the socket is full. */
bool send_sealed(struct path *p);

/* path_mtu.c */
int mtu_init(struct path *p);
void mtu_done(struct path *p);
/* There is a new current session. */
void mtu_on_session(struct path *p);
/* What path_probe_due() says from now on, and whether path_probe() has something to ask. */
void mtu_show_due(struct path *p);
/* A packet inside that says it is a probe. 0, or -1 when it is none. */
int mtu_on_probe(struct path *p, const uint8_t *inside, size_t len);
/* The largest packet that goes to the peer. */
static inline uint16_t mtu_limit(const struct path *p)
{
	return pmtu_limit(&p->mtu.pmtu);
}
/* The largest that is sure to come through whole: where the path is too small for IPv6 inside, less than that. */
uint16_t mtu_whole(const struct path *p);
/* Tell the sender of this packet how large it may be. */
void mtu_tell(struct path *p, const uint8_t *packet, size_t len);

/* path.c */
/* The control thread's: look at a message that came. */
void path_hear_handshake(struct path *p, const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high);
/* All of these from the thread that carries packets, or under its hold. */
/* Tell facts, as soon as may be. */
void path_tell(struct path *p, unsigned int facts);
/* Keys took part: whatever they cannot do in this thread is told. */
void path_tell_keys(struct path *p, const struct keys *k);
/* An empty packet in the current session. */
void path_keep_alive(struct path *p);

/* path_way.c: path_way(), from the thread that carries packets, or under its hold. */
uint32_t path_way_out(struct path *p, const struct sockaddr_in6 *to);

/* inbound.c */
int inbound_init(struct path *p);
void inbound_done(struct path *p);
void inbound_on_udp(int fd, unsigned int events, void *arg);
/* Derive what s lacks for the window and the slots ahead. */
void inbound_prepare(struct path *p, struct session *s);

/* deliver.c */
/* One of our own, at once; 32 bytes in front of it may be overwritten. False when the device did not take it. */
bool deliver_own(struct path *p, uint8_t *ip, size_t len);
/* Hand the packet to the device, now or at the latest with deliver_flush(); 32 bytes in front of it may be overwritten. */
void deliver(struct path *p, uint8_t *ip, size_t len);
void deliver_flush(struct path *p);

/* What the peer is known to bring into the packets inside: who answers probes obeys the outer ECN field, too. */
static inline bool path_peer_obeys_ecn(const struct path *p)
{
	return p->mtu.pmtu.answers;
}
/* The traffic class of the outer packet for one inside. */
static inline uint8_t path_class(const struct path *p, const uint8_t *ip, size_t len)
{
	return ecn_encapsulate(ecn_get(ip, len), p->o.dscp, path_peer_obeys_ecn(p));
}
/* And of those that carry none. */
static inline uint8_t path_own_class(const struct path *p)
{
	return ecn_encapsulate(0, p->o.dscp, false);
}

/* From whichever of our addresses the kernel chooses, until the peer's next packet comes. */
static inline void path_forget_local(struct session *s)
{
	if (s)
		s->local = (struct udp_local){ .ifindex = 0 };
}

/* Told at most once a batch; a keepalive puts off what is due, and is not told at all. */
static inline void path_mark(struct path *p, uint64_t *any_ms, uint64_t *data_ms, uint64_t now, bool data)
{
	bool was_quiet = data && now - *data_ms > 1000;

	figure_set(any_ms, now);
	if (data)
		figure_set(data_ms, now);
	mtu_show_due(p);
	if (was_quiet)
		path_tell(p, FACT_TRAFFIC);
}
