/* A queue of packets as they were received. */
#include "relayd/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int mailbox_put(struct mailbox *m, const char *text, size_t len)
{
	struct letter *l = malloc(sizeof(*l) + len);

	if (!l)
		return -ENOMEM;
	l->next = NULL;
	l->len = len;
	memcpy(l->text, text, len);
	if (m->last)
		m->last->next = l;
	else
		m->first = l;
	m->last = l;
	m->bytes += mailbox_cost(len);
	return 0;
}

struct letter *mailbox_take(struct mailbox *m)
{
	struct letter *l = m->first;

	if (!l)
		return NULL;
	m->first = l->next;
	if (!m->first)
		m->last = NULL;
	m->bytes -= mailbox_cost(l->len);
	return l;
}

void mailbox_done(struct mailbox *m)
{
	struct letter *l;

	while ((l = mailbox_take(m)))
		free(l);
}
