/*
 * The one file that handfast link writes for an interface: its text for either
 * manager, and how to know later that the file on disk is still that text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/link/link_kernel.h"

enum link_manager {
	LINK_NOBODY,
	LINK_NETWORKMANAGER,
	LINK_NETWORKD,
	LINK_IFUPDOWN, /* /etc/network/interfaces */
	LINK_DHCPCD,
	LINK_MANAGERS,
};

/* "NetworkManager", "networkd", "ifupdown", "dhcpcd", "nobody". */
const char *link_manager_name(enum link_manager m);

enum {
	LINK_PATH_MAX = 128,
	LINK_UUID_MAX = 37,
	LINK_CIDRS_MAX = 2, /* one of each family */
	LINK_MTU_MIN = 1280, /* IPv6 needs it: RFC 8200 section 5 */
	/* NetworkManager takes the profile with the highest; people use small numbers. */
	LINK_NM_PRIORITY = 900,
};

/* What is wanted of an interface. */
struct link_wish {
	char name[IF_NAMESIZE];
	const char *role; /* "laptop" or "pi" */
	struct link_cidr own[LINK_CIDRS_MAX], peer[LINK_CIDRS_MAX];
	size_t n_own, n_peer; /* none at all: IPv6 link-local alone */
	uint32_t mtu;	      /* 0: as it is */
};

/*
 * True for a name that stands for itself in both managers' files and in a file
 * name: a-z A-Z 0-9 . _ - and not too long. Kernel names may have more.
 */
bool link_is_plain_name(const char *name);

/*
 * Fill addresses of both ends: own as given ("169.254.10.2/24", with a comma a
 * second of the other family, "none"), or the role's; peer as given, or the role's,
 * or the only other one of a /30 or /31. Returns NULL, or what is wrong.
 */
const char *link_wish_addresses(struct link_wish *w, const char *own, const char *peer);

/* Where the profile lies. m is LINK_NETWORKMANAGER or LINK_NETWORKD, also below. */
void link_profile_path(char out[static LINK_PATH_MAX], enum link_manager m, const char *name);
/* Only root reads NetworkManager's profiles. */
unsigned int link_profile_mode(enum link_manager m);
/* NetworkManager's name for the profile, made of the interface's. */
void link_profile_uuid(char out[static LINK_UUID_MAX], const char *name);

/* The text, with the mark in it; NULL without memory. The caller frees it. */
char *link_profile_text(enum link_manager m, const struct link_wish *w);

/* A file read back. */
enum link_file {
	LINK_FILE_NONE,
	LINK_FILE_OURS,	      /* to the byte as it was written */
	LINK_FILE_CHANGED,    /* ours once; changed since */
	LINK_FILE_FOREIGN,    /* never was */
	LINK_FILE_UNREADABLE, /* not by this user */
};

struct link_profile {
	enum link_manager manager;
	char path[LINK_PATH_MAX];
	enum link_file file;
	char *text; /* NULL unless ours */
	char role[16];
	struct link_cidr peer[LINK_CIDRS_MAX];
	size_t n_peer;
};

/* Look at text (len bytes): *out gets everything but manager and path. */
void link_profile_parse(struct link_profile *out, const char *text, size_t len);
/* Look on disk. 0, or a negative errno other than for what enum link_file names. */
int link_profile_load(struct link_profile *out, enum link_manager m, const char *name);
void link_profile_done(struct link_profile *p);
