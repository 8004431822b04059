/*
 * login_ids as a sequence: they are made, handed in as they are, changed, cut, made longer, or of any text, and time passes. One
 * that was made opens once, to what was put into it, while it is young; nothing else opens at all.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "authd/ticket.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "fuzz/lib/sequence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MADE = 8, TTL_MS = 60000 };

struct made {
	char text[TICKET_SPACE];
	struct ticket in;
	uint64_t until_ms;
	bool used;
};

static struct tickets *tickets;
static struct made made[MADE];
static size_t n_made;
static uint64_t now_ms;

static void make(const struct happening *h)
{
	struct made *m = &made[n_made % MADE];

	if (n_made == MADE)
		return;
	memset(m, 0, sizeof(*m));
	snprintf(m->in.name, sizeof(m->in.name), "user%u", happening_byte(h, 0));
	m->in.user = happening_byte(h, 1);
	m->in.version = happening_byte(h, 2);
	memset(m->in.login_state, happening_byte(h, 3), sizeof(m->in.login_state));
	m->until_ms = now_ms + TTL_MS;
	ticket_seal(tickets, m->text, &m->in);
	n_made++;
}

static bool is_same(const struct ticket *a, const struct ticket *b)
{
	return strcmp(a->name, b->name) == 0 && a->user == b->user && a->version == b->version &&
	       memcmp(a->login_state, b->login_state, sizeof(a->login_state)) == 0;
}

static void open_one(const char *text)
{
	struct ticket out;
	int r = ticket_open(tickets, &out, text);
	struct made *m = NULL;

	for (size_t i = 0; i < n_made; i++)
		if (strcmp(made[i].text, text) == 0)
			m = &made[i];
	if (!m)
		assert(r == TICKET_E_BAD);
	else if (now_ms >= m->until_ms)
		assert(r == TICKET_E_EXPIRED);
	else if (m->used)
		assert(r == TICKET_E_USED);
	else
		assert(r == 0 && is_same(&out, &m->in));
	if (r == 0)
		m->used = true;
}

/* Bytes of another in place of its own, or a text that is nobody's. */
static void hand_in(const struct happening *h)
{
	char text[TICKET_SPACE + 256] = "";
	size_t at;

	if (n_made > 0)
		snprintf(text, sizeof(text), "%s", made[happening_byte(h, 0) % n_made].text);
	at = happening_number(h, 1, 2) % (TICKET_SPACE - 1);
	for (size_t i = 3; i < h->len && at < sizeof(text) - 1; i++)
		text[at++] = (char)(h->data[i] ? h->data[i] : 'A');
	open_one(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence s = { data, size };
	struct happening h;

	if (sequence_random_state == 0) {
		sequence_own_randomness();
		assert(crypto_init() == 0);
	}
	sequence_random_state = 1;
	now_ms = 1000000;
	n_made = 0;
	clock_fake_ms(now_ms);
	assert(tickets_new(&tickets, TTL_MS) == 0);
	while (sequence_next(&s, &h)) {
		if (h.what % 4 == 0) {
			make(&h);
		} else if (h.what % 4 == 1) {
			now_ms += happening_number(&h, 0, 2);
			clock_fake_ms(now_ms);
		} else {
			hand_in(&h);
		}
	}
	tickets = tickets_free(tickets);
	return 0;
}
