/*
 * Base64 of RFC 4648, canonical or refused: no white space, no missing or
 * surplus padding, no non-zero trailing bits. Works in time that depends on
 * the length alone (libsodium is not needed here; the table is arithmetic).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum base64_variant {
	BASE64_STANDARD, /* section 4, padded */
	BASE64_URL,	 /* section 5, no padding */
};

/* Characters needed for len bytes, the terminating NUL included. */
#define BASE64_SPACE(len) (((len) + 2) / 3 * 4 + 1)

/* Encode into out (BASE64_SPACE(len) bytes), NUL-terminated. */
void base64_encode(char *out, const void *data, size_t len, enum base64_variant v);

/*
 * Decode text_len characters. Returns 0 and sets *len; -EBADMSG when text is
 * not canonical base64; -ENOSPC when cap is too small.
 */
int base64_decode(uint8_t *out, size_t cap, size_t *len, const char *text, size_t text_len,
		  enum base64_variant v);

/* Decode text that must give exactly len bytes. 0 or -EBADMSG. */
int base64_decode_exact(uint8_t *out, size_t len, const char *text, enum base64_variant v);
