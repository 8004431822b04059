/*
 * pairing.c against the relay that wants to win (I2), against guessing (I3),
 * and against clocks (I7). Whatever the relay does, a pairing may fail; it may
 * not succeed on either side unless both sides then have the same.
 */
#include "unit/lib/test.h"

#include <stdio.h>

#include "pairingd/pairing_internal.h"
#include "unit/pairingd/halves.h"

static struct halves h;

static void begin(const char *alice, const char *bob)
{
	const struct halves_setup setup = halves_pin(alice, bob);

	memset(&h, 0, sizeof(h));
	h.people = true;
	halves_new(&h, &setup);
}

/* Nothing was won: who succeeded has a partner that at least stored the same root. */
static void check_nothing_won(const char *what, uint64_t a, uint64_t b)
{
	for (int i = 0; i < 2; i++) {
		const struct half *one = &h.side[i], *other = &h.side[1 - i];

		if (!one->active)
			continue;
		if (!other->stored || memcmp(one->root, other->root, 32) != 0)
			test_fail(__FILE__, __LINE__, "%s %llu/%llu: one side succeeded alone", what,
				  (unsigned long long)a, (unsigned long long)b);
	}
}

static void check_failed(const char *what, uint64_t a, uint64_t b)
{
	check_nothing_won(what, a, b);
	if (h.side[0].active && h.side[1].active)
		test_fail(__FILE__, __LINE__, "%s %llu/%llu: the pairing succeeded", what,
			  (unsigned long long)a, (unsigned long long)b);
}

/* ---- altering ---- */

struct flip {
	enum pairing_role from;
	uint64_t seq;
	size_t bit;
	bool done;
};

static bool flip_bit(struct halves *all, enum pairing_role from, struct pairing_packet *packet,
		     void *arg)
{
	struct flip *f = arg;

	(void)all;
	if (f->done || from != f->from || packet->seq != f->seq)
		return true;
	f->done = true;
	packet->body[f->bit / 8] ^= (uint8_t)(1 << f->bit % 8);
	return true;
}

/* How long message seq of a role is in an untouched run. */
static size_t lengths[2][PAIRING_PREPARED + 1];

static void measure(void)
{
	begin("123456", "123456");
	halves_run(&h);
	for (int role = 0; role < 2; role++)
		for (size_t i = 0; i < h.side[role].n_mail; i++)
			lengths[role][h.side[role].mail[i].seq] = h.side[role].mail[i].len;
	CHECK(h.side[0].active && h.side[1].active);
	halves_done(&h);
}

static void flip_all(uint64_t first, uint64_t last)
{
	measure();
	for (int role = 0; role < 2; role++)
		for (uint64_t seq = first; seq <= last; seq++)
			for (size_t bit = 0; bit < 8 * lengths[role][seq]; bit++) {
				struct flip f = { (enum pairing_role)role, seq, bit, false };

				begin("123456", "123456");
				h.relay = flip_bit;
				h.relay_arg = &f;
				halves_run(&h);
				CHECK(f.done);
				check_failed("flipped bit of message", seq, bit);
				halves_done(&h);
			}
}

TEST(i2_a_flipped_bit_of_an_offer_never_succeeds)
{
	flip_all(PAIRING_HELLO, PAIRING_CHOOSE);
}

TEST(i2_a_flipped_bit_of_the_key_exchange_never_succeeds)
{
	flip_all(PAIRING_PAKE, PAIRING_CONFIRM);
}

TEST(i2_a_flipped_bit_of_the_handshake_never_succeeds)
{
	flip_all(PAIRING_HANDSHAKE, PAIRING_FINISH);
}

TEST(i2_a_flipped_bit_of_a_sealed_message_never_succeeds)
{
	size_t step = 7;

	measure();
	for (int role = 0; role < 2; role++)
		for (uint64_t seq = PAIRING_VERDICT; seq <= PAIRING_PREPARED; seq++)
			for (size_t bit = 0; bit < 8 * lengths[role][seq]; bit += step) {
				struct flip f = { (enum pairing_role)role, seq, bit, false };

				begin("123456", "123456");
				h.relay = flip_bit;
				h.relay_arg = &f;
				halves_run(&h);
				check_failed("flipped bit of sealed message", seq, bit);
				halves_done(&h);
			}
}

static bool change_head(struct halves *all, enum pairing_role from, struct pairing_packet *packet,
			void *arg)
{
	struct flip *f = arg;

	(void)all;
	if (f->done || from != f->from || packet->seq != f->seq)
		return true;
	f->done = true;
	if (f->bit < 64)
		packet->seq ^= UINT64_C(1) << f->bit;
	else if (f->bit < 72)
		packet->kind ^= (uint8_t)(1 << (f->bit - 64));
	else
		packet->len--;
	return true;
}

TEST(i2_a_changed_sequence_kind_or_length_never_succeeds)
{
	for (int role = 0; role < 2; role++)
		for (uint64_t seq = 1; seq <= PAIRING_PREPARED; seq++)
			for (size_t bit = 0; bit < 73; bit++) {
				struct flip f = { (enum pairing_role)role, seq, bit, false };

				begin("123456", "123456");
				h.relay = change_head;
				h.relay_arg = &f;
				halves_run(&h);
				check_failed("changed head", seq, bit);
				halves_done(&h);
			}
}

/* ---- dropping, repeating, reordering, reflecting ---- */

enum trick { DROP, REPEAT, REFLECT, SWAP, TRICKS };

struct meddler {
	enum trick trick;
	enum pairing_role from;
	uint64_t seq;
	struct pairing_packet held;
	bool holding, done;
};

static bool meddle(struct halves *all, enum pairing_role from, struct pairing_packet *packet, void *arg)
{
	struct meddler *m = arg;

	if (m->holding && from == m->from) {
		/* The later one first. */
		m->holding = false;
		halves_deliver_to(all, from == PAIRING_ALICE ? PAIRING_BOB : PAIRING_ALICE, packet);
		*packet = m->held;
		return true;
	}
	if (m->done || from != m->from || packet->seq != m->seq)
		return true;
	m->done = true;
	switch (m->trick) {
	case DROP:
		return false;
	case REPEAT:
		halves_deliver_to(all, from == PAIRING_ALICE ? PAIRING_BOB : PAIRING_ALICE, packet);
		return true;
	case REFLECT:
		halves_deliver_to(all, from, packet);
		return false;
	case SWAP:
		m->held = *packet;
		m->holding = true;
		return false;
	case TRICKS:
		break;
	}
	return true;
}

TEST(i2_dropping_repeating_reflecting_and_reordering_win_nothing)
{
	for (int trick = 0; trick < TRICKS; trick++)
		for (int role = 0; role < 2; role++)
			for (uint64_t seq = 1; seq <= PAIRING_PREPARED; seq++) {
				struct meddler m = { .trick = (enum trick)trick,
						     .from = (enum pairing_role)role, .seq = seq };

				begin("123456", "123456");
				h.relay = meddle;
				h.relay_arg = &m;
				halves_run(&h);
				/* A repeated last message comes after the end and hurts nobody. */
				if (trick == REPEAT && seq == PAIRING_PREPARED)
					check_nothing_won("trick", (uint64_t)trick, seq);
				else
					check_failed("trick", (uint64_t)trick, seq);
				h.relay_arg = NULL;
				halves_done(&h);
			}
}

TEST(i2_all_messages_reflected_are_refused)
{
	begin("123456", "123456");
	halves_join(&h);
	for (size_t i = 0; i < h.side[0].n_mail; i++)
		halves_deliver_to(&h, PAIRING_ALICE, &h.side[0].mail[i]);
	CHECK(h.side[0].ended);
	CHECK_EQ(h.side[0].code, PAIRING_TAMPERED);
	CHECK_EQ(h.side[0].spends, 0);
	halves_done(&h);
}

TEST(i2_messages_of_another_session_are_refused)
{
	static struct half recorded;
	size_t n;

	begin("123456", "123456");
	halves_run(&h);
	recorded = h.side[1];
	halves_done(&h);

	/* The same secret, devices and session id, but fresh randomness on one side. */
	begin("123456", "123456");
	h.side[0].random_state = 99;
	halves_join(&h);
	for (n = 0; n < recorded.n_mail && !h.side[0].ended; n++)
		halves_deliver_to(&h, PAIRING_ALICE, &recorded.mail[n]);
	CHECK(h.side[0].ended);
	CHECK_EQ(h.side[0].code, PAIRING_WRONG_SECRET);
	CHECK(!h.side[0].stored);
	halves_done(&h);
}

TEST(i2_injected_garbage_in_the_channel_ends_it_after_ten)
{
	begin("123456", "123456");
	h.people = false;
	halves_run(&h);
	for (unsigned int i = 1; i <= PAIRING_OPEN_FAILURES_MAX; i++) {
		struct pairing_packet junk = { .kind = PAIRING_SEALED, .seq = PAIRING_VERDICT, .len = 40 };

		CHECK(!h.side[0].ended);
		memset(junk.body, (int)i, junk.len);
		halves_deliver_to(&h, PAIRING_ALICE, &junk);
	}
	CHECK(h.side[0].ended);
	CHECK_EQ(h.side[0].code, PAIRING_TAMPERED);
	halves_done(&h);
}

TEST(i2_less_garbage_is_survived)
{
	begin("123456", "123456");
	h.people = false;
	halves_run(&h);
	for (unsigned int i = 1; i < PAIRING_OPEN_FAILURES_MAX; i++) {
		struct pairing_packet junk = { .kind = PAIRING_SEALED, .seq = PAIRING_VERDICT, .len = 40 };

		halves_deliver_to(&h, PAIRING_ALICE, &junk);
	}
	h.people = true;
	halves_run(&h);
	CHECK(h.side[0].active && h.side[1].active);
	halves_done(&h);
}

TEST(i2_every_kind_in_every_phase_is_in_turn_or_the_end)
{
	static struct half recorded[2];

	begin("123456", "123456");
	halves_run(&h);
	recorded[0] = h.side[0];
	recorded[1] = h.side[1];
	halves_done(&h);
	for (uint64_t phase = 0; phase <= PAIRING_PREPARED; phase++)
		for (size_t n = 0; n < recorded[1].n_mail; n++) {
			const struct pairing_packet *packet = &recorded[1].mail[n];
			bool in_turn = packet->seq == phase + 1;

			begin("123456", "123456");
			halves_join(&h);
			for (uint64_t i = 0; i < phase; i++) {
				if (i == PAIRING_FINISH)
					halves_compare(&h);
				halves_pass(&h, PAIRING_BOB);
				halves_pass(&h, PAIRING_ALICE);
			}
			if (h.side[0].ended) {
				halves_done(&h);
				continue;
			}
			halves_deliver_to(&h, PAIRING_ALICE, packet);
			if (!in_turn)
				CHECK(h.side[0].ended);
			/* With "prepared" said it can only end as unconfirmed. */
			if (!in_turn)
				CHECK_EQ(h.side[0].code, phase < PAIRING_IDENTITY ? PAIRING_TAMPERED :
										    PAIRING_UNCONFIRMED);
			check_nothing_won("kind in phase", phase, packet->seq);
			halves_done(&h);
		}
}

/* ---- both halves played ---- */

/* The relay runs a pairing of its own with each side, knowing even the PIN. */
static struct halves left, right;

TEST(i2_a_relay_that_knows_the_pin_and_plays_both_halves_shows_two_numbers)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	halves_new(&left, &setup);
	halves_new(&right, &setup);
	/* Alice of left and Bob of right are the people; the other two halves are the relay's. */
	right.side[0].random_state = 1000;
	left.side[1].random_state = 1001;
	halves_run(&left);
	halves_run(&right);
	CHECK(left.side[0].comparing && right.side[1].comparing);
	h.side[0] = left.side[0];
	h.side[1] = right.side[1];
	CHECK(halves_common_number(&h) == NULL);
	pairing_on_sas(left.side[0].p, NULL, 0);
	halves_serve(&left, PAIRING_ALICE);
	CHECK_EQ(left.side[0].code, PAIRING_SAS_MISMATCH);
	CHECK(!left.side[0].stored);
	CHECK_EQ(left.side[0].greetings, 0);
	halves_done(&left);
	halves_done(&right);
}

/* What a side has committed to cannot be chosen after the other's was seen. */
static bool other_nonce(struct halves *all, enum pairing_role from, struct pairing_packet *packet, void *arg)
{
	(void)all;
	(void)arg;
	if (from == PAIRING_BOB && packet->seq == PAIRING_HANDSHAKE) {
		struct pairing_msg m;

		assert(pairing_msg_decode(&m, packet->kind, packet->body, packet->len) == 0);
		memset(m.handshake.nonce, 0x55, sizeof(m.handshake.nonce));
		packet->len = (size_t)pairing_msg_encode(packet->body, sizeof(packet->body), &m);
	}
	return true;
}

TEST(i2_an_opening_that_was_not_committed_to_is_refused)
{
	begin("123456", "123456");
	h.relay = other_nonce;
	halves_run(&h);
	CHECK_EQ(h.side[0].code, PAIRING_TAMPERED);
	CHECK_EQ(h.side[0].waits > 0, 1);
	CHECK(!h.side[0].comparing);
	halves_done(&h);
}

/*
 * The peer itself cheats: it knows the PIN, and takes another nonce once it has committed, before it
 * opens. All else it does with that one, so that nothing but the commitment tells.
 */
static bool cheat(struct halves *all, enum pairing_role from, struct pairing_packet *packet, void *arg)
{
	bool *opened = arg;

	if (from == PAIRING_ALICE && packet->seq == PAIRING_CONFIRM)
		memset(all->side[PAIRING_BOB].p->nonce, 0x55, PAIRING_NONCE_LEN);
	if (from == PAIRING_BOB && packet->seq == PAIRING_HANDSHAKE) {
		struct pairing_msg m;

		assert(pairing_msg_decode(&m, packet->kind, packet->body, packet->len) == 0);
		*opened = m.handshake.nonce[0] == 0x55 && m.handshake.nonce[PAIRING_NONCE_LEN - 1] == 0x55;
	}
	return true;
}

TEST(i2_a_peer_that_knows_the_pin_opens_what_it_committed_to)
{
	bool opened = false;

	begin("123456", "123456");
	h.relay = cheat;
	h.relay_arg = &opened;
	halves_run(&h);
	CHECK(opened);
	CHECK_EQ(h.side[PAIRING_ALICE].code, PAIRING_TAMPERED);
	CHECK(!h.side[PAIRING_ALICE].comparing && !h.side[PAIRING_ALICE].stored);
	h.relay_arg = NULL;
	halves_done(&h);
}

/* The number on the screen says that the peer has the same keys: nobody is asked to compare before that is so. */
TEST(i2_a_changed_handshake_is_noticed_before_people_compare)
{
	measure();
	for (int role = 0; role < 2; role++)
		for (uint64_t seq = PAIRING_HANDSHAKE; seq <= PAIRING_FINISH; seq++)
			for (size_t bit = 0; bit < 8 * lengths[role][seq]; bit += 5) {
				struct flip f = { (enum pairing_role)role, seq, bit, false };
				const struct half *to = &h.side[1 - role];

				begin("123456", "123456");
				h.relay = flip_bit;
				h.relay_arg = &f;
				halves_run(&h);
				if (!to->ended || to->code != PAIRING_TAMPERED || to->choices[0][0])
					test_fail(__FILE__, __LINE__, "message %llu, bit %zu: %s, code %d",
						  (unsigned long long)seq, bit,
						  to->choices[0][0] ? "a number was shown" : "no number",
						  (int)to->code);
				halves_done(&h);
			}
}

/* Bob's identity as Alice sees it, held back, with what follows from another key, or from another signature. */
static bool hold_identity(struct halves *all, enum pairing_role from, struct pairing_packet *packet, void *arg)
{
	struct pairing_identity *out = arg;
	uint8_t plain[PAIRING_BODY_MAX];
	struct pairing_msg m;
	ssize_t len;

	if (from != PAIRING_BOB || packet->seq < PAIRING_IDENTITY)
		return true;
	if (packet->seq > PAIRING_IDENTITY)
		return false;
	len = pairing_unseal(all->side[PAIRING_ALICE].p, plain, packet);
	assert(len > 1 && pairing_msg_decode(&m, plain[0], plain + 1, (size_t)len - 1) == 0);
	(void)len;
	*out = m.identity;
	return false;
}

TEST(i2_an_identity_counts_only_with_its_own_signature_in_this_pairing)
{
	struct pairing_identity seen = { 0 };
	struct sign_public other;
	struct sign_key *key;
	struct pairing *p;

	CHECK_EQ(sign_key_generate(&key), 0);
	sign_key_public(key, &other);
	begin("123456", "123456");
	h.relay = hold_identity;
	h.relay_arg = &seen;
	halves_run(&h);
	CHECK(seen.port != 0);
	p = h.side[PAIRING_ALICE].p;

	p->peer = seen;
	p->peer.public_key = other;
	CHECK_EQ(pairing_check_identity(p), PAIRING_TAMPERED);
	for (size_t i = 0; i < sizeof(seen.signature); i++) {
		p->peer = seen;
		p->peer.signature[i] ^= 1;
		CHECK_EQ(pairing_check_identity(p), PAIRING_TAMPERED);
	}
	p->peer = seen;
	p->peer.port++;
	CHECK_EQ(pairing_check_identity(p), PAIRING_TAMPERED);
	p->channel_transcript[0] ^= 1;
	p->peer = seen;
	CHECK_EQ(pairing_check_identity(p), PAIRING_TAMPERED);
	p->channel_transcript[0] ^= 1;
	CHECK_EQ(pairing_check_identity(p), PAIRING_OK);
	sign_key_free(key);
	h.relay_arg = NULL;
	halves_done(&h);
}

/* ---- downgrade ---- */

struct strip {
	bool from[2];
	bool choices_too;
};

/* Take the better profile out of an offer, and make the choice fit, if asked. */
static bool strip_offer(struct halves *all, enum pairing_role from, struct pairing_packet *packet, void *arg)
{
	const struct strip *s = arg;
	struct pairing_msg m;

	if (pairing_msg_decode(&m, packet->kind, packet->body, packet->len))
		return true;
	if (packet->kind == PAIRING_HELLO && s->from[from]) {
		const char *low = "v40-spake2-x25519";

		assert(negotiate_offer_init(&m.hello.offer, &low, 1, NULL) == 0);
	} else if (packet->kind == PAIRING_CHOOSE && s->choices_too) {
		/* The receiver's own words, which it can but agree with. */
		const struct half *to = &all->side[from == PAIRING_ALICE];
		struct pairing_msg own;

		assert(to->n_mail >= 2);
		assert(pairing_msg_decode(&own, PAIRING_CHOOSE, to->mail[1].body, to->mail[1].len) == 0);
		m.choose = own.choose;
	} else {
		return true;
	}
	packet->len = (size_t)pairing_msg_encode(packet->body, sizeof(packet->body), &m);
	return true;
}

static void run_stripped(struct strip *s)
{
	struct halves_setup setup = halves_pin("123456", "123456");

	memset(&h, 0, sizeof(h));
	for (int i = 0; i < 2; i++) {
		setup.profiles[i] = halves_test_profiles;
		setup.n_profiles[i] = 3;
	}
	h.people = true;
	h.relay = strip_offer;
	h.relay_arg = s;
	halves_new(&h, &setup);
	halves_run(&h);
}

TEST(the_best_common_profile_is_chosen)
{
	struct strip s = { 0 };

	run_stripped(&s);
	CHECK(h.side[0].active && h.side[1].active);
	CHECK_STR(h.side[0].profile, "v60-test");
	halves_done(&h);
}

TEST(i2_a_profile_stripped_from_both_offers_is_a_downgrade)
{
	struct strip s = { .from = { true, true } };

	run_stripped(&s);
	CHECK_EQ(h.side[0].code, PAIRING_DOWNGRADE);
	CHECK_EQ(h.side[1].code, PAIRING_DOWNGRADE);
	CHECK_EQ(h.side[0].spends + h.side[1].spends, 0);
	halves_done(&h);
}

TEST(i2_a_profile_stripped_from_one_offer_is_a_downgrade)
{
	for (int i = 0; i < 2; i++) {
		struct strip s = { .from = { i == 0, i == 1 } };

		run_stripped(&s);
		CHECK_EQ(h.side[0].code, PAIRING_DOWNGRADE);
		CHECK_EQ(h.side[1].code, PAIRING_DOWNGRADE);
		halves_done(&h);
	}
}

TEST(i2_a_stripped_profile_with_a_forged_choice_fails_in_the_key_exchange)
{
	struct strip s = { .from = { true, true }, .choices_too = true };

	run_stripped(&s);
	CHECK_EQ(h.side[0].code, PAIRING_WRONG_SECRET);
	CHECK_EQ(h.side[1].code, PAIRING_WRONG_SECRET);
	CHECK(!h.side[0].stored && !h.side[1].stored);
	halves_done(&h);
}

TEST(i2_a_minimum_is_not_gone_below)
{
	struct halves_setup setup = halves_pin("123456", "123456");

	memset(&h, 0, sizeof(h));
	setup.profiles[0] = halves_test_profiles;
	setup.n_profiles[0] = 3;
	setup.minimum[0] = "v50-test";
	halves_new(&h, &setup);
	halves_run(&h);
	CHECK_EQ(h.side[0].code, PAIRING_NO_COMMON_PROFILE);
	CHECK_EQ(h.side[1].code, PAIRING_NO_COMMON_PROFILE);
	CHECK_EQ(h.side[0].spends + h.side[1].spends, 0);
	halves_done(&h);
}

/* ---- guessing ---- */

TEST(i3_a_wrong_pin_kills_the_code_on_both_sides)
{
	begin("123456", "123457");
	halves_run(&h);
	CHECK_EQ(h.side[0].code, PAIRING_WRONG_SECRET);
	CHECK_EQ(h.side[1].code, PAIRING_WRONG_SECRET);
	CHECK_EQ(h.side[0].spends, 1);
	CHECK_EQ(h.side[1].spends, 1);
	CHECK_EQ(h.side[0].proven + h.side[1].proven, 0);
	halves_done(&h);
}

TEST(i3_a_second_guess_in_the_same_pairing_is_impossible)
{
	static struct halves again;
	const struct halves_setup setup = halves_pin("123456", "654321");
	size_t mail;

	begin("123456", "111111");
	halves_run(&h);
	CHECK_EQ(h.side[0].code, PAIRING_WRONG_SECRET);
	mail = h.side[0].n_mail;
	/* Bob's whole talk with another guess, to the Alice that has seen one. */
	halves_new(&again, &setup);
	halves_run(&again);
	for (size_t i = 0; i < again.side[1].n_mail; i++)
		halves_deliver_to(&h, PAIRING_ALICE, &again.side[1].mail[i]);
	CHECK_EQ(h.side[0].n_mail, mail);
	CHECK_EQ(h.side[0].spends, 1);
	halves_done(&again);
	halves_done(&h);
}

TEST(i3_the_secret_is_spent_before_the_first_byte_made_of_it_leaves)
{
	begin("123456", "123456");
	halves_run(&h);
	for (int i = 0; i < 2; i++) {
		/* hello and choose, which know nothing of the secret. */
		CHECK_EQ(h.side[i].mail_when_spent, PAIRING_CHOOSE);
		CHECK_EQ(h.side[i].mail[PAIRING_CHOOSE].kind, PAIRING_PAKE);
	}
	halves_done(&h);
}

TEST(i3_what_cannot_be_spent_durably_is_not_used)
{
	begin("123456", "123456");
	h.side[0].spend_error = -28;
	halves_run(&h);
	CHECK_EQ(h.side[0].code, PAIRING_STORAGE_FAILED);
	for (size_t i = 0; i < h.side[0].n_mail; i++)
		CHECK(h.side[0].mail[i].kind != PAIRING_PAKE);
	halves_done(&h);
}

TEST(i3_only_one_confirmation_is_ever_given)
{
	unsigned int tags = 0;

	begin("123456", "123457");
	halves_run(&h);
	for (size_t i = 0; i < h.side[0].n_mail; i++)
		tags += h.side[0].mail[i].kind == PAIRING_CONFIRM;
	CHECK_EQ(tags, 1);
	halves_done(&h);
}

/* ---- believing ---- */

TEST(a_forged_reason_is_not_believed_where_it_cannot_be_true)
{
	static const uint8_t codes[] = { PAIRING_WRONG_SECRET, PAIRING_SAS_MISMATCH, PAIRING_OWN_DEVICE, 200 };

	for (size_t i = 0; i < sizeof(codes); i++) {
		struct pairing_packet forged = { .kind = PAIRING_ABORT, .seq = 1, .len = 5,
						 .body = { 1, 1, 0, 1, codes[i] } };

		begin("123456", "123456");
		halves_join(&h);
		halves_deliver_to(&h, PAIRING_ALICE, &forged);
		CHECK_EQ(h.side[0].code, PAIRING_PEER_ABORTED);
		halves_done(&h);
	}
}

/* ---- clocks ---- */

/* With every packet both sides are asked whether their time is up. */
static bool ask_for_time(struct halves *all, enum pairing_role from, struct pairing_packet *packet, void *arg)
{
	(void)from;
	(void)packet;
	(void)arg;
	for (int role = 0; role < 2; role++) {
		pairing_on_time(all->side[role].p, all->now_ms);
		CHECK(!pairing_is_over(all->side[role].p) || all->side[role].active);
	}
	return true;
}

TEST(i7_a_pairing_asks_no_clock_but_the_given_one)
{
	/* The given clock stands still for the whole pairing; the real one, and the wall's, do not matter. */
	begin("123456", "123456");
	h.now_ms = 1000;
	h.relay = ask_for_time;
	CHECK_EQ(pairing_deadline_ms(h.side[0].p), 1000 + 60000);
	halves_run(&h);
	CHECK(h.side[0].active && h.side[1].active);
	CHECK_EQ(h.now_ms, 1000);
	halves_done(&h);

	/* And where nothing comes, it is that clock that ends it. */
	begin("123456", "123456");
	pairing_on_time(h.side[0].p, 1000 + 60000 - 1);
	CHECK(!pairing_is_over(h.side[0].p));
	pairing_on_time(h.side[0].p, 1000 + 60000);
	CHECK_EQ(pairing_code(h.side[0].p), PAIRING_EXPIRED);
	halves_done(&h);
}
