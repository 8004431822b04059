/* Credentials are read once, at the start, into secret memory. */
#include "service/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

bool credential_name_is_good(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return *name && *name != '.' && name[strspn(name, good)] == '\0';
}

char *credential_path(const char *name)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");

	return dir && *dir && credential_name_is_good(name) ? path_join(dir, name) : NULL;
}

static int complain(int r, const char *name, const char *path, char *why, size_t cap)
{
	snprintf(why, cap, "the credential %s cannot be read (%s): %s", name, path, strerror(-r));
	return r;
}

int credential_read(struct secret **out, const char *name, size_t min, size_t max, char *why, size_t cap)
{
	_cleanup_(secret_freep) struct secret *s = NULL;
	_cleanup_free_ char *path = credential_path(name);
	_cleanup_close_ int fd = -1;
	uint8_t *bytes;
	struct stat st;
	int r;

	if (!path)
		return -ENOENT;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0 || fstat(fd, &st) < 0)
		return complain(-errno, name, path, why, cap);
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)min || st.st_size > (off_t)max) {
		snprintf(why, cap, "the credential %s has %lld bytes; it needs %zu to %zu", name,
			 (long long)st.st_size, min, max);
		return -EINVAL;
	}
	r = secret_new(&s, (size_t)st.st_size, &bytes);
	if (!r)
		r = file_pread_all(fd, bytes, (size_t)st.st_size, 0);
	if (r)
		return complain(r, name, path, why, cap);
	*out = steal(&s);
	return 0;
}

int credential_state_key(struct seal_key **out, const char *daemon, char *why, size_t cap)
{
	_cleanup_(secret_freep) struct secret *master = NULL;
	char label[64];
	int r;

	*out = NULL;
	r = credential_read(&master, CREDENTIAL_STATE_KEY, CREDENTIAL_STATE_KEY_MIN, CREDENTIAL_MAX, why, cap);
	if (r)
		return r == -ENOENT ? 0 : r;
	snprintf(label, sizeof(label), "handfast state key v1 %s", daemon);
	r = seal_key_new(out, master, label);
	if (r)
		snprintf(why, cap, "no memory");
	return r;
}
