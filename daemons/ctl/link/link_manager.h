/*
 * Who configures an interface, and how to make them take a profile or give it
 * up: NetworkManager and systemd-networkd over D-Bus. Neither is ever started.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "ctl/link/link_kernel.h"
#include "ctl/link/link_profile.h"

enum { LINK_TEXT_MAX = 256 };

struct link_bus;
/* Connect to the system bus: without one, there is a *out that knows of no manager. 0 or -ENOMEM. */
int link_bus_open(struct link_bus **out);
struct link_bus *link_bus_close(struct link_bus *b);
DEFINE_CLEANUP(struct link_bus *, link_bus_close);

/* What is known of who manages one interface. */
struct link_found {
	enum link_manager manager; /* the one that has it */
	bool both;		   /* NetworkManager and networkd: they would fight */
	bool runs[LINK_MANAGERS];  /* NetworkManager and networkd only */
	bool installed[LINK_MANAGERS];
	char where[LINK_TEXT_MAX];   /* ifupdown: file and line */
	char profile[LINK_TEXT_MAX]; /* what it goes by now: a file, or NetworkManager's name for it; "" none */
};
void link_find_manager(struct link_found *out, struct link_bus *b, const struct link_state *l);

/*
 * Whether, or why perhaps, another profile would be taken before ours: a
 * sentence in why.
 */
bool link_other_wins(struct link_bus *b, enum link_manager m, const struct link_state *l,
		     char *why, size_t cap);

/* What the manager did before, to go back to. */
struct link_before {
	char connection[LINK_TEXT_MAX]; /* NetworkManager: D-Bus path of what was active; "" nothing */
};
void link_remember(struct link_before *out, struct link_bus *b, enum link_manager m,
		   const struct link_state *l);

/* Outcomes. */
enum {
	LINK_E_REFUSED = 1, /* the manager does not take it, or could not bring it up */
	LINK_E_OTHER_WINS,  /* it took another profile */
	LINK_E_NO_ADDRESS, /* it is up, but without its address: a duplicate */
	LINK_E_TIMED_OUT,
	LINK_E_INTERRUPTED,
};

/*
 * Make the manager read the file at path and follow it. Without carrier it is read and
 * waits. 0, or an outcome with a sentence in why; the file is then the caller's to take back.
 */
int link_apply(struct link_bus *b, enum link_manager m, const struct link_state *l,
	       const char *path, char *why, size_t cap);

/*
 * The profile's file is gone, or is again what it was: make the manager follow. l may be
 * NULL when the interface is gone, before when nothing is to be brought back. 0, or
 * LINK_E_REFUSED with a sentence in why.
 */
int link_withdraw(struct link_bus *b, enum link_manager m, const char *name,
		  const struct link_state *l, const struct link_before *before, char *why, size_t cap);
