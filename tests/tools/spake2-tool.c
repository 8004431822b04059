/*
 * SPAKE2 over a pipe, for comparing with another implementation. For each
 * exchange it reads "SIDE PASSWORD ID_A ID_B SEED" (A or B; hex, "-" for
 * empty; SEED may be "random"), prints its message, reads the peer's, and prints
 * the key, or "refused".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "crypto/spake2.h"

enum { FIELD_MAX = 4096 };

struct field {
	uint8_t b[FIELD_MAX];
	size_t len;
};

static struct field password, id_a, id_b, seed, message;

static void die(const char *why)
{
	fprintf(stderr, "spake2-tool: %s\n", why);
	exit(2);
}

static void read_field(struct field *f, const char *text)
{
	f->len = 0;
	if (!text)
		die("a field is missing");
	if (!strcmp(text, "-"))
		return;
	f->len = strlen(text) / 2;
	if (f->len > FIELD_MAX || hex_parse(f->b, f->len, text) < 0)
		die("bad hex");
}

static void print_hex(const uint8_t *p, size_t len)
{
	char hex[2 * SPAKE2_MSG_LEN + 1];

	hex_format(hex, p, len);
	puts(hex);
	fflush(stdout);
}

static void exchange(char *line)
{
	_cleanup_(spake2_freep) struct spake2 *s = NULL;
	_cleanup_(secret_freep) struct secret *key = NULL;
	enum spake2_side side = line[0] == 'A' ? SPAKE2_A : SPAKE2_B;
	uint8_t msg[SPAKE2_MSG_LEN];
	const char *seed_text;
	char *save, peer[2 * FIELD_MAX];
	int r;

	strtok_r(line, " \n", &save);
	read_field(&password, strtok_r(NULL, " \n", &save));
	read_field(&id_a, strtok_r(NULL, " \n", &save));
	read_field(&id_b, strtok_r(NULL, " \n", &save));
	seed_text = strtok_r(NULL, " \n", &save);
	if (seed_text && !strcmp(seed_text, "random")) {
		r = spake2_new(&s, side, password.b, password.len, id_a.b, id_a.len, id_b.b,
			       id_b.len);
	} else {
		read_field(&seed, seed_text);
		if (seed.len != 64)
			die("a seed is 64 bytes");
		r = spake2_new_seeded(&s, side, password.b, password.len, id_a.b, id_a.len, id_b.b,
				      id_b.len, seed.b);
	}
	if (r)
		die("cannot start");
	spake2_message(s, msg);
	print_hex(msg, sizeof(msg));

	if (!fgets(peer, sizeof(peer), stdin))
		die("no message");
	peer[strcspn(peer, "\n")] = '\0';
	read_field(&message, peer);
	if (spake2_finish(s, &key, message.b, message.len) == 0) {
		print_hex(secret_bytes(key), secret_len(key));
	} else {
		puts("refused");
		fflush(stdout);
	}
}

int main(void)
{
	static char line[8 * FIELD_MAX];

	if (crypto_init())
		die("cannot start the crypto library");
	while (fgets(line, sizeof(line), stdin))
		exchange(line);
	return 0;
}
