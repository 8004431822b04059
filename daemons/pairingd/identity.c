/* The device identity on disk, and what the machine says of itself. */
#include "pairingd/identity.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/secret.h"

int identity_save(const struct sign_key *key, const char *path)
{
	_cleanup_(secret_freep) struct secret *seed = NULL;
	int r;

	r = sign_key_seed(key, &seed);
	return r ? r : file_write_atomic(path, secret_bytes(seed), secret_len(seed), 0600);
}

/* Zeros over a file that has lost its name or is about to: best effort, as all overwriting is. */
static void overwrite(int fd)
{
	static const uint8_t zeros[256];
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && (size_t)st.st_size <= sizeof(zeros) &&
	    file_pwrite_all(fd, zeros, (size_t)st.st_size, 0) == 0)
		(void)fdatasync(fd);
}

int identity_replace(const char *path, const char *from)
{
	_cleanup_close_ int old = -1;

	if (access(from, F_OK) < 0)
		return errno == ENOENT ? 0 : -errno;
	old = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (rename(from, path) < 0)
		return -errno;
	overwrite(old);
	return file_sync_parent(path);
}

static int make_key(struct sign_key **out, const char *path)
{
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	int r;

	r = sign_key_generate(&key);
	if (!r)
		r = identity_save(key, path);
	if (r)
		return r;
	*out = steal(&key);
	return 0;
}

struct seed_file {
	char *bytes;
	size_t len;
};

static void seed_file_done(struct seed_file *f)
{
	if (f->bytes)
		wipe(f->bytes, f->len);
	free(f->bytes);
}

int identity_load(struct sign_key **out, const char *dir, bool *made)
{
	_cleanup_(seed_file_done) struct seed_file f = { 0 };
	_cleanup_free_ char *path = path_join(dir, "identity.key");
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (!path)
		return -ENOMEM;
	*made = false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		*made = true;
		return make_key(out, path);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_mode & 077)
		return -EPERM;
	r = file_read_fd(&f.bytes, &f.len, fd, SIGN_SEED_LEN);
	if (r == -EFBIG || (!r && f.len != SIGN_SEED_LEN))
		return -EBADMSG;
	if (r)
		return r;
	return sign_key_from_seed(out, (uint8_t *)f.bytes);
}

void identity_name(char out[static IDENTITY_NAME_MAX + 1], const char *host_name)
{
	size_t len = 0;

	for (; *host_name && *host_name != '.' && len < IDENTITY_NAME_MAX; host_name++) {
		unsigned char c = (unsigned char)*host_name;
		bool plain = c < 0x80 && isalnum(c);

		if (len == 0 && !plain)
			continue;
		out[len++] = plain || c == '_' || c == '-' ? (char)c : '-';
	}
	out[len] = '\0';
	if (!text_is_name(out))
		snprintf(out, IDENTITY_NAME_MAX + 1, "device");
}

static bool is_own_tunnel(const char *ifname)
{
	return ifname[0] == 'h' && ifname[1] == 'f' && isdigit((unsigned char)ifname[2]);
}

static bool format_candidate(char out[static IDENTITY_CANDIDATE_LEN], const struct sockaddr *a)
{
	char text[INET6_ADDRSTRLEN];

	if (a->sa_family == AF_INET) {
		const struct in_addr *v4 = &((const struct sockaddr_in *)(const void *)a)->sin_addr;

		/* 169.254.0.0/16 is link-local (RFC 3927). */
		if ((ntohl(v4->s_addr) & 0xffff0000) == 0xa9fe0000)
			return false;
		inet_ntop(AF_INET, v4, text, sizeof(text));
		snprintf(out, IDENTITY_CANDIDATE_LEN, "%s", text);
		return true;
	}
	if (a->sa_family == AF_INET6) {
		const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;

		if (IN6_IS_ADDR_LINKLOCAL(v6) || IN6_IS_ADDR_MULTICAST(v6) || IN6_IS_ADDR_LOOPBACK(v6))
			return false;
		inet_ntop(AF_INET6, v6, text, sizeof(text));
		snprintf(out, IDENTITY_CANDIDATE_LEN, "[%s]", text);
		return true;
	}
	return false;
}

size_t identity_candidates(char (*out)[IDENTITY_CANDIDATE_LEN])
{
	struct ifaddrs *all = NULL;
	size_t n = 0;

	if (getifaddrs(&all) < 0)
		return 0;
	for (const struct ifaddrs *i = all; i && n < IDENTITY_CANDIDATES_MAX; i = i->ifa_next) {
		if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK) ||
		    is_own_tunnel(i->ifa_name))
			continue;
		n += format_candidate(out[n], i->ifa_addr);
	}
	freeifaddrs(all);
	return n;
}
