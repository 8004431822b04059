/* Named pieces in a row; see bundle.h. Every length is checked before it is believed. */
#include "proto/bundle.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"

static const uint8_t magic[4] = { 'H', 'F', 'B', 'N' };

bool bundle_name_is_good(const char *name, size_t len)
{
	bool at_start = true;

	if (len == 0 || len > BUNDLE_NAME_MAX || name[len - 1] == '/')
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c >= 0x80 || !(isalnum(c) || strchr("._-/", c)) || c == '\0')
			return false;
		if (at_start && (c == '.' || c == '/'))
			return false;
		at_start = c == '/';
	}
	return true;
}

void bundle_head(uint8_t out[static BUNDLE_HEAD_LEN])
{
	memcpy(out, magic, sizeof(magic));
	be32_store(out + sizeof(magic), BUNDLE_VERSION);
}

size_t bundle_prefix(uint8_t *out, const char *name, uint64_t len)
{
	size_t n = strlen(name);

	assert(bundle_name_is_good(name, n));
	be16_store(out, (uint16_t)n);
	memcpy(out + 2, name, n);
	be64_store(out + 2 + n, len);
	return 2 + n + 8;
}

int bundle_open(struct bundle_reader *r, const void *data, size_t len, uint32_t *version)
{
	const uint8_t *p = data;
	uint32_t v;

	if (len < BUNDLE_HEAD_LEN || memcmp(p, magic, sizeof(magic)) != 0)
		return BUNDLE_E_BROKEN;
	v = be32_load(p + sizeof(magic));
	if (version)
		*version = v;
	if (v > BUNDLE_VERSION)
		return BUNDLE_E_NEWER;
	if (v == 0)
		return BUNDLE_E_BROKEN;
	*r = (struct bundle_reader){ p + BUNDLE_HEAD_LEN, len - BUNDLE_HEAD_LEN, 0 };
	return 0;
}

int bundle_next(struct bundle_reader *r, struct bundle_piece *out)
{
	size_t name_len;
	uint64_t len;

	if (r->left < 2)
		return -EBADMSG;
	name_len = be16_load(r->p);
	if (name_len == 0)
		return r->left == BUNDLE_END_LEN ? 0 : -EBADMSG;
	if (name_len > BUNDLE_NAME_MAX || r->left < 2 + name_len + 8 || r->n == BUNDLE_PIECES_MAX ||
	    !bundle_name_is_good((const char *)r->p + 2, name_len))
		return -EBADMSG;
	memcpy(out->name, r->p + 2, name_len);
	out->name[name_len] = '\0';
	len = be64_load(r->p + 2 + name_len);
	r->p += 2 + name_len + 8;
	r->left -= 2 + name_len + 8;
	if (len > r->left)
		return -EBADMSG;
	out->data = r->p;
	out->len = (size_t)len;
	r->p += len;
	r->left -= (size_t)len;
	r->n++;
	return 1;
}

bool bundle_find(const void *data, size_t len, const char *name, struct bundle_piece *out)
{
	struct bundle_reader r;

	if (bundle_open(&r, data, len, NULL))
		return false;
	while (bundle_next(&r, out) == 1)
		if (strcmp(out->name, name) == 0)
			return true;
	return false;
}

/* Pieces come in strict order of their names, so that none can come twice. */
int bundle_check(const void *data, size_t len, uint32_t *version)
{
	struct bundle_piece piece;
	struct bundle_reader r;
	char last[BUNDLE_NAME_MAX + 1] = "";
	int e = bundle_open(&r, data, len, version);

	if (e)
		return e;
	while ((e = bundle_next(&r, &piece)) == 1) {
		if (strcmp(last, piece.name) >= 0)
			return BUNDLE_E_BROKEN;
		memcpy(last, piece.name, sizeof(last));
	}
	return e ? BUNDLE_E_BROKEN : 0;
}
