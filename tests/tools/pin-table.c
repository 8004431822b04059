/*
 * What a relay can do offline with a transcript: for every PIN, compute the
 * key that it would mean and the confirmation tag that would follow, and name
 * those PINs whose tag is the one that was seen. The point of PIN number i is
 * FIRST - i * STEP, so that each costs one addition in the group: PINs differ
 * by a step in a table where the product has Argon2id. On standard input:
 *
 *	COUNT FIRST STEP IDS SHARE_A SHARE_B LABEL MESSAGE TAG		(hex but COUNT, LABEL with . for blanks)
 *	NUMBER POINT PASSWORD		any number of PINs that have their own point and password
 *
 * and out come "tried N", and "matches" with the numbers.
 */
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/kdf.h"

enum { POINT = 32, SHARE = 33, OWN_MAX = 4096, MESSAGE_MAX = 1024, LINE_SIZE = 16384 };

struct own {
	unsigned long number;
	uint8_t point[POINT], password[32];
};

static struct own own[OWN_MAX];
static size_t n_own;
static uint8_t point[POINT], step[POINT], ids[64], shares[2 * SHARE], tag[32], message[MESSAGE_MAX];
static size_t message_len;
static char label[128];

static void die(const char *why)
{
	fprintf(stderr, "pin-table: %s\n", why);
	exit(2);
}

static void hex(uint8_t *out, size_t len, const char *text)
{
	if (!text || strlen(text) != 2 * len || hex_parse(out, len, text) < 0)
		die("bad hex");
}

/* HKDF-SHA-256 without salt, one block, as handfast-pairing(7) has K(). */
static void expand(uint8_t out[static 32], const uint8_t key[static 32])
{
	static const uint8_t salt[32];
	uint8_t prk[32], info[sizeof(label) + 1];
	size_t n = strlen(label);

	hmac_sha256(prk, salt, sizeof(salt), key, 32);
	memcpy(info, label, n);
	info[n] = 1;
	hmac_sha256(out, prk, sizeof(prk), info, n + 1);
}

static bool fits(const uint8_t k[static POINT], const uint8_t password[static 32])
{
	uint8_t in[32 + sizeof(ids) + sizeof(shares) + POINT - 2], key[32], mac[32], got[32];

	sha256(in, password, 32);
	memcpy(in + 32, ids, sizeof(ids));
	/* Without the byte that names the side. */
	memcpy(in + 96, shares + 1, POINT);
	memcpy(in + 128, shares + SHARE + 1, POINT);
	memcpy(in + 160, k, POINT);
	sha256(key, in, sizeof(in));
	expand(mac, key);
	hmac_sha256(got, mac, sizeof(mac), message, message_len);
	return memcmp(got, tag, sizeof(tag)) == 0;
}

static int by_number(const void *a, const void *b)
{
	const struct own *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static unsigned long read_input(void)
{
	static char line[LINE_SIZE];
	unsigned long count;
	char *save, *text;

	if (!fgets(line, sizeof(line), stdin))
		die("no input");
	count = strtoul(strtok_r(line, " \n", &save), NULL, 10);
	hex(point, POINT, strtok_r(NULL, " \n", &save));
	hex(step, POINT, strtok_r(NULL, " \n", &save));
	hex(ids, sizeof(ids), strtok_r(NULL, " \n", &save));
	hex(shares, SHARE, strtok_r(NULL, " \n", &save));
	hex(shares + SHARE, SHARE, strtok_r(NULL, " \n", &save));
	text = strtok_r(NULL, " \n", &save);
	if (!text || strlen(text) >= sizeof(label))
		die("no label");
	for (size_t i = 0; text[i]; i++)
		label[i] = text[i] == '.' ? ' ' : text[i];
	text = strtok_r(NULL, " \n", &save);
	if (!text || strlen(text) > 2 * MESSAGE_MAX)
		die("no message");
	message_len = strlen(text) / 2;
	hex(message, message_len, text);
	hex(tag, sizeof(tag), strtok_r(NULL, " \n", &save));
	while (n_own < OWN_MAX && fgets(line, sizeof(line), stdin)) {
		own[n_own].number = strtoul(strtok_r(line, " \n", &save), NULL, 10);
		hex(own[n_own].point, POINT, strtok_r(NULL, " \n", &save));
		hex(own[n_own].password, 32, strtok_r(NULL, " \n", &save));
		n_own++;
	}
	qsort(own, n_own, sizeof(*own), by_number);
	return count;
}

int main(void)
{
	unsigned long count, at = 0;

	if (sodium_init() < 0)
		die("no libsodium");
	count = read_input();
	printf("matches");
	for (unsigned long i = 0; i < count; i++) {
		uint8_t password[32] = "a step of the table";

		memcpy(password + 20, &i, sizeof(i));
		while (at < n_own && own[at].number < i)
			at++;
		if (at < n_own && own[at].number == i ? fits(own[at].point, own[at].password) : fits(point, password))
			printf(" %lu", i);
		if (crypto_core_ed25519_sub(point, point, step))
			die("a point that is none");
	}
	printf("\ntried %lu\n", count);
	return 0;
}
