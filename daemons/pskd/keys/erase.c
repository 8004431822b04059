/* Zeros by pwrite(), or a hole that reads as zeros; then fdatasync(), for only what is on disk counts. */
#include "pskd/keys/erase.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"

static int write_zeros(int fd, off_t offset, off_t len)
{
	static const unsigned char zeros[64 * 1024];

	while (len > 0) {
		size_t n = len < (off_t)sizeof(zeros) ? (size_t)len : sizeof(zeros);
		int r = file_pwrite_all(fd, zeros, n, offset);

		if (r)
			return r;
		offset += (off_t)n;
		len -= (off_t)n;
	}
	return 0;
}

int erase_range(int fd, off_t offset, off_t len, enum keys_erase how)
{
	int r = 0;

	if (len <= 0 || how == KEYS_ERASE_NONE)
		return 0;
	/* The kernel zeroes the blocks that the range covers in part. */
	if (how == KEYS_ERASE_ZERO ||
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len) < 0) {
		if (how == KEYS_ERASE_PUNCH && errno != EOPNOTSUPP && errno != ENOSYS)
			return -errno;
		r = write_zeros(fd, offset, len);
	}
	if (!r && fdatasync(fd) < 0)
		r = -errno;
	return r;
}
