/* Both ends of the handshake in one process, over a network that the test holds in its hand. */
#include "unit/pskd/hands.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/bytes.h"
#include "pskd/packet/path.h"

static struct datagram carry(struct side *from, struct side *to)
{
	struct datagram d;

	sign_all(from);
	d = take(from);
	hear(to, &d, &from->address);
	sign_all(to);
	return d;
}

static void shake_hands(struct pair *p)
{
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	carry(&p->a, &p->b);
	CHECK_EQ(p->a.n_sessions, 1);
	CHECK_EQ(p->b.n_sessions, 1);
}

/* b has authenticated all below next, though a's ledger does not know that it sent them. */
static void pretend_received(struct side *s, uint64_t next)
{
	for (uint64_t high = 0; high < next; high += 500)
		keys_rx_advance(s->keys, high);
	keys_rx_advance(s->keys, next - 1);
}

TEST(handshake_gives_both_the_same_session)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);

	shake_hands(p);
	CHECK_MEM(&p->a.session->id, &p->b.session->id, sizeof(p->a.session->id));
	CHECK_MEM(&p->b.session->address, &p->a.address, sizeof(p->a.address));
	hello_on_proven(p->a.hello);
	CHECK(!hello_is_running(p->a.hello));
}

TEST(pinned_handshake_is_signed_by_both)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);
	struct pskh m;
	struct datagram d;

	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	d = carry(&p->b, &p->a);
	CHECK_EQ(pskh_decode(&m, d.msg, d.len), 0);
	CHECK_EQ(m.sig_len, SIGN_LEN);
	d = carry(&p->a, &p->b);
	CHECK_EQ(pskh_decode(&m, d.msg, d.len), 0);
	CHECK_EQ(m.sig_len, SIGN_LEN);
	CHECK_EQ(p->b.n_sessions, 1);
}

/* Whoever asked is answered from where it asked, also when the answer had to be signed; who asks leaves that to the kernel. */
TEST(answers_leave_from_the_address_that_was_asked)
{
	for (int pinned = 0; pinned < 2; pinned++) {
		_cleanup_(pair_freep) struct pair *p = pair_new(pinned);
		struct datagram hello, welcome, bind, again;

		p->a.local = (struct udp_local){ .address.s6_addr = { 0xfe, 0x80, [15] = 7 }, .ifindex = 3 };
		p->b.local = (struct udp_local){ .address.s6_addr = { 0x20, 0x01, [15] = 8 }, .ifindex = 4 };
		hello_start(p->a.hello);
		hello = carry(&p->a, &p->b);
		CHECK(!udp_is_local(&hello.local));
		/* Meanwhile another asks another address. */
		welcome = p->b.out[0];
		p->b.local.address.s6_addr[15] = 9;
		hear(&p->b, &hello, &(struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(3000) });
		sign_all(&p->b);
		CHECK_EQ(welcome.local.address.s6_addr[15], 8);
		CHECK_EQ(welcome.local.ifindex, 4);
		CHECK_EQ(p->b.out[1].local.address.s6_addr[15], 9);
		carry(&p->b, &p->a);
		CHECK_EQ(p->a.n_sessions, 1);
		CHECK_MEM(&p->a.session->local, &p->a.local, sizeof(p->a.local));
		/* The BIND, and when it is sent once more. */
		bind = carry(&p->a, &p->b);
		CHECK_MEM(&bind.local, &p->a.local, sizeof(p->a.local));
		CHECK_EQ(p->b.n_sessions, 1);
		CHECK_MEM(&p->b.session->local, &p->b.local, sizeof(p->b.local));
		clock_fake_ms(clock_now_ms() + 600);
		loop_step(p->a.loop, 1000);
		again = take(&p->a);
		CHECK_MEM(&again.local, &p->a.local, sizeof(p->a.local));
	}
}

/* Through a wall at the peer's nothing else may come; but who has just moved is not where it was called any more. */
TEST(a_call_is_answered_from_where_it_came_to_but_by_who_looks_itself)
{
	for (int looks = 0; looks < 2; looks++) {
		_cleanup_(pair_freep) struct pair *p = pair_new(false);
		struct datagram d;

		p->a.local = (struct udp_local){ .address.s6_addr = { 0xfe, 0x80, [15] = 7 }, .ifindex = 3 };
		if (looks) {
			hello_start(p->a.hello);
			take(&p->a);
		}
		hello_set_candidates(p->b.hello, &p->a.address, 1);
		hello_start(p->b.hello);
		d = carry(&p->b, &p->a);
		CHECK(!udp_is_local(&d.local));
		d = take(&p->a);
		CHECK_EQ(udp_is_local(&d.local), !looks);
		CHECK(looks || memcmp(&d.local, &p->a.local, sizeof(d.local)) == 0);
	}
}

TEST(stranger_with_the_right_key_file_is_refused_by_its_signature)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);
	struct sign_key *own = p->b.key;

	CHECK_EQ(sign_key_generate(&p->b.key), 0);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	CHECK_EQ(p->a.n_sessions, 0);
	CHECK_EQ(p->a.events[HELLO_BAD_SIGNATURE], 1);
	CHECK_EQ(p->a.drops.n[DROP_HS_SIGNATURE], 1);
	sign_key_free(p->b.key);
	p->b.key = own;
}

TEST(another_identity_is_refused)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);

	close_side(&p->b);
	p->b.ho.own_identity[3] ^= 1;
	open_side(&p->b);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	CHECK_EQ(p->a.n_sessions, 0);
	CHECK_EQ(p->a.events[HELLO_WRONG_IDENTITY], 1);
}

/* A list that has only the first half of what this side says it is. */
static struct label_list half_of(const struct side *s)
{
	static struct label one[2];
	static unsigned int n;
	struct label *l = &one[n++ % 2];

	l->len = 8;
	memcpy(l->id, s->ho.own_identity, 8);
	return (struct label_list){ l, 1 };
}

static void open_again(struct side *s)
{
	close_side(s);
	open_side(s);
}

/* How far a gets with b: sessions of both. */
static unsigned int try_hands(struct pair *p)
{
	struct datagram d;

	hello_set_candidates(p->a.hello, &p->b.address, 1);
	hello_start(p->a.hello);
	for (struct side *from = &p->a, *to = &p->b, *next; from->n_out > 0; next = from, from = to, to = next) {
		d = take(from);
		hear(to, &d, &from->address);
		sign_all(to);
		sign_all(from);
	}
	return p->a.n_sessions + p->b.n_sessions;
}

TEST(a_label_that_is_not_allowed_is_refused_by_either_side)
{
	for (int side = 0; side < 2; side++) {
		_cleanup_(pair_freep) struct pair *p = pair_new(false);
		struct side *picky = side ? &p->b : &p->a, *other = side ? &p->a : &p->b;
		struct label_list self = half_of(picky), right = half_of(other);

		picky->ho.allowed = &self;
		open_again(picky);
		CHECK_EQ(try_hands(p), 0);
		CHECK_EQ(picky->events[HELLO_NOT_ALLOWED], 1);
		CHECK_EQ(picky->drops.n[DROP_HS_IDENTITY], 1);
		CHECK_EQ(picky->event_n, be64_load(other->ho.own_identity));
		picky->ho.allowed = &right;
		open_again(picky);
		hello_stop(p->a.hello);
		CHECK_EQ(try_hands(p), 2);
	}
}

/* Of a pinned peer the signature says more than any list. */
TEST(a_list_of_labels_is_for_those_that_do_not_sign)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);
	struct label_list self = half_of(&p->a);

	p->a.ho.allowed = &self;
	open_again(&p->a);
	CHECK_EQ(try_hands(p), 2);
}

TEST(a_revoked_identity_is_refused_by_either_side_pinned_or_not)
{
	for (int i = 0; i < 8; i++) {
		_cleanup_(pair_freep) struct pair *p = pair_new(i & 2);
		struct side *wary = i & 1 ? &p->b : &p->a, *other = i & 1 ? &p->a : &p->b;
		struct label_list list = half_of(other);

		/* A device may be revoked that would be allowed. */
		wary->ho.allowed = &list;
		wary->ho.revoked = i & 4 ? NULL : &list;
		wary->ho.revoked_here = i & 4 ? &list : NULL;
		open_again(wary);
		CHECK_EQ(try_hands(p), 0);
		CHECK_EQ(wary->events[HELLO_REVOKED], 1);
		CHECK_EQ(wary->drops.n[DROP_HS_REVOKED], 1);
		/* The list is the caller's, and counts as it is now. */
		list.n = 0;
		hello_stop(p->a.hello);
		CHECK_EQ(try_hands(p), 2);
	}
}

/* The responder forgets who said HELLO: who it was is said again in the BIND, and must be allowed there, too. */
TEST(a_bind_of_a_revoked_identity_after_a_hello_of_another_is_refused)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct label_list none = { 0 }, list;
	struct datagram bind;

	p->b.ho.revoked = &none;
	open_again(&p->b);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	bind = take(&p->a);
	list = half_of(&p->a);
	none = list;
	hear(&p->b, &bind, &p->a.address);
	CHECK_EQ(p->b.n_sessions, 0);
	CHECK_EQ(p->b.events[HELLO_REVOKED], 1);
}

/* What /proc says is locked, in KiB; 0 where nothing locks, as under ASan, which finds what is lost itself. */
static long locked_memory(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[200];
	long kib = -1;

	CHECK(f);
	while (kib < 0 && fgets(line, sizeof(line), f))
		(void)sscanf(line, "VmLck: %ld kB", &kib);
	fclose(f);
	return kib;
}

/* Sessions lie in locked memory, which has an end: the copies that wait for a signature must not add up. */
TEST(i4_a_welcome_again_and_again_while_nothing_can_be_signed_takes_no_memory)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);
	struct datagram welcome;
	long before = -1;

	p->a.cannot_sign = true;
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	welcome = take(&p->b);
	for (int i = 0; i < 3000; i++) {
		hear(&p->a, &welcome, &p->b.address);
		sign_all(&p->a);
		p->a.n_out = 0;
		if (i == 0)
			before = locked_memory();
	}
	CHECK_EQ(p->a.events[HELLO_CANNOT_SIGN], 3000);
	CHECK_EQ(p->a.events[HELLO_FAILED], 0);
	CHECK(before >= 0);
	CHECK_EQ(locked_memory(), before);
}

TEST(a_side_that_cannot_sign_says_so_and_sends_nothing)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);

	p->b.cannot_sign = true;
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	CHECK_EQ(p->b.n_out, 0);
	CHECK_EQ(p->b.events[HELLO_CANNOT_SIGN], 1);
}

TEST(i6_no_message_is_answered_by_more_bytes)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);
	struct datagram hello, welcome;

	hello_start(p->a.hello);
	hello = carry(&p->a, &p->b);
	CHECK_EQ(p->b.n_out, 1);
	welcome = p->b.out[0];
	CHECK(welcome.len <= hello.len);
	carry(&p->b, &p->a);
	carry(&p->a, &p->b);
	/* A responder's call is answered by one HELLO of the same length. */
	hello_set_candidates(p->b.hello, &p->a.address, 1);
	hello_on_proven(p->a.hello);
	hello_start(p->b.hello);
	hello = carry(&p->b, &p->a);
	CHECK_EQ(p->a.n_out, 1);
	CHECK(p->a.out[0].len <= hello.len);
}

TEST(i6_hellos_are_answered_no_oftener_than_the_bucket_allows)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram hello;

	hello_start(p->a.hello);
	hello = take(&p->a);
	for (int i = 0; i < 1000; i++) {
		hear(&p->b, &hello, &p->a.address);
		CHECK(p->b.n_out <= 10);
	}
	CHECK_EQ(p->b.drops.n[DROP_HS_RATE], 990);
	/* Where the peer may be, that stops nobody. */
	hello_set_candidates(p->b.hello, &p->b.address, 1);
	hear(&p->b, &hello, &p->b.address);
	CHECK_EQ(p->b.n_out, 11);
}

TEST(i6_a_flood_of_hellos_from_one_place_stops_no_other)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct sockaddr_in6 other = p->a.address;
	struct datagram hello;
	size_t answered = 0;

	hello_start(p->a.hello);
	hello = take(&p->a);
	for (int i = 0; i < 1000; i++)
		hear(&p->b, &hello, &p->a.address);
	for (uint8_t i = 0; i < 20; i++) {
		p->b.n_out = 0;
		other.sin6_addr.s6_addr[5] = (uint8_t)(i + 1);
		hear(&p->b, &hello, &other);
		answered += p->b.n_out;
	}
	/* A few may share the bucket. */
	CHECK(answered >= 15);
}

/* Anyone can send what was recorded from where the peer is. */
TEST(i6_a_flood_of_recorded_hellos_from_where_the_peer_is_stops_no_new_one)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram old, hello;
	size_t answered = 0;

	hello_set_candidates(p->b.hello, &p->a.address, 1);
	hello_start(p->a.hello);
	old = take(&p->a);
	for (int i = 0; i < 1000; i++)
		hear(&p->b, &old, &p->a.address);
	CHECK(p->b.n_out <= 10);
	/* Nothing was received since: another nonce is enough, but for the few that share the bucket. */
	for (int i = 0; i < 20; i++) {
		p->b.n_out = 0;
		hello_stop(p->a.hello);
		hello_start(p->a.hello);
		hello = take(&p->a);
		hear(&p->b, &hello, &p->a.address);
		answered += p->b.n_out;
	}
	CHECK(answered >= 12);
	/* Old ones, however many and from wherever, are counted apart from one that is not. */
	pretend_received(&p->b, 500);
	for (int i = 0; i < 1000; i++) {
		struct sockaddr_in6 other = p->a.address;

		p->b.n_out = 0;
		hello_stop(p->a.hello);
		hello_start(p->a.hello);
		old = take(&p->a);
		hear(&p->b, &old, &p->a.address);
		other.sin6_addr.s6_addr[1] = (uint8_t)i;
		hear(&p->b, &old, &other);
	}
	keys_tx_forward(p->a.keys, 500, false);
	answered = 0;
	for (int i = 0; i < 20; i++) {
		struct sockaddr_in6 other = p->a.address;

		p->b.n_out = 0;
		hello_stop(p->a.hello);
		hello_start(p->a.hello);
		hello = take(&p->a);
		other.sin6_addr.s6_addr[1] = (uint8_t)(i + 1);
		hear(&p->b, &hello, &other);
		answered += p->b.n_out;
	}
	CHECK(answered >= 15);
}

static struct datagram new_hello(struct side *s)
{
	hello_stop(s->hello);
	s->n_out = 0;
	hello_start(s->hello);
	return take(s);
}

/* How often it is answered when it came at that high. */
static size_t answers(struct side *s, const struct datagram *d, const struct side *from, uint64_t high)
{
	s->n_out = 0;
	hello_on_message(s->hello, d->msg, d->len, &(struct udp_ends){ .peer = from->address }, high);
	return s->n_out;
}

/* Under load one waits while what its sender sent after it is received: that makes no recording of it. */
TEST(a_hello_is_judged_by_what_had_been_received_when_it_came)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram old, hello;
	uint64_t then;

	hello_set_candidates(p->b.hello, &p->a.address, 1);
	pretend_received(&p->b, 500);
	then = keys_rx_high(p->b.keys);
	/* So many recordings that no other one is answered. */
	for (int i = 0; i < 1000; i++) {
		old = new_hello(&p->a);
		(void)answers(&p->b, &old, &p->a, then);
	}
	CHECK_EQ(answers(&p->b, &old, &p->a, then), 0);
	keys_tx_forward(p->a.keys, 500, false);
	hello = new_hello(&p->a);
	pretend_received(&p->b, 5000);
	/* Had it come now it would be one of them, and so it is when it is sent again. */
	CHECK_EQ(answers(&p->b, &hello, &p->a, keys_rx_high(p->b.keys)), 0);
	CHECK_EQ(answers(&p->b, &hello, &p->a, then), 1);
	CHECK_EQ(answers(&p->b, &hello, &p->a, keys_rx_high(p->b.keys)), 0);
	/* What was old when it came is old, however early that was. */
	CHECK_EQ(answers(&p->b, &old, &p->a, then), 0);
	CHECK_EQ(answers(&p->b, &old, &p->a, 0), 0);
}

TEST(a_call_is_judged_by_what_had_been_received_when_it_came)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram old, call;
	uint64_t then, now;

	hello_set_candidates(p->b.hello, &p->a.address, 1);
	old = new_hello(&p->b);
	pretend_received(&p->a, 500);
	then = keys_rx_high(p->a.keys);
	keys_tx_forward(p->b.keys, 500, false);
	call = new_hello(&p->b);
	for (uint64_t s = 0; s < 20; s++) {
		clock_fake_ms(1000000 + 1000 * s);
		(void)answers(&p->a, &old, &p->b, then);
	}
	clock_fake_ms(1030000);
	CHECK_EQ(answers(&p->a, &old, &p->b, then), 0);
	pretend_received(&p->a, 5000);
	now = keys_rx_high(p->a.keys);
	CHECK_EQ(answers(&p->a, &call, &p->b, now), 0);
	CHECK_EQ(answers(&p->a, &call, &p->b, then), 1);
	CHECK_EQ(answers(&p->a, &call, &p->b, now), 0);
}

TEST(i6_welcome_counts_only_from_where_a_hello_was_sent)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct sockaddr_in6 victim = p->b.address;
	struct datagram welcome;

	victim.sin6_port ^= 1;
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	welcome = take(&p->b);
	hear(&p->a, &welcome, &victim);
	CHECK_EQ(p->a.n_out, 0);
	CHECK_EQ(p->a.n_sessions, 0);
	CHECK_EQ(p->a.drops.n[DROP_HS_UNEXPECTED], 1);
	hear(&p->a, &welcome, &p->b.address);
	CHECK_EQ(p->a.n_sessions, 1);
}

TEST(signature_of_an_attempt_that_was_given_up_is_ignored)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);
	struct datagram welcome;

	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	sign_all(&p->b);
	welcome = take(&p->b);
	hear(&p->a, &welcome, &p->b.address);
	CHECK_EQ(p->a.n_signing, 1);
	hello_stop(p->a.hello);
	hello_start(p->a.hello);
	sign_all(&p->a);
	CHECK_EQ(p->a.n_sessions, 0);
	/* The new attempt's HELLO alone went out, and its WELCOME is heard. */
	CHECK_EQ(p->a.n_out, 1);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	CHECK_EQ(p->a.n_sessions, 1);
}

TEST(an_identity_that_is_revoked_while_the_bind_is_signed_is_refused)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);
	struct label_list list = { 0 };
	struct datagram welcome;

	p->a.ho.revoked = &list;
	open_again(&p->a);
	hello_set_candidates(p->a.hello, &p->b.address, 1);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	sign_all(&p->b);
	welcome = take(&p->b);
	hear(&p->a, &welcome, &p->b.address);
	CHECK_EQ(p->a.n_signing, 1);
	list = half_of(&p->b);
	sign_all(&p->a);
	CHECK_EQ(p->a.n_sessions, 0);
	CHECK_EQ(p->a.n_out, 0);
	CHECK_EQ(p->a.events[HELLO_REVOKED], 1);
}

TEST(i4_responder_keeps_nothing_of_hellos)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(true);
	struct datagram hello;

	hello_start(p->a.hello);
	hello = take(&p->a);
	for (int i = 0; i < 30; i++)
		hear(&p->b, &hello, &p->a.address);
	/* Eight signatures in flight, the rest is dropped. */
	CHECK_EQ(p->b.n_signing, 8);
	CHECK_EQ(p->b.n_sessions, 0);
}

TEST(i6_every_flipped_byte_of_every_message_is_unanswered)
{
	for (int stage = 0; stage < 3; stage++) {
		_cleanup_(pair_freep) struct pair *p = pair_new(false);
		struct side *from = stage == 1 ? &p->b : &p->a, *to = stage == 1 ? &p->a : &p->b;
		struct datagram d;

		hello_start(p->a.hello);
		if (stage > 0)
			carry(&p->a, &p->b);
		if (stage > 1)
			carry(&p->b, &p->a);
		d = take(from);
		for (size_t i = 0; i < d.len; i++) {
			d.msg[i] ^= (uint8_t)(1 << i % 8);
			hear(to, &d, &from->address);
			d.msg[i] ^= (uint8_t)(1 << i % 8);
			CHECK_EQ(to->n_out, 0);
			CHECK_EQ(to->n_sessions, 0);
		}
		hear(to, &d, &from->address);
		CHECK(to->n_out == 1 || to->n_sessions == 1);
		session_free(p->a.session);
		p->a.session = NULL;
	}
}

TEST(i6_bind_counts_only_from_the_address_that_was_welcomed)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct sockaddr_in6 other;
	struct datagram bind;

	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	bind = take(&p->a);
	other = p->a.address;
	other.sin6_port ^= 1;
	hear(&p->b, &bind, &other);
	CHECK_EQ(p->b.n_sessions, 0);
	CHECK_EQ(p->b.drops.n[DROP_HS_NONCE], 1);
	hear(&p->b, &bind, &p->a.address);
	CHECK_EQ(p->b.n_sessions, 1);
}

TEST(i7_welcome_is_good_for_two_epochs_of_the_boot_clock)
{
	static const struct {
		uint64_t later_ms;
		unsigned int sessions;
	} cases[] = { { 0, 1 }, { 7999, 1 }, { 8000, 1 }, { 15999, 1 }, { 16000, 0 }, { 1000000, 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(pair_freep) struct pair *p = pair_new(false);
		struct datagram bind;

		hello_start(p->a.hello);
		carry(&p->a, &p->b); /* at 1000000, where an epoch begins */
		carry(&p->b, &p->a);
		bind = take(&p->a);
		clock_fake_ms(1000000 + cases[i].later_ms);
		hear(&p->b, &bind, &p->a.address);
		CHECK_EQ(p->b.n_sessions, cases[i].sessions);
	}
}

TEST(replayed_bind_makes_no_second_session)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram bind;

	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	bind = carry(&p->a, &p->b);
	for (int i = 0; i < 100; i++)
		hear(&p->b, &bind, &p->a.address);
	CHECK_EQ(p->b.n_sessions, 1);
	/* Its answer may have been lost: that alone is repeated, a few times. */
	CHECK_EQ(p->b.again, 4);
	CHECK_EQ(p->b.drops.n[DROP_HS_RATE], 96);
	clock_fake_ms(1000500);
	hear(&p->b, &bind, &p->a.address);
	CHECK_EQ(p->b.again, 5);
}

TEST(i1_replayed_bind_of_a_proven_session_costs_nothing)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram bind;

	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	bind = carry(&p->a, &p->b);
	hello_on_proven(p->b.hello);
	for (int i = 0; i < 100; i++)
		hear(&p->b, &bind, &p->a.address);
	CHECK_EQ(p->b.again, 0);
	CHECK_EQ(p->b.drops.n[DROP_HS_UNEXPECTED], 100);
}

/* Else its number would be the next one's, and its session would take the place of a good one. */
TEST(bind_that_was_held_back_comes_too_late)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram held;

	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	held = take(&p->a);
	hello_stop(p->a.hello);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	carry(&p->a, &p->b);
	CHECK_EQ(p->b.n_sessions, 1);
	CHECK_EQ(hello_last_session(p->b.hello), 2);
	hear(&p->b, &held, &p->a.address);
	CHECK_EQ(p->b.n_sessions, 1);
	CHECK_EQ(hello_last_session(p->b.hello), 2);
	CHECK_EQ(p->b.drops.n[DROP_HS_NONCE], 1);
}

TEST(bind_of_an_earlier_start_is_dead)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram bind;

	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	bind = carry(&p->a, &p->b);
	close_side(&p->b);
	open_side(&p->b);
	hear(&p->b, &bind, &p->a.address);
	CHECK_EQ(p->b.n_sessions, 1);
	CHECK_EQ(p->b.drops.n[DROP_HS_NONCE], 1);
}

TEST(replayed_welcome_is_refused)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram welcome;

	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	welcome = carry(&p->b, &p->a);
	hear(&p->a, &welcome, &p->b.address);
	CHECK_EQ(p->a.drops.n[DROP_HS_DUPLICATE], 1);
	hello_stop(p->a.hello);
	hello_start(p->a.hello);
	hear(&p->a, &welcome, &p->b.address);
	CHECK_EQ(p->a.drops.n[DROP_HS_NONCE], 1);
	CHECK_EQ(p->a.n_sessions, 1);
}

TEST(a_call_makes_the_initiator_begin)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);

	hello_set_candidates(p->b.hello, &p->a.address, 1);
	hello_start(p->b.hello);
	p->a.no_calls = true;
	hear(&p->a, &p->b.out[0], &p->b.address);
	CHECK_EQ(p->a.n_out, 0);
	CHECK_EQ(p->a.drops.n[DROP_HS_UNEXPECTED], 1);
	p->a.no_calls = false;
	carry(&p->b, &p->a); /* role responder: "call me" */
	carry(&p->a, &p->b); /* HELLO */
	carry(&p->b, &p->a);
	carry(&p->a, &p->b);
	CHECK_EQ(p->b.n_sessions, 1);
}

TEST(i1_recorded_calls_buy_few_handshakes)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram call;
	size_t answered = 0;

	hello_set_candidates(p->b.hello, &p->a.address, 1);
	hello_start(p->b.hello);
	call = take(&p->b);
	pretend_received(&p->a, 500);
	for (uint64_t s = 0; s < 600; s++) {
		clock_fake_ms(1000000 + 1000 * s);
		p->a.n_out = 0;
		hear(&p->a, &call, &p->b.address);
		answered += p->a.n_out;
	}
	CHECK(answered >= 8 && answered <= 4 + 10);
}

TEST(a_call_of_the_past_is_answered_right_after_boot)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram call;

	hello_set_candidates(p->b.hello, &p->a.address, 1);
	hello_start(p->b.hello);
	call = take(&p->b);
	pretend_received(&p->a, 500);
	clock_fake_ms(5000);
	p->a.n_out = 0;
	hear(&p->a, &call, &p->b.address);
	CHECK_EQ(p->a.n_out, 1);
}

TEST(own_role_and_own_reflection_are_refused)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram hello;

	hello_start(p->a.hello);
	hello = take(&p->a);
	hear(&p->a, &hello, &p->b.address);
	CHECK_EQ(p->a.events[HELLO_REFLECTED], 1);
	hello_stop(p->a.hello);
	hello_start(p->a.hello);
	hear(&p->a, &hello, &p->b.address);
	CHECK_EQ(p->a.events[HELLO_OWN_ROLE], 1);
	CHECK_EQ(p->a.drops.n[DROP_HS_ROLE], 2);
}

/* What one said in an earlier attempt is as what another one of its role would say. */
TEST(two_of_one_role_both_hear_of_it)
{
	for (int role = 0; role < 2; role++) {
		_cleanup_(pair_freep) struct pair *p = pair_new(false);
		struct side *one = role ? &p->b : &p->a, *far = role ? &p->a : &p->b;
		struct datagram other, d;

		hello_set_candidates(one->hello, &far->address, 1);
		hello_start(one->hello);
		other = take(one);
		hello_stop(one->hello);
		/* Who knows nobody to ask is asked, and tells. */
		hello_set_candidates(one->hello, NULL, 0);
		hello_start(one->hello);
		CHECK_EQ(one->n_out, 0);
		hello_on_message(one->hello, other.msg, other.len, &(struct udp_ends){ .peer = far->address }, UINT64_MAX);
		CHECK_EQ(one->events[HELLO_OWN_ROLE], 1);
		CHECK_EQ(one->n_out, 1);
		d = take(one);
		CHECK_EQ(d.len, other.len);
		/* Its own words that come back are none of another. */
		clock_fake_ms(clock_now_ms() + 10000);
		hello_on_message(one->hello, d.msg, d.len, &(struct udp_ends){ .peer = far->address }, UINT64_MAX);
		CHECK_EQ(one->events[HELLO_REFLECTED], 1);
		CHECK_EQ(one->n_out, 0);
		/* That is not said for ever, and to a recording not at any rate. */
		for (int i = 0; i < 100; i++)
			hello_on_message(one->hello, other.msg, other.len, &(struct udp_ends){ .peer = far->address }, UINT64_MAX);
		CHECK_EQ(one->n_out, 1);
		clock_fake_ms(clock_now_ms() + 10000);
		hello_on_message(one->hello, other.msg, other.len, &(struct udp_ends){ .peer = far->address }, UINT64_MAX);
		CHECK_EQ(one->n_out, 2);
		/* Who looks for nobody is silent. */
		one->n_out = 0;
		hello_stop(one->hello);
		clock_fake_ms(clock_now_ms() + 10000);
		hello_on_message(one->hello, other.msg, other.len, &(struct udp_ends){ .peer = far->address }, UINT64_MAX);
		CHECK_EQ(one->n_out, 0);
	}
}

TEST(other_key_material_is_named_as_such)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct datagram hello;

	hello_start(p->a.hello);
	hello = take(&p->a);
	hello.msg[8] ^= 1;
	hear(&p->b, &hello, &p->a.address);
	CHECK_EQ(p->b.events[HELLO_OTHER_KEY], 1);
	CHECK_EQ(p->b.drops.n[DROP_HS_OTHER_KEY], 1);
}

TEST(i1_a_side_that_was_rolled_back_goes_forward)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);

	pretend_received(&p->b, 5000);
	pretend_received(&p->a, 7000);
	shake_hands(p);
	CHECK(keys_tx_next(p->a.keys) >= 5000);
	CHECK(keys_tx_next(p->b.keys) >= 7000);
	CHECK_EQ(p->a.events[HELLO_OWN_ROLLBACK], 1);
	CHECK_EQ(p->a.events[HELLO_PEER_ROLLBACK], 1);
	CHECK_EQ(p->b.events[HELLO_OWN_ROLLBACK], 1);
}

TEST(each_side_hears_where_the_other_begins)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);

	pretend_received(&p->b, 5000);
	pretend_received(&p->a, 7000);
	shake_hands(p);
	CHECK_EQ(p->b.peer_tx_next, keys_tx_next(p->a.keys));
	/* What the WELCOME said: b went forward only when the BIND told it to. */
	CHECK_EQ(p->a.peer_tx_next, 0);
}

TEST(i1_a_jump_over_one_percent_stops_and_asks)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	uint64_t tx, rx;

	pretend_received(&p->b, 20000);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	CHECK_EQ(p->a.n_sessions, 0);
	CHECK_EQ(p->a.events[HELLO_NEEDS_BURN], 1);
	CHECK_EQ(keys_tx_next(p->a.keys), 0);
	hello_burn_targets(p->a.hello, &tx, &rx);
	CHECK_EQ(tx, 20000);
}

TEST(sessions_get_numbers_that_neither_side_used_last)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);

	shake_hands(p);
	CHECK_EQ(p->a.session->id.number, 1);
	hello_on_proven(p->a.hello);
	/* The responder forgets; the initiator does not. */
	close_side(&p->b);
	open_side(&p->b);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	carry(&p->a, &p->b);
	CHECK_EQ(p->a.session->id.number, 2);
	CHECK_EQ(p->b.session->id.number, 2);
}

TEST(handshakes_that_share_a_path_share_their_numbers)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	uint32_t of_a = 7, of_b = 9;

	close_side(&p->a);
	close_side(&p->b);
	p->a.ho.last_session = &of_a;
	p->b.ho.last_session = &of_b;
	open_side(&p->a);
	open_side(&p->b);
	hello_set_candidates(p->a.hello, &p->b.address, 1);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	/* Another handshake of this path ended meanwhile. */
	of_a = 12;
	carry(&p->b, &p->a);
	carry(&p->a, &p->b);
	CHECK_EQ(p->a.session->id.number, 13);
	CHECK_EQ(p->b.session->id.number, 13);
	CHECK_EQ(of_a, 13);
	CHECK_EQ(of_b, 13);
}

TEST(a_patient_handshake_waits_longer_from_round_to_round)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	uint64_t now = 1000000;
	size_t sent = 0;

	close_side(&p->a);
	p->a.ho.patient = true;
	open_side(&p->a);
	hello_set_candidates(p->a.hello, &p->b.address, 1);
	hello_start(p->a.hello);
	for (int s = 0; s < 3600; s++) {
		clock_fake_ms(now += 1000);
		loop_step(p->a.loop, 0);
		sent += p->a.n_out;
		p->a.n_out = 0;
	}
	CHECK(hello_is_running(p->a.hello));
	/* 8 rounds in the first 255 s, and then one every 256 s. */
	CHECK(sent >= 18 && sent <= 24);
	hello_hand_over(p->a.hello, p->a.ho.ops, p->a.ho.arg);
	hello_stop(p->a.hello);
	hello_start(p->a.hello);
	CHECK_EQ(p->a.n_out, 1);
}

TEST(i1_sessions_never_share_a_key)
{
	_cleanup_(pair_freep) struct pair *p = pair_new(false);
	struct slot_key material = { .key = "the slot's own key" };
	uint8_t first[SLOT_KEY_LEN];

	shake_hands(p);
	memcpy(first, session_tx(p->a.session, 0, &material)->key, sizeof(first));
	CHECK(memcmp(first, material.key, sizeof(first)) != 0);
	/* The other direction, of the same material. */
	CHECK(memcmp(first, session_tx(p->b.session, 0, &material)->key, sizeof(first)) != 0);
	hello_on_proven(p->a.hello);
	hello_start(p->a.hello);
	carry(&p->a, &p->b);
	carry(&p->b, &p->a);
	carry(&p->a, &p->b);
	CHECK(memcmp(first, session_tx(p->a.session, 0, &material)->key, sizeof(first)) != 0);
}
