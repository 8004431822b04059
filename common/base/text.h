/* Text for people: what may reach a terminal or a log, and numbers with units. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Copy peer text into out (cap bytes, NUL-terminated): invalid UTF-8,
 * control, bidi-control and zero-width characters are left out, and it is cut
 * at a character boundary to fit. Returns the length written.
 */
size_t text_clean(char *out, size_t cap, const char *in, size_t len);

/* True for valid UTF-8 (no surrogates, no overlong forms, no NUL). */
bool text_is_utf8(const char *s, size_t len);

/*
 * True for a name of a peer, tunnel or device: 1 to 32 characters of
 * a-z A-Z 0-9 . _ -, beginning with a letter or digit.
 */
bool text_is_name(const char *s);

/* Whole decimal number in [min, max], nothing around it. 0 or -EINVAL, -ERANGE. */
int text_parse_u64(uint64_t *out, const char *s, uint64_t min, uint64_t max);

/* Bytes: "4096", "64K", "10M", "1G", "2T", or "64KiB" and "64kB" (powers of 1000). 0, -EINVAL or -ERANGE. */
int text_parse_size(uint64_t *out, const char *s);

/* Milliseconds: "500ms", "30s", "5min", "1h", "2d"; a plain number is seconds. 0, -EINVAL or -ERANGE. */
int text_parse_duration_ms(uint64_t *out, const char *s);

/* "1.5 GiB", "12 KiB", "900 B". */
void text_format_size(char *out, size_t cap, uint64_t bytes);
/* "3 d 4 h", "12 min", "5 s". */
void text_format_duration(char *out, size_t cap, uint64_t ms);
/* Say something in out: cap bytes, cut where it does not fit; with cap 0 nothing. */
void text_say(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for what went wrong. Is r, to fail with: a macro, so that who checks the caller sees that it does. */
#define text_explain(out, cap, r, ...) (text_say((out), (cap), __VA_ARGS__), (r))
