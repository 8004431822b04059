/*
 * The whole state machine against a sequence of happenings. Each input byte
 * says what happens next to which side: honest packets are passed on, dropped,
 * repeated or altered; packets made of the input are injected; time passes,
 * people pick, disks fail. Both sides may fail; neither may succeed with
 * another root than its partner stored. With different PINs neither may get anywhere.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "fuzz/lib/quick_group.h"
#include "unit/pairingd/halves.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct halves h;

/* As new; the packets that were never made are zero yet. */
static void forget(void)
{
	for (int i = 0; i < 2; i++) {
		struct half *half = &h.side[i];
		const size_t rest = offsetof(struct half, n_mail);

		memset(half->mail, 0, half->n_mail * sizeof(half->mail[0]));
		memset((uint8_t *)half + rest, 0, sizeof(*half) - rest);
	}
}

static void inject(enum pairing_role to, const uint8_t **data, size_t *len)
{
	struct pairing_packet p = { 0 };

	if (*len < 3)
		return;
	p.kind = (*data)[0];
	p.seq = (*data)[1];
	p.len = (*data)[2];
	*data += 3;
	*len -= 3;
	if (p.len > *len)
		p.len = *len;
	memcpy(p.body, *data, p.len);
	*data += p.len;
	*len -= p.len;
	halves_deliver_to(&h, to, &p);
}

static void alter(enum pairing_role from, const uint8_t **data, size_t *len)
{
	struct half *half = &h.side[from];
	struct pairing_packet *p = &half->mail[half->n_delivered];

	if (half->n_delivered == half->n_mail || *len < 2)
		return;
	if (p->len > 0)
		p->body[(*data)[0] % p->len] ^= (*data)[1];
	*data += 2;
	*len -= 2;
}

static void happen(uint8_t what, enum pairing_role side, const uint8_t **data, size_t *len)
{
	struct half *half = &h.side[side];

	switch (what) {
	case 0:
		halves_pass(&h, side);
		break;
	case 1:
		if (half->n_delivered < half->n_mail)
			half->n_delivered++;
		break;
	case 2:
		if (half->n_delivered > 0)
			halves_deliver_to(&h, side == PAIRING_ALICE, &half->mail[half->n_delivered - 1]);
		break;
	case 3:
		alter(side, data, len);
		break;
	case 4:
		inject(side, data, len);
		break;
	case 5:
		halves_compare(&h);
		break;
	case 6:
		pairing_on_sas(half->p, "000000", h.now_ms);
		halves_serve(&h, side);
		break;
	case 7:
		h.now_ms = pairing_deadline_ms(half->p) == UINT64_MAX ? h.now_ms : pairing_deadline_ms(half->p);
		pairing_on_time(half->p, h.now_ms);
		halves_serve(&h, side);
		break;
	case 8:
		pairing_on_peer_left(half->p, h.now_ms);
		halves_serve(&h, side);
		break;
	case 9:
		half->store_error = -5;
		break;
	case 10:
		half->spend_error = -5;
		break;
	case 11:
		pairing_on_cancel(half->p, PAIRING_CANCELLED, h.now_ms);
		halves_serve(&h, side);
		break;
	case 12:
		pairing_on_peer_joined(half->p, h.now_ms);
		halves_serve(&h, side);
		break;
	case 13:
		pairing_on_garbage(half->p, h.now_ms);
		halves_serve(&h, side);
		break;
	case 14:
		half->activate_error = -5;
		break;
	default:
		halves_pass(&h, side);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* A bit that no happening has. */
	bool is_guess = len > 0 && data[0] & 32;
	const struct halves_setup setup = halves_pin("123456", is_guess ? "123457" : "123456");

	forget();
	halves_new(&h, &setup);
	halves_serve(&h, PAIRING_ALICE);
	halves_serve(&h, PAIRING_BOB);
	while (len > 0) {
		uint8_t b = *data++;

		len--;
		happen(b & 15, b & 16 ? PAIRING_BOB : PAIRING_ALICE, &data, &len);
	}
	for (int i = 0; i < 2; i++) {
		const struct half *one = &h.side[i], *other = &h.side[1 - i];

		/* Success means that the other has stored the same, and that the secret was spent first. */
		if (one->active)
			assert(other->stored && memcmp(one->root, other->root, 32) == 0);
		if (is_guess)
			assert(!one->proven && !one->stores && !one->active && !one->comparing && !one->greetings);
		assert(one->spends <= 1);
		assert(one->n_mail <= PAIRING_CHOOSE || one->spends == 1 || one->ended);
	}
	halves_done(&h);
	return 0;
}
