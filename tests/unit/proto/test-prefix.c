/* Networks: what is one, what is in one. */
#include "proto/prefix.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "unit/lib/test.h"

static struct prefix parse(const char *text)
{
	struct prefix p;

	CHECK_EQ(prefix_parse(&p, text), 0);
	return p;
}

TEST(networks_are_read_and_shown)
{
	static const char *const texts[] = { "0.0.0.0/0", "10.0.0.0/8", "10.1.2.128/25", "192.0.2.7/32", "128.0.0.0/1",
					     "::/0", "fd00:1::/48", "fd00::1/128", "8000::/1" };
	char text[PREFIX_TEXT_MAX];
	struct prefix p;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		p = parse(texts[i]);
		CHECK(prefix_is_sound(&p));
		prefix_format(text, &p);
		CHECK_STR(text, texts[i]);
	}
	p = parse("10.0.0.1");
	CHECK_EQ(p.len, 32);
	p = parse("fd00::1");
	CHECK_EQ(p.len, 128);
}

TEST(what_is_no_network_is_refused)
{
	static const char *const texts[] = { "", "/", "/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8 ",
					     "10.0.0.0/8/8", "10.0.0.1/8", "10.0.0.128/24", "fd00::/129", "fd00::1/64",
					     "fd00::/x", "10/8", "world", "fd00::%eth0/64",
					     "0000000000000000000000000000000000000000000000000000000000000000/8" };
	struct prefix p = { .len = 7 };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		CHECK_EQ(prefix_parse(&p, texts[i]), -EINVAL);
	CHECK_EQ(p.len, 7);
}

TEST(a_network_with_bits_behind_its_length_is_not_sound)
{
	struct prefix p = parse("10.1.0.0/16");

	p.a[1] = 0xff;
	CHECK(prefix_is_sound(&p));
	p.a[2] = 1;
	CHECK(!prefix_is_sound(&p));
	p = parse("10.1.0.0/16");
	p.a[15] = 1;
	CHECK(!prefix_is_sound(&p));
	p = parse("10.1.0.0/16");
	p.len = 33;
	CHECK(!prefix_is_sound(&p));
	p.len = 16;
	p.family = 5;
	CHECK(!prefix_is_sound(&p));
	p = parse("fd00::/127");
	p.a[15] = 1;
	CHECK(!prefix_is_sound(&p));
}

TEST(containing_is_by_whole_networks)
{
	static const struct {
		const char *outer, *inner;
		bool is_in;
	} cases[] = {
		{ "10.0.0.0/8", "10.1.0.0/16", true },	     { "10.1.0.0/16", "10.0.0.0/8", false },
		{ "10.0.0.0/8", "10.0.0.0/8", true },	     { "10.0.0.0/9", "10.128.0.0/9", false },
		{ "0.0.0.0/0", "203.0.113.7/32", true },     { "128.0.0.0/1", "203.0.113.7/32", true },
		{ "0.0.0.0/1", "203.0.113.7/32", false },    { "192.0.2.0/25", "192.0.2.128/32", false },
		{ "fd00::/8", "fd12:3456::/32", true },	     { "fd00::/64", "fd00:0:0:1::/64", false },
		{ "::/0", "10.0.0.0/8", false },	     { "0.0.0.0/0", "::/128", false },
		{ "fd00::/127", "fd00::1/128", true },	     { "fd00::/128", "fd00::1/128", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct prefix outer = parse(cases[i].outer), inner = parse(cases[i].inner);

		CHECK_EQ(prefix_contains(&outer, &inner), cases[i].is_in);
		CHECK_EQ(prefix_equal(&outer, &inner), cases[i].is_in && outer.len == inner.len);
	}
}

/* Bit by bit, for every length. */
TEST(the_network_of_an_address_has_it_and_none_that_differs_in_front)
{
	uint8_t a[16] = { 0xfd, 0xa5, 0x5a, 0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xaa, 0x55 };

	for (int family = 4; family <= 6; family += 2)
		for (unsigned int len = 0; len <= (family == 4 ? 32U : 128U); len++) {
			struct prefix p = prefix_make((uint8_t)family, a, (uint8_t)len);

			CHECK(prefix_is_sound(&p));
			for (unsigned int bit = 0; bit < (family == 4 ? 32U : 128U); bit++) {
				uint8_t other[16];

				memcpy(other, a, sizeof(other));
				other[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
				CHECK_EQ(prefix_has(&p, (uint8_t)family, other), bit >= len);
			}
			CHECK(!prefix_has(&p, (uint8_t)(10 - family), a));
		}
}
