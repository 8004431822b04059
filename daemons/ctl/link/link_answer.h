/* Does the other end answer: ICMP echo to all nodes on the cable and to known addresses; ARP. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/link/link_kernel.h"

enum { LINK_ANSWERS_MAX = 8, LINK_ANSWER_TEXT = 64, LINK_ANSWER_MS = 700 };

struct link_answers {
	char text[LINK_ANSWERS_MAX][LINK_ANSWER_TEXT]; /* "fe80::1%eth0", "169.254.10.3" */
	size_t n;
};

/*
 * Ask, and wait at most LINK_ANSWER_MS. IPv6's "all nodes" needs no address to
 * be set up. peers are asked, too. 0, or negative errno when this user may not ask.
 */
int link_ask(struct link_answers *out, const struct link_state *l, const struct link_cidr *peers,
	     size_t n);

/*
 * Whether somebody on the cable has this IPv4 address already: an ARP probe (RFC 5227
 * section 2.1.1). False also when nobody may be asked: no right, not switched on.
 */
bool link_is_taken(const struct link_state *l, const struct link_cidr *address);
