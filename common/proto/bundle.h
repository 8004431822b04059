/*
 * A bundle: named pieces in a row, which is how a daemon hands out its portable
 * state and what a backup has inside. Pure: bytes in, pieces out.
 *
 *   "HFBN", version (be32), then for each piece: name (be16 length, bytes),
 *   length (be64), bytes; a name of length 0 ends it, and nothing follows. Pieces
 *   are in strict ascending order of their names (strcmp()).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUNDLE_VERSION 1
#define BUNDLE_NAME_MAX 255
#define BUNDLE_PIECES_MAX 8192
#define BUNDLE_HEAD_LEN 8
/* The largest bundle that is taken or given. */
#define BUNDLE_MAX (UINT64_C(64) << 20)

enum {
	BUNDLE_E_BROKEN = 1, /* no bundle, cut short, a name that is none, or names out of order */
	BUNDLE_E_NEWER,	     /* of a later version */
};

/*
 * A relative path of plain names: letters, digits, ".", "_", "-" and "/", no
 * component that begins with a dot.
 */
bool bundle_name_is_good(const char *name, size_t len);

/* The beginning of a bundle. */
void bundle_head(uint8_t out[static BUNDLE_HEAD_LEN]);
/*
 * What stands before a piece of len bytes; out has room for BUNDLE_PREFIX_MAX. Returns how
 * many bytes it took. name must be good.
 */
#define BUNDLE_PREFIX_MAX (2 + BUNDLE_NAME_MAX + 8)
size_t bundle_prefix(uint8_t *out, const char *name, uint64_t len);
/* The end: two zeros. */
#define BUNDLE_END_LEN 2

struct bundle_piece {
	char name[BUNDLE_NAME_MAX + 1];
	const uint8_t *data; /* inside the bundle's bytes */
	size_t len;
};

struct bundle_reader {
	const uint8_t *p;
	size_t left;
	size_t n;
};

/* Look at the head. 0, BUNDLE_E_BROKEN, or BUNDLE_E_NEWER with *version. */
int bundle_open(struct bundle_reader *r, const void *data, size_t len, uint32_t *version);
/* The next piece: 1 with *out, 0 at a proper end, -EBADMSG when it is broken from here on. */
int bundle_next(struct bundle_reader *r, struct bundle_piece *out);
/* Read it all once: 0 when every piece is whole, the names ascend, and nothing follows the end; else as bundle_open(). */
int bundle_check(const void *data, size_t len, uint32_t *version);
/* Find a piece in a bundle that bundle_check() found good. */
bool bundle_find(const void *data, size_t len, const char *name, struct bundle_piece *out);
