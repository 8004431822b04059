/*
 * Key files: rows of 120-byte slots of random bytes, carried by hand to both
 * ends of a tunnel. Making one, its SHA-256 sidecar, and reading one through
 * with its hashes. Lives in crypto because every byte is random or hashed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYFILE_SLOT_LEN 120
#define KEYFILE_SLOT_PACKETS 1000
/*
 * The piece that has a hash of its own: a MiB, less what would cut a slot in
 * two. The last piece of a file may be shorter.
 */
#define KEYFILE_CHUNK_SLOTS 8738
#define KEYFILE_CHUNK_LEN (KEYFILE_CHUNK_SLOTS * KEYFILE_SLOT_LEN)
#define KEYFILE_HASH_LEN 32
#define KEYFILE_SIZE_MAX (UINT64_C(1) << 40) /* 1 TiB */

/* Outcomes. detail (where a function has one) always says the same in words, with the path. */
enum {
	KEYFILE_E_EXISTS = 1,	/* the file or its sidecar is there already; nothing was touched */
	KEYFILE_E_NO_SPACE,	/* the disk has less room than size; nothing was left behind */
	KEYFILE_E_SIZE,		/* less than one slot, or more than KEYFILE_SIZE_MAX */
	KEYFILE_E_STOPPED,	/* progress said stop; nothing was left behind */
	KEYFILE_E_BAD_FILE,	/* verify: no regular file, empty, no multiple of 120, or holds an empty slot */
	KEYFILE_E_NO_SIDECAR,	/* verify: no FILE.sha256 */
	KEYFILE_E_BAD_SIDECAR,	/* verify: not one line as sha256sum writes it, or of another file's name */
	KEYFILE_E_DIFFERS,	/* verify: the file is not the one that the sidecar was made for */
	KEYFILE_E_MIX,		/* make: what was to be mixed in ended, is silent, or is plainly not random; nothing was left behind */
};

struct keyfile_capacity {
	uint64_t bytes; /* a multiple of 120 */
	uint64_t slots;
	uint64_t packets; /* each direction has this many */
	uint64_t traffic_bytes; /* each direction, in full packets of 1400 bytes */
};
/* What bytes, rounded down to whole slots, are good for. */
void keyfile_capacity(struct keyfile_capacity *out, uint64_t bytes);

/* Called at least once a MiB; return nonzero to stop. */
typedef int (*keyfile_progress_fn)(uint64_t done, uint64_t total, void *arg);

/*
 * Make path (0600) of size bytes, rounded down to whole slots, from the
 * kernel's random generator, XORed with as many bytes of mix_path unless that is NULL (keyfile_mix.h), and
 * path.sha256 (0644) as sha256sum writes it. Both
 * are durable when it returns 0, and appear whole or not at all: an
 * interrupted run, even by SIGKILL, leaves nothing where the filesystem knows unnamed
 * files (O_TMPFILE), and path.partial at most where it does not. 0 with the
 * hash and capacity (either may be NULL), an outcome above, or a negative
 * errno; detail is filled unless 0. progress may be NULL.
 */
int keyfile_make(const char *path, uint64_t size, const char *mix_path, keyfile_progress_fn progress, void *arg,
		 uint8_t sha256_out[KEYFILE_HASH_LEN], struct keyfile_capacity *capacity,
		 char *detail, size_t detail_cap);

/*
 * Read path whole and compare it with path.sha256. 0, an outcome above (not
 * EXISTS, NO_SPACE), or a negative errno. The hash and capacity (either may be
 * NULL) are filled with 0, KEYFILE_E_DIFFERS and KEYFILE_E_NO_SIDECAR.
 */
int keyfile_verify(const char *path, keyfile_progress_fn progress, void *arg,
		   uint8_t sha256_out[KEYFILE_HASH_LEN], struct keyfile_capacity *capacity,
		   char *detail, size_t detail_cap);

/* ---- for pskd ---- */

/*
 * Open a key file for reading (or reading and writing) and check what can be
 * seen without reading it: a regular file of whole slots. Never blocks on a
 * FIFO or device. The descriptor with *size, or -1 with *outcome: KEYFILE_E_BAD_FILE
 * or a negative errno.
 */
int keyfile_open(const char *path, bool writable, uint64_t *size, int *outcome, char *detail,
		 size_t detail_cap);

/* How many pieces size bytes have. */
uint64_t keyfile_chunks(uint64_t size);

/*
 * Read fd whole: the SHA-256 of all and, in chunk_hashes (may be NULL;
 * keyfile_chunks(size) times 32 bytes), of each piece. KEYFILE_E_BAD_FILE when a
 * slot has a key of zeros in either direction (spent and erased, or never random) or the
 * file ended before size. 0, that, KEYFILE_E_STOPPED or a negative errno.
 */
int keyfile_hash(int fd, uint64_t size, keyfile_progress_fn progress, void *arg,
		 uint8_t sha256_out[static KEYFILE_HASH_LEN], uint8_t *chunk_hashes);

/*
 * Read piece number chunk, hash it, and copy n slots from number first (all in
 * this piece) to out; n may be 0. Zeros stand for what lies in slots below erased,
 * so that a piece looks the same before and after they are erased on disk. Use
 * out only if hash is what it should be. 0, KEYFILE_E_BAD_FILE (ended early), -ENOMEM
 * or the errno of reading.
 */
int keyfile_read_chunk(int fd, uint64_t size, uint64_t chunk, uint64_t erased, uint64_t first,
		       size_t n, uint8_t *out, uint8_t hash[static KEYFILE_HASH_LEN]);

/*
 * Parse the text of a sidecar: 64 hex digits, two spaces (or space and star), a
 * file name, one newline at most. 0 with hash and name (a view), or KEYFILE_E_BAD_SIDECAR.
 */
int keyfile_sidecar_parse(const char *text, size_t len, uint8_t hash[static KEYFILE_HASH_LEN],
			  const char **name, size_t *name_len);
