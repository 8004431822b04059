/*
 * How large a packet may be to come through to the peer: asked with probes of
 * chosen sizes, which the peer answers, as RFC 8899 describes; messages of the
 * network are only a hint of what to ask. This decides which probes go out when
 * and what their answers mean; it sends nothing. All sizes are those of the
 * packet inside the tunnel. Time is clock_now_ms().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pskd/packet/udp.h"

/* What IPv6 inside asks for; where even that does not come through whole, the outer packets are cut up. */
#define PMTU_MIN 1280
/* Packets larger than this are a reason to look whether their size still comes through. */
#define PMTU_BIG 1024
/* A probe that comes through wherever the tunnel works at all: silence after it says nothing of sizes. */
#define PMTU_SMALL 64
/* Probes sent at once, at most. */
#define PMTU_PROBES 10

enum pmtu_state {
	PMTU_UNKNOWN,	 /* not answered yet */
	PMTU_SEARCHING,	 /* what came through does not any more, or never did */
	PMTU_FOUND,
	PMTU_SMALLER,	 /* than PMTU_MIN */
	PMTU_UNANSWERED, /* the peer knows no probes */
};

struct pmtu {
	enum pmtu_state state;
	uint16_t max;	/* the device's */
	uint16_t mtu;	/* found */
	uint16_t hint;	/* the network's word; 0: none */
	uint16_t refuted; /* and one that turned out to be wrong */
	bool answers;	/* the peer has answered a probe of this session */
	bool sent, sent_big; /* anything, anything larger than PMTU_BIG, since it was looked at */
	/* what is being asked */
	enum pmtu_doing { PMTU_QUIET, PMTU_CHECK, PMTU_RAISE, PMTU_SEARCH } doing;
	uint32_t number; /* of the question: a check, or a whole search */
	uint16_t target; /* of a check */
	uint16_t good, bad; /* the largest that was answered; all from here on are not */
	uint16_t sizes[PMTU_PROBES];
	bool answered[PMTU_PROBES];
	size_t n;
	unsigned int tries;
	uint64_t begun_ms, sent_ms; /* of this round; 0: not sent yet */
	uint32_t wait_ms;
	uint64_t confirmed_ms, raised_ms;
};

void pmtu_init(struct pmtu *p, uint16_t max);
/* A session began; moved: the peer is somewhere else than in the one before. */
void pmtu_start(struct pmtu *p, uint64_t now, bool moved);
/* A packet of len bytes went to the peer. */
static inline void pmtu_on_sent(struct pmtu *p, size_t len)
{
	p->sent = true;
	p->sent_big = p->sent_big || len > PMTU_BIG;
}
/* The network says that packets of this size come through. */
void pmtu_on_hint(struct pmtu *p, uint16_t size);
/* Time went by: probes to send now, as many as it returns, of these sizes and p->number. */
size_t pmtu_tick(struct pmtu *p, uint64_t now, uint16_t sizes[static PMTU_PROBES]);
/* When pmtu_tick() has something to do; UINT64_MAX: not before something is sent. */
uint64_t pmtu_due(const struct pmtu *p);
/* An authenticated answer of the peer. */
void pmtu_on_answer(struct pmtu *p, uint32_t number, uint16_t size, uint64_t now);

/* The largest packet to send to the peer. */
uint16_t pmtu_limit(const struct pmtu *p);
enum udp_df pmtu_df(const struct pmtu *p);
/* "unknown", "searching", "found", "smaller", "unanswered": stable. */
const char *pmtu_state_name(enum pmtu_state s);
