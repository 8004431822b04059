/* Unnamed files where the kernel offers them, a second name where it does not. */
#include "base/draft.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

int draft_open(struct draft *d, const char *path, mode_t mode)
{
	char copy[PATH_MAX];

	*d = (struct draft)DRAFT_NONE;
	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	d->fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (d->fd >= 0)
		return fchmod(d->fd, mode) < 0 ? -errno : 0;
	/* What filesystems without O_TMPFILE answer: EOPNOTSUPP, or EISDIR from old ones. */
	if (errno != EOPNOTSUPP && errno != EISDIR)
		return -errno;

	if (snprintf(copy, sizeof(copy), "%s.partial", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	d->fd = open(copy, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, mode);
	if (d->fd < 0)
		return -errno;
	memcpy(d->partial, copy, sizeof(copy));
	return fchmod(d->fd, mode) < 0 ? -errno : 0;
}

int draft_publish(struct draft *d, const char *path)
{
	char proc[64];

	if (*d->partial)
		return link(d->partial, path) < 0 ? -errno : 0;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", d->fd);
	if (linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	/* No /proc: with CAP_DAC_READ_SEARCH the descriptor itself can be linked. */
	if (errno == ENOENT && linkat(d->fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0)
		return 0;
	return -errno;
}

void draft_done(struct draft *d)
{
	closep(&d->fd);
	d->fd = -1;
	if (*d->partial)
		unlink(d->partial);
	*d->partial = '\0';
}
