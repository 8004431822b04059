/* Ask tund for a device; without waiting in the loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pskd/network/address.h"

struct loop;

struct tun_result {
	int error;	 /* 0, or a positive errno */
	int fd;		 /* the callee's when error is 0 */
	bool is_old;	 /* the one that was to be configured again */
	char ifname[16]; /* IF_NAMESIZE */
	char detail[160]; /* for people, when error != 0 */
};

/* Whether a device of an earlier life is what a new one would be. */
enum tun_state {
	TUN_SAME,      /* with its addresses, its routes, its MTU, and up */
	TUN_INCOMPLETE, /* something is to be set again */
	TUN_OTHER,     /* no device, or another one, or one with addresses that are not the tunnel's */
};
enum tun_state tun_look(int fd, const char *ifname, uint16_t mtu, const struct tunnel_addresses *a,
			char found[static 16]);

/*
 * done(result, arg) comes exactly once, from the loop. ifname may be "hf%d".
 * vnet_header: of a new device.
 * device: one that is to be configured again, taken on success; when tund does
 * not do that a new one is made; -1: none. 0, or a negative errno and done never comes.
 */
int tun_request(struct loop *l, const char *socket_path, const char *ifname, uint16_t mtu,
		bool vnet_header, const struct tunnel_addresses *a, int device,
		void (*done)(const struct tun_result *r, void *arg), void *arg);

/* Whether the device of an open tunnel has what was set to it; what others have set beside it does not matter. */
enum tun_state tun_lacks(int fd, const struct tunnel_addresses *a);
/*
 * Have it set again: device is copied, and result->fd is never one. A tunnel whose
 * device cannot be mended goes on with it as it is. done as above.
 */
int tun_mend(struct loop *l, const char *socket_path, uint16_t mtu, const struct tunnel_addresses *a, int device,
	     void (*done)(const struct tun_result *r, void *arg), void *arg);
/*
 * Whether tund would give these, and changes nothing: to the device ifname in place of what it has, or to a new one
 * ("hf%d"). result->fd is never one. done as above.
 */
int tun_check(struct loop *l, const char *socket_path, const char *ifname, uint16_t mtu, const struct tunnel_addresses *a,
	      void (*done)(const struct tun_result *r, void *arg), void *arg);
