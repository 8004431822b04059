/*
 * What a packet thread tells the control thread of one tunnel: facts, which
 * are flags and so never too many, and messages, in a ring that has an end: a
 * flood of them costs neither memory nor the packets' time. Where own packets
 * came back from has a ring of its own, so that neither keeps the other out.
 * One thread tells, the control thread hears, and nobody waits.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "pskd/packet/udp.h"

/* Messages that may wait. */
#define NEWS_MAX 64
/* Own packets that may, besides. */
#define NEWS_OWN_MAX 8
/* Longer ones are cut off here, which is more than a handshake message has. */
#define NEWS_MESSAGE_MAX 320

struct loop;
struct news;

struct news_ops {
	/* Some of these flags were raised; before any message that was sent after them. */
	void (*on_facts)(unsigned int facts, void *arg);
	/* stamp: what it was sent with. */
	void (*on_message)(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t stamp, void *arg);
	void (*on_own)(const struct sockaddr_in6 *from, void *arg);
};

/* Heard in loop, whose callbacks may not free it. 0 or a negative errno. */
int news_new(struct news **out, struct loop *loop, const struct news_ops *ops, void *arg);
/* The thread tells no more. */
struct news *news_free(struct news *n);
DEFINE_CLEANUP(struct news *, news_free);

void news_tell(struct news *n, unsigned int facts);
/* False: so many wait already that this one is lost. */
bool news_send(struct news *n, const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t stamp);
/* A packet of our own came back from there. False: lost, as above. */
bool news_send_own(struct news *n, const struct sockaddr_in6 *from);
