/* A disk that is full; and one that is slow, fails, or is full from the nth fdatasync() of this program on. */
#pragma once

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unit/lib/test.h"

static inline void disk_full(bool on)
{
	const struct rlimit none = { 0, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, on ? &none : &all), 0);
}

/* Instead of libc's: the block is on the disk, and who wrote it hears that it is not. */
static bool sync_fails;
static unsigned int sync_slow_us;
static unsigned int syncs_left; /* then nothing more is written; 0: no end */

int fdatasync(int fd)
{
	int r = (int)syscall(SYS_fdatasync, fd);

	usleep(sync_slow_us);
	if (!r && syncs_left > 0 && --syncs_left == 0)
		disk_full(true);
	if (r || !sync_fails)
		return r;
	errno = EIO;
	return -1;
}
