/* Interface descriptions: what is one, and which values fit it. */
#include "event/varlink_idl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"
#include "unit/lib/test.h"
#include "varlink/io.handfast.Auth.h"
#include "varlink/io.handfast.Daemon.h"
#include "varlink/io.handfast.Pairing.h"
#include "varlink/io.handfast.Relay.h"
#include "varlink/io.handfast.Tunnel.h"

static struct varlink_idl_error err;

static int parse(struct varlink_idl **out, const char *text)
{
	return varlink_idl_parse(out, text, strlen(text), &err);
}

static void check_refused(const char *text, unsigned int line, unsigned int column, const char *why)
{
	struct varlink_idl *idl = NULL;

	CHECK_EQ(parse(&idl, text), -EINVAL);
	CHECK(!idl);
	if (!strstr(err.text, why))
		test_fail(__FILE__, __LINE__, "\"%s\" gives \"%s\", not \"%s\"", text, err.text, why);
	if (line) {
		CHECK_EQ(err.line, line);
		CHECK_EQ(err.column, column);
	}
}

TEST(every_interface_of_ours_parses)
{
	const char *ours[] = { varlink_io_handfast_Auth, varlink_io_handfast_Daemon,
			       varlink_io_handfast_Pairing, varlink_io_handfast_Relay,
			       varlink_io_handfast_Tunnel };

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		_cleanup_(varlink_idl_freep) struct varlink_idl *idl = NULL;

		if (parse(&idl, ours[i]))
			test_fail(__FILE__, __LINE__, "interface %zu: %u:%u: %s", i, err.line,
				  err.column, err.text);
		CHECK(strncmp(varlink_idl_name(idl), "io.handfast.", 12) == 0);
		CHECK(varlink_idl_method(idl, 0));
	}
}

/* After the grammar of varlink.org/Interface-Definition. */
static const char example[] = "# comment\n"
			      "interface org.example.more-things\n"
			      "\n"
			      "type State (start: ?bool, progress: ?int, end: ?bool)\n"
			      "type Kind (red, green, blue)\n"
			      "type Tree (value: float, below: []Tree)\n"
			      "method All(\n"
			      "  b: bool, i: int, f: float, s: string, o: object, # all of them\n"
			      "  l: []string, m: [string]int, k: ?Kind, t: ?Tree, in_line: ?(x: int, y: ?string)\n"
			      ") -> (state: State)\n"
			      "method None() -> ()\n"
			      "error Broken (why: string)\n"
			      "error Bare\n";

TEST(the_whole_grammar_is_read)
{
	_cleanup_(varlink_idl_freep) struct varlink_idl *idl = NULL;

	CHECK_EQ(parse(&idl, example), 0);
	CHECK_STR(varlink_idl_name(idl), "org.example.more-things");
	CHECK_STR(varlink_idl_method(idl, 0), "All");
	CHECK_STR(varlink_idl_method(idl, 1), "None");
	CHECK(!varlink_idl_method(idl, 2));
}

TEST(errors_of_a_description_say_where)
{
	check_refused("", 1, 1, "interface");
	check_refused("interface org", 0, 0, "no interface name");
	check_refused("interface org..x\nmethod A() -> ()", 0, 0, "no interface name");
	check_refused("interface a.b\n", 2, 1, "needs a member");
	check_refused("interface a.b\nmethod a() -> ()", 2, 8, "capital");
	check_refused("interface a.b\nmethod A( -> ()", 2, 11, "name of a field");
	check_refused("interface a.b\nmethod A() ()", 2, 12, "\"->\"");
	check_refused("interface a.b\nmethod A(x: strin) -> ()", 2, 13, "expected a type");
	check_refused("interface a.b\nmethod A(x: Foo) -> ()", 2, 13, "no type \"Foo\"");
	check_refused("interface a.b\nmethod A(x: int, x: int) -> ()", 0, 0, "twice");
	check_refused("interface a.b\nmethod A() -> ()\nmethod A() -> ()", 0, 0, "twice");
	check_refused("interface a.b\nmethod A(x, y) -> ()", 0, 0, "need types");
	check_refused("interface a.b\nmethod A(x: ??int) -> ()", 0, 0, "??");
	check_refused("interface a.b\nfoo A()", 2, 1, "expected \"method\"");
	check_refused("interface a.b\nmethod A() -> () x", 2, 18, "expected \"method\"");
}

TEST(i4_nesting_of_a_description_is_bounded)
{
	char text[2000] = "interface a.b\nmethod A(x: ";

	for (int i = 0; i < 600; i++)
		strcat(text, "[]");
	strcat(text, "int) -> ()");
	check_refused(text, 0, 0, "nested");
}

struct fit {
	const char *value;
	int outcome;
	const char *where;
};

#define REST "\"b\":true,\"i\":1,\"f\":1.5,\"s\":\"x\",\"o\":{},\"l\":[],\"m\":{}"

static const struct fit fits[] = {
	{ "{" REST "}", 0, "" },
	{ "{" REST ",\"k\":null,\"t\":null}", 0, "" },
	{ "{" REST ",\"k\":\"green\"}", 0, "" },
	{ "{" REST ",\"k\":\"pink\"}", IDL_E_TYPE, "k" },
	{ "{" REST ",\"t\":{\"value\":1,\"below\":[{\"value\":2,\"below\":[]}]}}", 0, "" },
	{ "{" REST ",\"t\":{\"value\":1,\"below\":[{\"value\":2,\"below\":[{\"value\":\"x\"}]}]}}", IDL_E_TYPE,
	  "t.below[0].below[0].value" },
	{ "{" REST ",\"in_line\":{\"x\":1}}", 0, "" },
	{ "{" REST ",\"in_line\":{\"y\":\"a\"}}", IDL_E_MISSING, "in_line.x" },
	{ "{" REST ",\"more\":1}", IDL_E_UNKNOWN, "more" },
	{ "{" REST ",\"in_line\":{\"x\":1,\"z\":1}}", IDL_E_UNKNOWN, "in_line.z" },
	{ "{}", IDL_E_MISSING, "b" },
	{ "{\"b\":1}", IDL_E_TYPE, "b" },
	{ "{\"b\":null}", IDL_E_MISSING, "b" },
	{ "{\"b\":true,\"i\":1.0}", IDL_E_TYPE, "i" },
	{ "{\"b\":true,\"i\":1,\"f\":2,\"s\":[]}", IDL_E_TYPE, "s" },
	{ "{\"b\":true,\"i\":1,\"f\":\"2\"}", IDL_E_TYPE, "f" },
	{ "{\"b\":true,\"i\":1,\"f\":2,\"s\":\"\",\"o\":[]}", IDL_E_TYPE, "o" },
	{ "{\"b\":true,\"i\":1,\"f\":2,\"s\":\"\",\"o\":{},\"l\":[\"a\",7]}", IDL_E_TYPE, "l[1]" },
	{ "{\"b\":true,\"i\":1,\"f\":2,\"s\":\"\",\"o\":{},\"l\":[],\"m\":{\"a\":true}}", IDL_E_TYPE, "m.a" },
};

TEST(values_are_held_to_the_description)
{
	_cleanup_(varlink_idl_freep) struct varlink_idl *idl = NULL;

	CHECK_EQ(parse(&idl, example), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fits); i++) {
		_cleanup_json_ json_t *v = json_loads(fits[i].value, 0, NULL);
		char where[64];

		CHECK(v);
		CHECK_EQ(varlink_idl_check_call(idl, "All", v, where, sizeof(where)), fits[i].outcome);
		CHECK_STR(where, fits[i].where);
	}
}

TEST(replies_are_held_to_their_own_side)
{
	_cleanup_(varlink_idl_freep) struct varlink_idl *idl = NULL;
	_cleanup_json_ json_t *v = json_loads("{\"state\":{\"progress\":3}}", 0, NULL);
	char where[64];

	CHECK_EQ(parse(&idl, example), 0);
	CHECK_EQ(varlink_idl_check_reply(idl, "All", v, where, sizeof(where)), 0);
	CHECK_EQ(varlink_idl_check_call(idl, "All", v, where, sizeof(where)), IDL_E_MISSING);
	CHECK_EQ(varlink_idl_check_call(idl, "None", NULL, where, sizeof(where)), 0);
	CHECK_EQ(varlink_idl_check_call(idl, "Nope", NULL, where, sizeof(where)), IDL_E_NO_SUCH);
	CHECK_EQ(varlink_idl_check_call(idl, "Broken", NULL, where, sizeof(where)), IDL_E_NO_SUCH);
}

TEST(a_long_place_is_cut_not_overrun)
{
	_cleanup_(varlink_idl_freep) struct varlink_idl *idl = NULL;
	_cleanup_json_ json_t *v = json_loads("{" REST ",\"a_name_that_is_longer_than_the_room_for_it\":1}", 0, NULL);
	char where[16];

	CHECK_EQ(parse(&idl, example), 0);
	CHECK_EQ(varlink_idl_check_call(idl, "All", v, where, sizeof(where)), IDL_E_UNKNOWN);
	CHECK_STR(where, "a_name_that_is_");
}

TEST(i4_no_prefix_and_no_changed_byte_of_a_description_does_harm)
{
	char text[sizeof(example)];

	for (size_t len = 0; len < sizeof(example) - 1; len++) {
		struct varlink_idl *idl = NULL;
		char *copy = malloc(len + 1);

		/* Exactly as long as it says, so that the sanitizer sees a step too far. */
		memcpy(copy, example, len);
		varlink_idl_parse(&idl, copy, len, &err);
		varlink_idl_free(idl);
		free(copy);
	}
	for (size_t i = 0; i < sizeof(example) - 1; i++) {
		for (const char *c = "(),:?[]#\n aA\xff"; *c; c++) {
			struct varlink_idl *idl = NULL;

			memcpy(text, example, sizeof(text));
			text[i] = *c;
			varlink_idl_parse(&idl, text, sizeof(text) - 1, &err);
			varlink_idl_free(idl);
		}
	}
}
