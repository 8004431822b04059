/* The device identity on disk, and what the machine says of itself. */
#include "pairingd/identity.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
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
#include "base/draft.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/seal.h"
#include "crypto/secret.h"

/* What the sealed file is bound to. */
static const char context[] = "identity key";

/* A file without a name until it is whole: no stop leaves a copy of the key behind. */
static int write_new(const char *path, const void *data, size_t len)
{
	_cleanup_(draft_done) struct draft d = DRAFT_NONE;
	int r = draft_open(&d, path, 0600);

	if (!r)
		r = file_pwrite_all(d.fd, data, len, 0);
	if (!r && fsync(d.fd) < 0)
		r = -errno;
	if (!r)
		r = draft_publish(&d, path);
	return r ? r : file_sync_parent(path);
}

int identity_save(const struct sign_key *key, const char *path, const struct seal_key *seal)
{
	_cleanup_(secret_freep) struct secret *seed = NULL;
	uint8_t blob[SIGN_SEED_LEN + SEAL_BLOB_EXTRA];
	int r;

	r = sign_key_seed(key, &seed);
	if (r)
		return r;
	if (!seal)
		return write_new(path, secret_bytes(seed), secret_len(seed));
	seal_blob(blob, secret_bytes(seed), SIGN_SEED_LEN, context, strlen(context), seal);
	return file_write_atomic(path, blob, sizeof(blob), 0600);
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

int identity_remove(const char *path)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	overwrite(fd);
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* What writing a key file may leave behind: ".identity.key….XXXXXX", "identity.key….partial". */
static bool is_leftover(const char *name)
{
	static const char stem[] = "identity.key", partial[] = ".partial";
	size_t len = strlen(name);
	const char *dot = *name == '.' ? name + 1 : name;

	if (strncmp(dot, stem, strlen(stem)) != 0)
		return false;
	return *name == '.' || (len > strlen(partial) && strcmp(name + len - strlen(partial), partial) == 0);
}

int identity_sweep(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	while (!r && (e = readdir(d))) {
		_cleanup_free_ char *path = is_leftover(e->d_name) ? path_join(dir, e->d_name) : NULL;

		if (path)
			r = identity_remove(path);
	}
	closedir(d);
	return r;
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

static int make_key(struct sign_key **out, const char *path, const struct seal_key *seal)
{
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	int r;

	r = sign_key_generate(&key);
	if (!r)
		r = identity_save(key, path, seal);
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

static int open_sealed(struct sign_key **out, const struct seed_file *f, const struct seal_key *seal)
{
	_cleanup_(secret_freep) struct secret *seed = NULL;
	uint8_t copy[SIGN_SEED_LEN];
	int r;

	r = seal_blob_open(&seed, f->bytes, f->len, context, strlen(context), seal);
	switch (r) {
	case 0:
		break;
	case SEAL_E_NO_KEY:
		return IDENTITY_E_SEALED;
	case SEAL_E_OTHER_KEY:
		return IDENTITY_E_OTHER_KEY;
	default:
		return r < 0 ? r : -EBADMSG;
	}
	memcpy(copy, secret_bytes(seed), sizeof(copy));
	r = sign_key_from_seed(out, copy);
	wipe(copy, sizeof(copy));
	return r;
}

/* A key that lay open gets sealed: the new file takes the old one's place, whose bytes are overwritten. */
static int seal_file(const struct sign_key *key, const char *path, const struct seal_key *seal)
{
	_cleanup_close_ int old = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	int r = identity_save(key, path, seal);

	if (!r)
		overwrite(old);
	return r;
}

static int read_seed(struct seed_file *f, int fd)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_mode & 077)
		return -EPERM;
	r = file_read_fd(&f->bytes, &f->len, fd, SIGN_SEED_LEN + SEAL_BLOB_EXTRA);
	return r == -EFBIG ? -EBADMSG : r;
}

int identity_load(struct sign_key **out, const char *dir, const struct seal_key *seal, enum identity_news *news)
{
	_cleanup_(seed_file_done) struct seed_file f = { 0 };
	_cleanup_free_ char *path = path_join(dir, "identity.key");
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (!path)
		return -ENOMEM;
	*news = IDENTITY_AS_BEFORE;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		*news = IDENTITY_MADE;
		return make_key(out, path, seal);
	}
	if (fd < 0)
		return -errno;
	r = read_seed(&f, fd);
	if (r)
		return r;
	if (f.len == SIGN_SEED_LEN + SEAL_BLOB_EXTRA && seal_is_blob(f.bytes, f.len))
		return open_sealed(out, &f, seal);
	if (f.len != SIGN_SEED_LEN)
		return -EBADMSG;
	r = sign_key_from_seed(&key, (uint8_t *)f.bytes);
	if (!r && seal) {
		r = seal_file(key, path, seal);
		*news = IDENTITY_SEALED;
	}
	if (!r)
		*out = steal(&key);
	return r;
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
