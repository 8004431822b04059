/*
 * A folder of ledgers: which of them are of the same material, and whether all of them are ours to use
 * before the first of them is.
 */
#include "pskd/keys/ledger_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "crypto/secret.h"

int ledger_material(int dir_fd, const char *name, struct stat *st, uint8_t fingerprint[static 32])
{
	_cleanup_(secret_freep) struct secret *data = NULL, *state_secret = NULL;
	_cleanup_close_ int fd = -1;
	struct ledger_state *state;
	uint8_t *bytes, *p;
	size_t len;
	int r;

	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode) || st->st_size != LEDGER_LEN)
		return LEDGER_E_BROKEN;
	r = secret_new(&data, LEDGER_LEN, &bytes);
	if (!r)
		r = secret_new(&state_secret, sizeof(*state), &p);
	if (!r)
		r = ledger_read_blocks(fd, bytes, &len);
	if (r)
		return r;
	state = (void *)p;
	r = ledger_judge(state, bytes, len);
	/* What is sealed is of the same material for that. */
	if (r && r != LEDGER_E_SEALED && r != LEDGER_E_OTHER_KEY)
		return r;
	memcpy(fingerprint, state->newest.fingerprint, 32);
	return 0;
}

static bool is_twin(int dir_fd, const char *name, const struct stat *own,
		    const uint8_t fingerprint[static 32])
{
	uint8_t found[32];
	struct stat st;

	return ledger_material(dir_fd, name, &st, found) == 0 &&
	       (!own || st.st_dev != own->st_dev || st.st_ino != own->st_ino) &&
	       memcmp(found, fingerprint, sizeof(found)) == 0;
}

int ledger_find_twin(const char *dir, const char *own, const uint8_t fingerprint[static 32],
		     char *name, size_t name_cap)
{
	struct stat st;
	bool has_own = own && stat(own, &st) == 0;
	struct dirent *e;
	int r = 0;
	DIR *d;

	d = opendir(dir);
	if (!d)
		return -errno;
	while (!r && (e = readdir(d))) {
		if (!is_twin(dirfd(d), e->d_name, has_own ? &st : NULL, fingerprint))
			continue;
		snprintf(name, name_cap, "%s", e->d_name);
		r = 1;
	}
	closedir(d);
	return r;
}

/* ---- before the first is used ---- */

static bool is_ledger_name(const char *name)
{
	size_t len = strlen(name);

	return len > 7 && strcmp(name + len - 7, ".ledger") == 0;
}

/* Who may not have it is told why; what is broken is told when its tunnel is opened. */
static int refuse(int found, const struct ledger_record *r, const char *path, char *why, size_t cap)
{
	switch (found) {
	case LEDGER_E_NEWER:
		snprintf(why, cap,
			 "%s was written by a newer handfast (version %u, this one knows up to %d): install that "
			 "version again, or move the state folder away and restore a backup; nothing was changed",
			 path, r->version, LEDGER_VERSION);
		return 1;
	case LEDGER_E_SEALED:
		snprintf(why, cap,
			 "%s is sealed under the credential handfast.state-key, which is missing: put it back "
			 "(handfast-security(7)); nothing was changed",
			 path);
		return 1;
	case LEDGER_E_OTHER_KEY:
		snprintf(why, cap,
			 "%s is sealed under another credential handfast.state-key than this one: put the right "
			 "one back (handfast-security(7)); nothing was changed",
			 path);
		return 1;
	default:
		return 0;
	}
}

/*
 * The newest record again, twice: then both are sealed. Nothing is reserved by it, and nobody uses the
 * ledger meanwhile. When the other record is lost, it may have been the newer one: that stays known, by a
 * gap in the generations.
 */
static int seal_file(const char *path, struct ledger_state *s)
{
	_cleanup_(ledger_closep) struct ledger *l = NULL;
	int r = ledger_open(&l, path, s);

	for (unsigned int i = 0; !r && i < 2; i++) {
		if (!s->other_ok)
			l->generation++;
		r = ledger_write(l, &s->newest);
	}
	return r;
}

static int each_ledger(const char *dir, struct ledger_state *s, size_t *sealed, char *why, size_t cap)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!r && (e = readdir(d))) {
		_cleanup_free_ char *path = is_ledger_name(e->d_name) ? path_join(dir, e->d_name) : NULL;
		int found;

		if (!path)
			continue;
		found = ledger_look(path, s);
		r = refuse(found, &s->newest, path, why, cap);
		if (r || !sealed || !ledger_has_key() || found || !s->any_plain)
			continue;
		r = seal_file(path, s);
		*sealed += r == 0;
		/* Another process has it: that one seals it. */
		if (r == -EWOULDBLOCK || r > 0)
			r = 0;
	}
	closedir(d);
	return r;
}

int ledgers_prepare(const char *dir, size_t *sealed, char *why, size_t cap)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	uint8_t *bytes;
	int r = secret_new(&mem, sizeof(struct ledger_state), &bytes);

	*sealed = 0;
	if (!r)
		r = each_ledger(dir, (void *)bytes, NULL, why, cap);
	return r ? r : each_ledger(dir, (void *)bytes, sealed, why, cap);
}
