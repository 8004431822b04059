/* The rooms are few, as loops are: one for each thread that carries packets. */
#include "pskd/packet/room.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_LINE 64
/* Of messages of up to 64 KiB: a call for eight costs no more a packet than one for sixteen. */
#define LARGE_MESSAGES 8
#define ROOM_BYTES (LARGE_MESSAGES * stride(ROOM_LARGE))

static struct room *rooms;

/* Each begins at a cache line. */
static size_t stride(size_t each)
{
	return (each + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

int room_get(struct room **out, const struct loop *l)
{
	struct room *r = rooms;

	while (r && r->loop != l)
		r = r->next;
	if (!r) {
		r = calloc(1, sizeof(*r));
		/* Not cleared: pages that no packet ever needed are none. */
		if (r)
			r->memory = malloc(ROOM_BYTES);
		if (!r || !r->memory) {
			free(r);
			return -ENOMEM;
		}
		r->loop = l;
		r->next = rooms;
		rooms = r;
	}
	r->users++;
	*out = r;
	return 0;
}

struct room *room_free(struct room *r)
{
	struct room **at = &rooms;

	if (!r || --r->users > 0)
		return NULL;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	free(r->memory);
	free(r);
	return NULL;
}

unsigned int room_capacity(size_t each)
{
	size_t n = ROOM_BYTES / stride(each);

	return n < ROOM_MESSAGES ? (unsigned int)n : ROOM_MESSAGES;
}

static void lay_out(struct room *r, size_t each)
{
	unsigned int n = room_capacity(each);

	r->each = each;
	for (unsigned int i = 0; i < n; i++) {
		r->iov[i] = (struct iovec){ r->memory + i * stride(each), each };
		r->msgs[i].msg_hdr = (struct msghdr){ .msg_name = &r->address[i], .msg_iov = &r->iov[i],
						      .msg_iovlen = 1, .msg_control = &r->control[i] };
	}
}

int room_receive(struct room *r, int fd, size_t each, unsigned int n)
{
	int got;

	assert(each <= ROOM_LARGE && n <= room_capacity(each));
	if (r->each != each)
		lay_out(r, each);
	for (unsigned int i = 0; i < n; i++) {
		r->msgs[i].msg_hdr.msg_namelen = sizeof(r->address[i]);
		r->msgs[i].msg_hdr.msg_controllen = sizeof(r->control[i]);
	}
	do {
		got = recvmmsg(fd, r->msgs, n, MSG_DONTWAIT, NULL);
	} while (got < 0 && errno == EINTR);
	return got;
}
