/*
 * Where a receive puts its datagrams. What came is dealt with before the next receive, so that all tunnels whose
 * packets one loop carries share a room: half a megabyte for all of them, and warm in the caches.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "pskd/packet/udp.h"

struct loop;

/* Messages of a receive. */
#define ROOM_MESSAGES 64
/* The most that a message can be, with UDP_GRO many datagrams. */
#define ROOM_LARGE 65535

struct room {
	uint8_t *memory;
	size_t each; /* as it is laid out: bytes for a message */
	struct mmsghdr msgs[ROOM_MESSAGES];
	struct iovec iov[ROOM_MESSAGES];
	struct sockaddr_storage address[ROOM_MESSAGES];
	union {
		struct cmsghdr align;
		uint8_t room[UDP_RECEIVED_SPACE];
	} control[ROOM_MESSAGES];
	/* room.c's */
	const struct loop *loop;
	unsigned int users;
	struct room *next;
};

/* The room of this loop, made for its first user; from one thread alone, as room_free(). 0 or -ENOMEM. */
int room_get(struct room **out, const struct loop *l);
/* Once for each room_get(). */
struct room *room_free(struct room *r);
DEFINE_CLEANUP(struct room *, room_free);

/* How many messages of so many bytes, up to ROOM_LARGE, have room, up to ROOM_MESSAGES. */
unsigned int room_capacity(size_t each);
/*
 * Receive up to n messages of each bytes, room_capacity(each) or fewer, without waiting, to the loop's own thread. How
 * many came, or -1 and errno. They are the caller's until the next call.
 */
int room_receive(struct room *r, int fd, size_t each, unsigned int n);
