/* pairing.c: what the state machine does when nobody attacks it, and when things merely go wrong. */
#include "unit/lib/test.h"

#include <errno.h>

#include "pairingd/pairing_internal.h"
#include "unit/pairingd/halves.h"

static struct halves h;

static void finish_time(enum pairing_role role)
{
	h.now_ms = pairing_deadline_ms(h.side[role].p);
	pairing_on_time(h.side[role].p, h.now_ms);
	halves_serve(&h, role);
}

static void run(const struct halves_setup *setup)
{
	h.people = true;
	halves_new(&h, setup);
	halves_run(&h);
}

static void check_ended(enum pairing_code alice, enum pairing_code bob)
{
	CHECK(h.side[0].ended && h.side[1].ended);
	CHECK_EQ(h.side[0].code, alice);
	CHECK_EQ(h.side[1].code, bob);
}

TEST(both_halves_pair_with_one_pin)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	run(&setup);
	check_ended(PAIRING_OK, PAIRING_OK);
	CHECK(h.side[0].active && h.side[1].active);
	CHECK_MEM(h.side[0].root, h.side[1].root, 32);
	CHECK_MEM(h.side[0].tunnel_id, h.side[1].tunnel_id, 16);
	CHECK_STR(h.side[0].peer_name, "pi");
	CHECK_STR(h.side[1].peer_name, "laptop");
	CHECK_STR(h.side[0].peer_note, "from the shed");
	CHECK_STR(h.side[0].profile, "v40-spake2-x25519");
	CHECK(h.side[0].sas_compared && h.side[1].sas_compared);
	CHECK_EQ(h.side[0].spends, 1);
	CHECK_EQ(h.side[0].proven, 1);
	halves_done(&h);
}

TEST(two_pairings_share_no_root)
{
	const struct halves_setup setup = halves_pin("123456", "123456");
	uint8_t root[32];

	run(&setup);
	memcpy(root, h.side[0].root, sizeof(root));
	halves_done(&h);
	memset(&h, 0, sizeof(h));
	h.people = true;
	halves_new(&h, &setup);
	h.side[0].random_state = 4711;
	halves_run(&h);
	check_ended(PAIRING_OK, PAIRING_OK);
	CHECK(memcmp(root, h.side[0].root, sizeof(root)) != 0);
	halves_done(&h);
}

TEST(a_secret_needs_no_comparing)
{
	const struct halves_setup setup = {
		.class = { SECRET_SEC, SECRET_SEC },
		.secret = { "sixteen bytes or more", "sixteen bytes or more" },
	};

	h.people = false;
	halves_new(&h, &setup);
	halves_run(&h);
	check_ended(PAIRING_OK, PAIRING_OK);
	CHECK(!h.side[0].sas_compared);
	halves_done(&h);
}

TEST(one_side_that_wants_comparing_is_enough)
{
	const struct halves_setup setup = {
		.class = { SECRET_SEC, SECRET_SEC },
		.secret = { "sixteen bytes or more", "sixteen bytes or more" },
		.compare = { false, true },
	};

	halves_new(&h, &setup);
	halves_run(&h);
	CHECK(h.side[0].comparing && h.side[1].comparing);
	halves_compare(&h);
	while (halves_pass(&h, PAIRING_ALICE) || halves_pass(&h, PAIRING_BOB))
		;
	check_ended(PAIRING_OK, PAIRING_OK);
	CHECK(h.side[0].sas_compared && h.side[1].sas_compared);
	halves_done(&h);
}

TEST(a_pin_against_a_secret_is_said_before_the_pin_is_spent)
{
	const struct halves_setup setup = {
		.class = { SECRET_PIN, SECRET_SEC },
		.secret = { "123456", "sixteen bytes or more" },
	};

	run(&setup);
	check_ended(PAIRING_OTHER_CLASS, PAIRING_OTHER_CLASS);
	CHECK_EQ(h.side[0].spends + h.side[1].spends, 0);
	halves_done(&h);
}

TEST(the_own_device_is_refused)
{
	struct halves_setup setup = halves_pin("123456", "123456");

	setup.same_device = true;
	run(&setup);
	check_ended(PAIRING_OWN_DEVICE, PAIRING_OWN_DEVICE);
	CHECK(!h.side[0].stored && !h.side[1].stored);
	halves_done(&h);
}

static int no_signature(uint8_t sig[static SIGN_LEN], const void *of, const char *context, const void *message, size_t len)
{
	(void)sig;
	(void)of;
	(void)context;
	(void)message;
	(void)len;
	return -EIO;
}

TEST(a_device_that_cannot_sign_ends_it_on_both_sides)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	h.people = true;
	halves_new(&h, &setup);
	h.side[1].signer.sign = no_signature;
	halves_run(&h);
	check_ended(PAIRING_PEER_ABORTED, PAIRING_INTERNAL);
	CHECK(!h.side[0].stored && !h.side[1].stored);
	halves_done(&h);
}

TEST(a_wrong_pick_ends_it_on_both_sides)
{
	const struct halves_setup setup = halves_pin("123456", "123456");
	const char *right;
	size_t wrong = 0;

	halves_new(&h, &setup);
	halves_run(&h);
	right = halves_common_number(&h);
	while (strcmp(h.side[1].choices[wrong], right) == 0)
		wrong++;
	pairing_on_sas(h.side[1].p, h.side[1].choices[wrong], h.now_ms);
	halves_serve(&h, PAIRING_BOB);
	halves_run(&h);
	check_ended(PAIRING_SAS_MISMATCH, PAIRING_SAS_MISMATCH);
	CHECK(!h.side[0].stored && !h.side[1].stored);
	halves_done(&h);
}

TEST(none_of_the_three_ends_it_even_when_the_other_picked_already)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	halves_new(&h, &setup);
	halves_run(&h);
	pairing_on_sas(h.side[0].p, halves_common_number(&h), h.now_ms);
	halves_serve(&h, PAIRING_ALICE);
	halves_run(&h);
	CHECK(!h.side[0].ended);
	pairing_on_sas(h.side[1].p, NULL, h.now_ms);
	halves_serve(&h, PAIRING_BOB);
	halves_run(&h);
	check_ended(PAIRING_SAS_MISMATCH, PAIRING_SAS_MISMATCH);
	halves_done(&h);
}

TEST(the_name_stays_hidden_until_the_own_person_compared)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	halves_new(&h, &setup);
	halves_run(&h);
	CHECK_EQ(h.side[0].greetings + h.side[1].greetings, 0);
	CHECK_EQ(h.side[0].n_mail, PAIRING_FINISH);
	halves_done(&h);
}

TEST(slow_stretching_on_one_side_is_waited_for)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	h.people = true;
	h.side[1].hold_stretch = true;
	halves_new(&h, &setup);
	halves_run(&h);
	CHECK_EQ(h.side[0].n_mail, PAIRING_PAKE);
	CHECK_EQ(h.side[1].n_mail, PAIRING_CHOOSE);
	halves_stretch(&h, PAIRING_BOB);
	halves_serve(&h, PAIRING_BOB);
	halves_run(&h);
	check_ended(PAIRING_OK, PAIRING_OK);
	halves_done(&h);
}

TEST(failed_stretching_ends_it)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	h.side[1].hold_stretch = true;
	halves_new(&h, &setup);
	halves_run(&h);
	pairing_on_stretched(h.side[1].p, h.side[1].job, h.now_ms);
	h.side[1].job = NULL;
	halves_serve(&h, PAIRING_BOB);
	halves_run(&h);
	check_ended(PAIRING_PEER_ABORTED, PAIRING_INTERNAL);
	CHECK_EQ(pairing_peer_code(h.side[0].p), PAIRING_INTERNAL);
	halves_done(&h);
}

TEST(stretching_done_after_the_end_is_let_go)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	h.side[1].hold_stretch = true;
	halves_new(&h, &setup);
	halves_run(&h);
	pairing_on_cancel(h.side[1].p, PAIRING_CANCELLED, h.now_ms);
	halves_serve(&h, PAIRING_BOB);
	halves_stretch(&h, PAIRING_BOB);
	halves_run(&h);
	check_ended(PAIRING_PEER_ABORTED, PAIRING_CANCELLED);
	CHECK_EQ(pairing_peer_code(h.side[0].p), PAIRING_CANCELLED);
	halves_done(&h);
}

TEST(each_phase_ends_when_its_deadline_passes)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	for (size_t rounds = 0; rounds < PAIRING_FINISH; rounds++) {
		memset(&h, 0, sizeof(h));
		halves_new(&h, &setup);
		if (rounds > 0)
			halves_join(&h);
		for (size_t i = 1; i < rounds; i++) {
			halves_pass(&h, PAIRING_ALICE);
			halves_pass(&h, PAIRING_BOB);
		}
		halves_serve(&h, PAIRING_ALICE);
		CHECK(pairing_wait_step(h.side[0].p));
		finish_time(PAIRING_ALICE);
		CHECK(h.side[0].ended);
		CHECK_EQ(h.side[0].code, PAIRING_EXPIRED);
		halves_done(&h);
	}
}

TEST(a_deadline_is_not_early)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	halves_new(&h, &setup);
	halves_join(&h);
	h.now_ms = pairing_deadline_ms(h.side[0].p) - 1;
	pairing_on_time(h.side[0].p, h.now_ms);
	halves_serve(&h, PAIRING_ALICE);
	CHECK(!h.side[0].ended);
	finish_time(PAIRING_ALICE);
	CHECK(h.side[0].ended);
	halves_done(&h);
}

TEST(the_wait_for_a_person_names_the_person)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	halves_new(&h, &setup);
	halves_run(&h);
	CHECK_STR(pairing_wait_step(h.side[0].p), "compare");
	CHECK_STR(pairing_wait_for(h.side[0].p), "you");
	pairing_on_sas(h.side[0].p, halves_common_number(&h), h.now_ms);
	halves_serve(&h, PAIRING_ALICE);
	CHECK_STR(pairing_wait_step(h.side[0].p), "peer-compares");
	CHECK_STR(pairing_wait_for(h.side[0].p), "peer");
	halves_done(&h);
}

TEST(a_disk_that_cannot_store_ends_it_and_the_peer_forgets)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	h.side[1].store_error = -5;
	run(&setup);
	CHECK_EQ(h.side[1].code, PAIRING_STORAGE_FAILED);
	CHECK_EQ(h.side[0].code, PAIRING_PEER_ABORTED);
	CHECK_EQ(pairing_peer_code(h.side[0].p), PAIRING_STORAGE_FAILED);
	CHECK(!h.side[0].stored && !h.side[1].stored);
	CHECK_EQ(h.side[0].removals, 1);
	halves_done(&h);
}

static bool drop_from_prepared(struct halves *all, enum pairing_role from,
			       struct pairing_packet *packet, void *arg)
{
	(void)all;
	(void)arg;
	return !(from == PAIRING_ALICE && packet->seq >= PAIRING_PREPARED);
}

TEST(i9_a_lost_acknowledgement_leaves_a_lone_prepared_side_unconfirmed)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	h.relay = drop_from_prepared;
	run(&setup);
	CHECK_EQ(h.side[0].code, PAIRING_OK);
	CHECK(!h.side[1].ended && h.side[1].stored);
	finish_time(PAIRING_BOB);
	CHECK_EQ(h.side[1].code, PAIRING_UNCONFIRMED);
	CHECK(h.side[1].stored && !h.side[1].active);
	CHECK_EQ(h.side[1].removals, 0);
	CHECK_MEM(h.side[0].root, h.side[1].root, 32);
	halves_done(&h);
}

TEST(i9_nothing_takes_back_what_the_peer_may_rely_on)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	for (int how = 0; how < 4; how++) {
		const struct pairing_packet forged = { .kind = PAIRING_ABORT, .seq = 9, .len = 5,
						       .body = { 1, 1, 0, 1, PAIRING_STORAGE_FAILED } };

		memset(&h, 0, sizeof(h));
		h.relay = drop_from_prepared;
		run(&setup);
		if (how == 0)
			pairing_on_peer_left(h.side[1].p, h.now_ms);
		else if (how == 1)
			pairing_on_cancel(h.side[1].p, PAIRING_CANCELLED, h.now_ms);
		else if (how == 2)
			pairing_on_garbage(h.side[1].p, h.now_ms);
		else
			pairing_on_packet(h.side[1].p, &forged, h.now_ms);
		halves_serve(&h, PAIRING_BOB);
		CHECK_EQ(h.side[1].code, PAIRING_UNCONFIRMED);
		CHECK(h.side[1].stored);
		CHECK_EQ(h.side[1].n_mail, PAIRING_PREPARED);
		halves_done(&h);
	}
}

TEST(i9_prepared_is_said_only_when_it_is_stored)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	h.side[0].store_error = -28;
	run(&setup);
	for (size_t i = 0; i < h.side[0].n_mail; i++)
		CHECK(h.side[0].mail[i].seq < PAIRING_PREPARED || h.side[0].ended);
	CHECK(!h.side[1].active);
	halves_done(&h);
}

TEST(i9_a_failed_activation_stays_prepared)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	h.side[0].activate_error = -28;
	run(&setup);
	CHECK_EQ(h.side[0].code, PAIRING_UNCONFIRMED);
	CHECK_EQ(h.side[1].code, PAIRING_OK);
	CHECK(h.side[0].stored);
	halves_done(&h);
}

TEST(a_peer_that_leaves_ends_it)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	halves_new(&h, &setup);
	halves_join(&h);
	pairing_on_peer_left(h.side[0].p, h.now_ms);
	halves_serve(&h, PAIRING_ALICE);
	CHECK_EQ(h.side[0].code, PAIRING_PEER_LEFT);
	halves_done(&h);
}

TEST(after_the_end_nothing_happens)
{
	const struct halves_setup setup = halves_pin("123456", "123456");
	struct half before;

	run(&setup);
	before = h.side[0];
	for (size_t i = 0; i < h.side[1].n_mail; i++)
		halves_deliver_to(&h, PAIRING_ALICE, &h.side[1].mail[i]);
	pairing_on_garbage(h.side[0].p, h.now_ms);
	pairing_on_cancel(h.side[0].p, PAIRING_CANCELLED, h.now_ms);
	pairing_on_peer_left(h.side[0].p, h.now_ms);
	pairing_on_sas(h.side[0].p, NULL, h.now_ms);
	h.now_ms = UINT64_MAX;
	pairing_on_time(h.side[0].p, h.now_ms);
	halves_serve(&h, PAIRING_ALICE);
	CHECK_MEM(&before, &h.side[0], sizeof(before));
	halves_done(&h);
}

TEST(secrets_of_wrong_length_are_refused)
{
	static const struct {
		enum secret_class class;
		const char *value;
	} cases[] = {
		{ SECRET_PIN, "12345" },
		{ SECRET_PIN, "123456789" },
		{ SECRET_SEC, "fifteen bytes.." },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct pairing_options o = {
			.profiles = pairing_profiles,
			.n_profiles = pairing_n_profiles,
			.secret_class = cases[i].class,
		};
		struct pairing *p = NULL;
		char value[32];

		strcpy(value, cases[i].value);
		CHECK_EQ(secret_take(&o.secret, (uint8_t *)value, strlen(value)), 0);
		CHECK_EQ(pairing_new(&p, &o, 0), -22);
		CHECK(!p);
		secret_free(o.secret);
	}
}

TEST(the_real_stretching_is_argon2id_and_repeatable)
{
	struct pairing_stretch *s[2];
	struct secret *expected = NULL;

	for (int i = 0; i < 2; i++) {
		uint8_t in[] = "input";

		s[i] = calloc(1, sizeof(*s[i]));
		memcpy(s[i]->salt, "sixteen of salt.", 16);
		CHECK_EQ(secret_take(&s[i]->input, in, 5), 0);
		pairing_stretch_run(s[i]);
		CHECK(s[i]->output);
	}
	CHECK(secret_equal(s[0]->output, secret_bytes(s[1]->output), 32));
	CHECK_EQ(argon2id(&expected, 32, (const uint8_t *)"input", 5,
			  (const uint8_t *)"sixteen of salt.", 65536, 3), 0);
	CHECK(secret_equal(expected, secret_bytes(s[0]->output), 32));
	secret_free(expected);
	pairing_stretch_free(s[0]);
	pairing_stretch_free(s[1]);
}

/* Whatever became of a pairing, nothing secret is kept of it; and the PIN itself not even until then. */
static void check_let_go(const struct pairing *p)
{
	static const uint8_t zeros[PAIRING_NONCE_LEN];

	CHECK(!p->secret && !p->stretched && !p->spake2 && !p->pake_key && !p->x25519_private);
	CHECK(!p->session && !p->channel[0] && !p->channel[1] && !p->tunnel_root);
	CHECK(memcmp(p->nonce, zeros, sizeof(p->nonce)) == 0);
	CHECK(p->sas[0] == '\0');
}

TEST(i5_secrets_are_let_go_when_they_have_had_their_use)
{
	const struct halves_setup right = halves_pin("123456", "123456"), wrong = halves_pin("123456", "654321");

	halves_new(&h, &right);
	h.people = true;
	h.side[0].hold_stretch = true;
	halves_run(&h);
	CHECK(h.side[0].job != NULL);
	CHECK(h.side[0].p->secret == NULL);
	halves_stretch(&h, PAIRING_ALICE);
	halves_serve(&h, PAIRING_ALICE);
	CHECK(h.side[0].p->stretched == NULL);
	halves_run(&h);
	CHECK(h.side[0].active && h.side[1].active);
	check_let_go(h.side[0].p);
	check_let_go(h.side[1].p);
	halves_done(&h);

	memset(&h, 0, sizeof(h));
	halves_new(&h, &wrong);
	halves_run(&h);
	CHECK_EQ(h.side[0].code, PAIRING_WRONG_SECRET);
	check_let_go(h.side[0].p);
	check_let_go(h.side[1].p);
	halves_done(&h);
}
