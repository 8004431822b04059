/*
 * What the kernel knows of a network interface: rtnetlink, ethtool and a little
 * sysfs. Reads only, needs no right.
 */
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { LINK_CIDR_TEXT = 64 };

/* An address with the length of its network's prefix. */
struct link_cidr {
	int family; /* AF_INET, AF_INET6; 0: none */
	uint8_t address[16];
	uint8_t prefix;
};

/* A feature of the interface. */
enum link_feature { LINK_FEATURE_UNKNOWN, LINK_FEATURE_OFF, LINK_FEATURE_ON };

struct link_state {
	char name[IF_NAMESIZE];
	int index;
	uint16_t hardware; /* ARPHRD_… */
	char kind[16];	   /* "veth", "bridge" …; "" for hardware */
	char mac[24];	   /* "" when it has none */
	int master;	   /* index of the bridge or bond it belongs to; 0: none */
	bool up;	   /* switched on */
	bool carrier;	   /* a cable, and something at its other end */
	bool wireless;
	bool default_route;
	uint32_t mtu, mtu_min, mtu_max; /* bounds are 0 when the driver does not say */
	uint32_t speed_mbit;		/* 0: unknown */
	bool full_duplex;
	enum link_feature gro, lro, gso, tso;
	struct link_cidr *addresses;
	size_t n_addresses;
};

/*
 * 0, -ENODEV when there is no such interface, or another negative errno. The
 * caller's link_state_done() releases what it holds.
 */
int link_read(struct link_state *out, const char *name);
void link_state_done(struct link_state *l);

/* All interfaces, by index. */
struct link_list {
	struct link_state *all;
	size_t n;
};
/* 0 or a negative errno; *out is to be given to link_list_done() in any case. */
int link_read_all(struct link_list *out);
void link_list_done(struct link_list *l);
/* The one of that name, or NULL. */
const struct link_state *link_find(const struct link_list *l, const char *name);

/* Whether a cable could be plugged into it: Ethernet, no radio, no bridge or other assembly. */
bool link_is_wired(const struct link_state *l);

/*
 * Whether another interface has an address whose network overlaps with wanted's.
 * Then what ("eth1 has 169.254.10.9/24") is filled.
 */
bool link_find_conflict(char *what, size_t cap, const struct link_list *all,
			const struct link_state *self, const struct link_cidr *wanted);

/*
 * "169.254.10.2/24", "fd00::1/64". 0 or -EINVAL: also without a prefix, of no
 * single machine, or IPv6 link-local, which interfaces make by themselves.
 */
int link_cidr_parse(struct link_cidr *out, const char *text);
void link_cidr_format(char out[static LINK_CIDR_TEXT], const struct link_cidr *a, bool with_prefix);
/* Whether the first prefix bits are the same. */
bool link_cidr_holds(const struct link_cidr *network, const struct link_cidr *address);
bool link_cidr_same_address(const struct link_cidr *a, const struct link_cidr *b);
