/* Packets that wait for a peer who has not joined yet, in order, bounded by the caller. */
#pragma once

#include <stddef.h>

struct letter {
	struct letter *next;
	size_t len;
	char text[];
};

struct mailbox {
	struct letter *first, *last;
	size_t bytes; /* of memory */
};

/* What a packet of len bytes takes. */
static inline size_t mailbox_cost(size_t len)
{
	return sizeof(struct letter) + len + 16;
}

int mailbox_put(struct mailbox *m, const char *text, size_t len); /* 0 or -ENOMEM */
/* The oldest, or NULL; the caller frees it. */
struct letter *mailbox_take(struct mailbox *m);
void mailbox_done(struct mailbox *m);
