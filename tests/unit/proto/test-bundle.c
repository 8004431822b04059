/* bundle.c: named pieces, and what is none. */
#include "proto/bundle.h"

#include <string.h>

#include "base/bytes.h"
#include "unit/lib/test.h"

struct made {
	uint8_t b[4096];
	size_t len;
};

static void begin(struct made *m)
{
	bundle_head(m->b);
	m->len = BUNDLE_HEAD_LEN;
}

static void add(struct made *m, const char *name, const char *text)
{
	m->len += bundle_prefix(m->b + m->len, name, strlen(text));
	memcpy(m->b + m->len, text, strlen(text));
	m->len += strlen(text);
}

static void end(struct made *m)
{
	memset(m->b + m->len, 0, BUNDLE_END_LEN);
	m->len += BUNDLE_END_LEN;
}

TEST(pieces_come_back_in_order)
{
	struct bundle_piece p;
	struct bundle_reader r;
	struct made m;

	begin(&m);
	add(&m, "a", "one");
	add(&m, "b/c.json", "");
	end(&m);
	CHECK_EQ(bundle_check(m.b, m.len, NULL), 0);
	CHECK_EQ(bundle_open(&r, m.b, m.len, NULL), 0);
	CHECK_EQ(bundle_next(&r, &p), 1);
	CHECK_STR(p.name, "a");
	CHECK_EQ(p.len, 3);
	CHECK_MEM(p.data, "one", 3);
	CHECK_EQ(bundle_next(&r, &p), 1);
	CHECK_STR(p.name, "b/c.json");
	CHECK_EQ(p.len, 0);
	CHECK_EQ(bundle_next(&r, &p), 0);
	CHECK(bundle_find(m.b, m.len, "a", &p));
	CHECK(!bundle_find(m.b, m.len, "c.json", &p));
}

TEST(no_beginning_of_a_bundle_is_one)
{
	struct made m;

	begin(&m);
	add(&m, "a", "one");
	add(&m, "b", "two");
	end(&m);
	for (size_t len = 0; len < m.len; len++)
		CHECK_EQ(bundle_check(m.b, len, NULL), BUNDLE_E_BROKEN);
	CHECK_EQ(bundle_check(m.b, m.len + 1, NULL), BUNDLE_E_BROKEN);
}

TEST(names_lead_nowhere_else_and_come_once)
{
	static const char *const bad[] = { "", "/etc/passwd", "../x", "a/../b", "a/.b", ".a", "a/", "a//b", "a b",
					   "a\nb", "\xc3\xa4", "a\\b" };
	struct made m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(!bundle_name_is_good(bad[i], strlen(bad[i])));
	CHECK(!bundle_name_is_good("a\0b", 3));
	CHECK(bundle_name_is_good("tunnels/pi.lab-2_x.json", 23));
	begin(&m);
	add(&m, "a", "one");
	add(&m, "a", "two");
	end(&m);
	CHECK_EQ(bundle_check(m.b, m.len, NULL), BUNDLE_E_BROKEN);
	begin(&m);
	add(&m, "b", "one");
	add(&m, "a", "two");
	end(&m);
	CHECK_EQ(bundle_check(m.b, m.len, NULL), BUNDLE_E_BROKEN);
}

TEST(lengths_and_versions_are_not_believed)
{
	uint32_t version = 0;
	struct made m;

	begin(&m);
	add(&m, "a", "one");
	end(&m);
	be64_store(m.b + BUNDLE_HEAD_LEN + 3, UINT64_MAX);
	CHECK_EQ(bundle_check(m.b, m.len, NULL), BUNDLE_E_BROKEN);
	be32_store(m.b + 4, BUNDLE_VERSION + 1);
	CHECK_EQ(bundle_check(m.b, m.len, &version), BUNDLE_E_NEWER);
	CHECK_EQ(version, BUNDLE_VERSION + 1);
	be32_store(m.b + 4, 0);
	CHECK_EQ(bundle_check(m.b, m.len, NULL), BUNDLE_E_BROKEN);
}
