/* Ask tund for a device; without waiting in the loop. */
#pragma once

#include <stdint.h>

#include "pskd/address.h"

struct loop;

struct tun_result {
	int error;	 /* 0, or a positive errno */
	int fd;		 /* the callee's when error is 0 */
	char ifname[16]; /* IF_NAMESIZE */
	char detail[160]; /* for people, when error != 0 */
};

/*
 * done(result, arg) comes exactly once, from the loop. ifname may be "hf%d".
 * 0, or a negative errno and done never comes.
 */
int tun_request(struct loop *l, const char *socket_path, const char *ifname, uint16_t mtu,
		const struct tunnel_addresses *a, void (*done)(const struct tun_result *r, void *arg),
		void *arg);
