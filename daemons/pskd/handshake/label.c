/*
 * Files with serial numbers are read when a tunnel starts, by whoever pskd is:
 * those of DMI are root's, and come as a credential. What is read goes nowhere
 * but into the hash.
 */
#include "pskd/handshake/label.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "service/credential.h"

#define CREDENTIAL_SERIAL "handfast.serial"

static const struct {
	const char *name, *path; /* NULL: a credential */
} named[] = {
	{ "machine-id", "/etc/machine-id" },
	/* Not below /proc, of which the unit shows processes alone. */
	{ "device-tree", "/sys/firmware/devicetree/base/serial-number" },
	{ "product-uuid", "/sys/class/dmi/id/product_uuid" },
	{ "board-serial", "/sys/class/dmi/id/board_serial" },
	{ "credential", NULL },
};

/* ---- texts ---- */

static int parse_label(struct label *out, const char *value)
{
	struct label l = { .len = (uint8_t)(strlen(value) == PSKH_IDENTITY_LEN ? 8 : PSKH_IDENTITY_LEN) };

	if (strlen(value) != 2u * l.len || hex_parse(l.id, l.len, value) != 0)
		return -EINVAL;
	*out = l;
	return 0;
}

static int parse_key(struct label *out, const char *value)
{
	struct sign_public pub;
	int r = strlen(value) == 2 * SIGN_PUBLIC_LEN ?
			hex_parse(pub.b, SIGN_PUBLIC_LEN, value) :
			base64_decode_exact(pub.b, SIGN_PUBLIC_LEN, value, BASE64_STANDARD);

	if (r)
		return -EINVAL;
	identity_id(out->id, &pub);
	out->len = PSKH_IDENTITY_LEN;
	return 0;
}

static int parse_either(struct label *out, const char *value)
{
	return parse_label(out, value) == 0 ? 0 : parse_key(out, value);
}

const char *label_check(const char *value)
{
	struct label l;

	return parse_label(&l, value) == 0 ? NULL : "a label of 16 or 32 hex digits, as `handfast tunnel show` has it";
}

const char *label_check_or_key(const char *value)
{
	struct label l;

	return parse_either(&l, value) == 0 ?
		       NULL :
		       "an identity of 16 or 32 hex digits, or a public key in base64 or hex";
}

bool label_same(const char *a, const char *b)
{
	struct label la, lb;

	return parse_either(&la, a) == 0 && parse_either(&lb, b) == 0 && la.len == lb.len && memcmp(la.id, lb.id, la.len) == 0;
}

bool label_names(const char *value, const uint8_t id[static PSKH_IDENTITY_LEN])
{
	struct label l;

	return parse_either(&l, value) == 0 && memcmp(l.id, id, l.len) == 0;
}

const char *label_check_source(const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		if (strcmp(named[i].name, value) == 0)
			return NULL;
	return value[0] == '/' ? NULL : "machine-id, device-tree, product-uuid, board-serial, credential or a file's path";
}

const char *label_check_salt(const char *value)
{
	return *value && strlen(value) <= LABEL_SALT_MAX ? NULL : "1 to 128 bytes, the same on both sides";
}

/* ---- lists ---- */

int label_list_set(struct label_list *out, const struct config_list *texts)
{
	struct label *v = texts->n ? calloc(texts->n, sizeof(*v)) : NULL;
	size_t n = 0;

	if (texts->n && !v)
		return -ENOMEM;
	for (size_t i = 0; i < texts->n; i++)
		if (parse_either(&v[n], texts->v[i]) == 0)
			n++;
	free(out->v);
	*out = (struct label_list){ v, n };
	return 0;
}

void label_list_done(struct label_list *l)
{
	free(l->v);
	*l = (struct label_list){ 0 };
}

bool label_list_has(const struct label_list *l, const uint8_t id[static PSKH_IDENTITY_LEN])
{
	for (size_t i = 0; i < l->n; i++)
		if (memcmp(l->v[i].id, id, l->v[i].len) == 0)
			return true;
	return false;
}

/* ---- serial numbers ---- */

/* What boards say of which nobody wrote a number in. */
static bool is_of_no_use(const char *text, size_t len)
{
	static const char *const fillers[] = {
		"none", "n/a", "default string", "to be filled by o.e.m.", "system serial number", "not specified",
		"not applicable", "invalid", "unknown", "03000200-0400-0500-0006-000700080009",
	};
	size_t same = 0;

	if (len < 4)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(fillers); i++)
		if (len == strlen(fillers[i]) && strncasecmp(text, fillers[i], len) == 0)
			return true;
	/* 00000000-0000-…, FFFFFFFF-… */
	for (size_t i = 0; i < len; i++)
		same += text[i] == text[0] || text[i] == '-';
	return same == len;
}

static size_t read_serial(uint8_t out[static LABEL_SERIAL_MAX], const char *path)
{
	_cleanup_free_ char *text = NULL;
	const char *begin;
	size_t all, len;

	/* Files in /sys say that they are as long as a page. */
	if (file_read(&text, &all, path, 65536) != 0)
		return 0;
	begin = text;
	len = all;
	while (len > 0 && (!*begin || isspace((unsigned char)*begin))) {
		begin++;
		len--;
	}
	while (len > 0 && (!begin[len - 1] || isspace((unsigned char)begin[len - 1])))
		len--;
	if (len > LABEL_SERIAL_MAX || is_of_no_use(begin, len))
		len = 0;
	memcpy(out, begin, len);
	wipe(text, all);
	return len;
}

size_t label_serial(uint8_t out[static LABEL_SERIAL_MAX], const struct config_list *sources, const char **source)
{
	for (size_t i = 0; i < sources->n; i++) {
		const char *path = sources->v[i];
		_cleanup_free_ char *credential = NULL;
		size_t len;

		for (size_t k = 0; k < ARRAY_SIZE(named); k++)
			if (strcmp(named[k].name, sources->v[i]) == 0)
				path = named[k].path;
		if (!path)
			path = credential = credential_path(CREDENTIAL_SERIAL);
		len = path ? read_serial(out, path) : 0;
		if (len > 0) {
			*source = sources->v[i];
			return len;
		}
	}
	return 0;
}

void label_make(uint8_t out[static PSKH_IDENTITY_LEN], const void *salt, size_t salt_len, const uint8_t *serial,
		size_t serial_len)
{
	uint8_t text[sizeof(LABEL_CONTEXT) - 1 + LABEL_SALT_MAX + LABEL_SERIAL_MAX], hash[SHA256_LEN];
	struct wbuf w;

	wbuf_init(&w, text, sizeof(text));
	wbuf_put(&w, LABEL_CONTEXT, strlen(LABEL_CONTEXT));
	wbuf_put(&w, salt, salt_len);
	wbuf_put(&w, serial, serial_len);
	sha256(hash, text, w.len);
	memcpy(out, hash, PSKH_IDENTITY_LEN);
	wipe(text, sizeof(text));
}
