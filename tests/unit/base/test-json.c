/* json.h: limits are met before memory is, and only one well-formed object passes. */
#include "unit/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"

static const struct json_limits limits = { .max_bytes = 16384, .max_depth = 10, .max_keys = 100 };

static int parse(const char *text, size_t len)
{
	_cleanup_json_ struct json_t *v = NULL;
	int r = json_parse(&v, text, len, &limits);

	CHECK_EQ(r == 0, v != NULL);
	return r;
}

TEST(an_object_is_read_and_written)
{
	static const char text[] = "{\"a\":1,\"b\":[true,null,\"\\u20ac\"],\"c\":{}}";
	_cleanup_json_ struct json_t *v = NULL;
	_cleanup_free_ char *again = NULL;

	CHECK_EQ(json_parse(&v, text, strlen(text), &limits), 0);
	CHECK_EQ(json_get_int(v, "a", 9), 1);
	CHECK_EQ(json_get_int(v, "b", 9), 9);
	CHECK_EQ(json_get_int(v, "z", 9), 9);
	CHECK_STR(json_get_str(v, "a"), NULL);
	CHECK_STR(json_get_str(v, "z"), NULL);
	again = json_text(v);
	CHECK_STR(again, "{\"a\":1,\"b\":[true,null,\"\u20ac\"],\"c\":{}}");
}

TEST(i4_depth_is_bounded_at_any_size)
{
	char text[64];
	struct json_limits wide = { .max_bytes = 1 << 24, .max_depth = 10, .max_keys = 1 << 24 };
	char *bomb = malloc(1 << 22);
	_cleanup_json_ struct json_t *v = NULL;

	/* Ten levels in all, then eleven; then four million. */
	snprintf(text, sizeof(text), "{\"a\":%.9s%.9s}", "[[[[[[[[[", "]]]]]]]]]");
	CHECK_EQ(parse(text, strlen(text)), 0);
	snprintf(text, sizeof(text), "{\"a\":%.10s%.10s}", "[[[[[[[[[[", "]]]]]]]]]]");
	CHECK_EQ(parse(text, strlen(text)), JSON_E_TOO_DEEP);
	memset(bomb, '[', 1 << 22);
	CHECK_EQ(json_parse(&v, bomb, 1 << 22, &wide), JSON_E_TOO_DEEP);
	free(bomb);
}

TEST(i4_members_are_counted_wherever_they_stand)
{
	static const char quoted[] = "{\"a,,\\\",[[[[[[[[[[[[\":\"{{{{{{{{{{{{\"}";
	char text[2048] = "{\"a\":[";

	for (int i = 0; i < 99; i++)
		strcat(text, i ? ",0" : "0");
	strcat(text, "]}");
	CHECK_EQ(parse(text, strlen(text)), 0); /* one key, 99 elements */
	strcpy(strchr(text, ']'), ",0]}");
	CHECK_EQ(parse(text, strlen(text)), JSON_E_TOO_MANY_KEYS);
	/* Commas and brackets in strings are no members, and an empty array has none. */
	CHECK_EQ(parse(quoted, strlen(quoted)), 0);
	strcpy(text, "{\"a\":[");
	for (int i = 0; i < 99; i++)
		strcat(text, i ? ",[]" : "[]");
	strcat(text, "]}");
	CHECK_EQ(parse(text, strlen(text)), 0);
}

TEST(i4_length_is_bounded)
{
	char *text = malloc(16386);

	memset(text, ' ', 16386);
	text[0] = '{';
	text[16383] = '}';
	CHECK_EQ(parse(text, 16384), 0);
	text[16383] = ' ';
	text[16384] = '}';
	CHECK_EQ(parse(text, 16385), JSON_E_TOO_LONG);
	free(text);
}

TEST(anything_but_one_object_is_refused)
{
	static const char *const bad[] = {
		"", " ", "[]", "1", "\"a\"", "null", "{", "}", "{}}", "{} {}", "{}x", "{]", "[}",
		"{\"a\":1,}", "{,}", "{\"a\"}", "{a:1}", "{'a':1}", "{\"a\":01}", "{\"a\":+1}",
		"{\"a\":.5}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":1e999}", "{\"a\":-1e999}",
		"{\"a\":9223372036854775808}", "{\"a\":-9223372036854775809}", "{\"a\":tru}",
		"{\"a\":\"\n\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\ud800\"}",
		"{\"a\":\"\\udc00\"}", "{\"a\":\"\\u0000\"}", "{\"\\u0000\":1}", "{\"a\":\"x",
		"{\"a\":\"\\", "{/**/}", "\xef\xbb\xbf{}", "{}\v",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i], strlen(bad[i])) != JSON_E_SYNTAX)
			test_fail(__FILE__, __LINE__, "%s: %d", bad[i], parse(bad[i], strlen(bad[i])));
}

TEST(a_key_twice_is_refused_at_any_depth)
{
	CHECK_EQ(parse("{\"a\":1,\"a\":1}", 13), JSON_E_SYNTAX);
	CHECK_EQ(parse("{\"b\":{\"a\":1,\"\\u0061\":1}}", 24), JSON_E_SYNTAX);
	CHECK_EQ(parse("{\"b\":{\"a\":1},\"a\":1}", 19), 0);
}

TEST(nul_bytes_and_invalid_utf8_are_refused)
{
	CHECK_EQ(parse("{}\0", 3), JSON_E_SYNTAX);
	CHECK_EQ(parse("{\"a\":\"\0\"}", 9), JSON_E_SYNTAX);
	CHECK_EQ(parse("{\"a\":\"\xff\"}", 9), JSON_E_SYNTAX);
	CHECK_EQ(parse("{\"a\":\"\xc0\xaf\"}", 10), JSON_E_SYNTAX);
	CHECK_EQ(parse("{\"a\":\"\xed\xa0\x80\"}", 11), JSON_E_SYNTAX);
	CHECK_EQ(parse("{\"a\":\"\xe2\x82\"}", 10), JSON_E_SYNTAX);
}

TEST(every_outcome_has_words)
{
	for (int i = JSON_E_TOO_LONG; i <= JSON_E_SYNTAX; i++)
		CHECK(strcmp(json_outcome_text(i), json_outcome_text(99)) != 0);
	CHECK_STR(json_outcome_text(-ENOMEM), strerror(ENOMEM));
}
