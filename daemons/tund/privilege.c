/* capset(2) without a library: two calls, for good. */
#include "tund/privilege.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_all(const struct __user_cap_data_struct *low, const struct __user_cap_data_struct *high)
{
	const uint32_t mask = CAP_TO_MASK(CAP_NET_ADMIN);

	return low->effective == mask && low->permitted == mask && high->effective == 0 && high->permitted == 0;
}

int privilege_drop(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { 0 };

	/* The bounding set first: afterwards there is no CAP_SETPCAP to do it with. */
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (cap != CAP_NET_ADMIN && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
			return -errno;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* The unit gives no more than this, and then forbids capset(2). */
	if (syscall(SYS_capget, &h, d) == 0 && is_all(&d[0], &d[1]))
		return 0;
	memset(d, 0, sizeof(d));
	d[CAP_TO_INDEX(CAP_NET_ADMIN)].effective = CAP_TO_MASK(CAP_NET_ADMIN);
	d[CAP_TO_INDEX(CAP_NET_ADMIN)].permitted = CAP_TO_MASK(CAP_NET_ADMIN);
	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}
