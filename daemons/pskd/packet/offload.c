/*
 * Step by step down, as kernels have it: USO in a device since 6.2, datagrams
 * of one send since 4.18, of one receive since 5.0. A device or a socket that
 * was kept may have been set up otherwise, so that what is not wanted is
 * turned off as well.
 */
#include "pskd/packet/offload.h"

#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "pskd/packet/vnet.h"

static const char *const names[N_OFFLOADS] = { "vnet-header", "tso", "uso", "udp-gso", "udp-gro" };

const char *offload_name(unsigned int i)
{
	return names[i];
}

/* One name of a list. 0: none such. */
static unsigned int find(const char *name, size_t len)
{
	for (unsigned int i = 0; i < N_OFFLOADS; i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return 1U << i;
	if (len == 3 && memcmp(name, "all", 3) == 0)
		return OFFLOAD_ALL;
	return 0;
}

bool offload_parse(unsigned int *out, const char *text)
{
	unsigned int sum = text[0] == '-' ? OFFLOAD_ALL : 0;

	if (strcmp(text, "none") == 0) {
		*out = 0;
		return true;
	}
	for (;;) {
		bool without = *text == '-';
		size_t len;
		unsigned int bits;

		text += without + strspn(text + without, " ");
		len = strcspn(text, ", ");
		bits = find(text, len);
		if (!bits)
			return false;
		sum = without ? sum & ~bits : sum | bits;
		text += len;
		text += strspn(text, " ");
		if (*text == '\0')
			break;
		if (*text++ != ',')
			return false;
		text += strspn(text, " ");
	}
	*out = sum;
	return true;
}

unsigned int offload_device(int tun_fd, unsigned int wanted)
{
	/* CWR on the first of several segments is known how to do. */
	static const struct {
		unsigned int offload, flags;
	} steps[] = {
		{ OFFLOAD_TSO | OFFLOAD_USO,
		  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6 },
		{ OFFLOAD_USO, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6 },
		{ OFFLOAD_TSO, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN },
	};
	struct ifreq ifr = { 0 };
	int header_len = VNET_HEADER_LEN;

	if (ioctl(tun_fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_VNET_HDR) ||
	    ioctl(tun_fd, TUNSETVNETHDRSZ, &header_len) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if ((steps[i].offload & ~wanted) == 0 && ioctl(tun_fd, TUNSETOFFLOAD, (unsigned long)steps[i].flags) == 0)
			return OFFLOAD_VNET_HEADER | steps[i].offload;
	(void)ioctl(tun_fd, TUNSETOFFLOAD, 0UL);
	return OFFLOAD_VNET_HEADER;
}

unsigned int offload_socket(int udp_fd, unsigned int wanted)
{
	int on = (wanted & OFFLOAD_UDP_GRO) != 0, none = 0;
	unsigned int used = 0;

	if (setsockopt(udp_fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0 && on)
		used |= OFFLOAD_UDP_GRO;
	/* Each send says its own size; this only asks whether it could. */
	if ((wanted & OFFLOAD_UDP_GSO) && setsockopt(udp_fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof(none)) == 0)
		used |= OFFLOAD_UDP_GSO;
	return used;
}
