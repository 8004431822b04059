/* config.h: what a file may say, and what is told of each mistake. */
#include "unit/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "config/config.h"

struct settings {
	char *name;
	char *state;
	struct config_list listen;
	bool open;
	uint64_t port;
	uint64_t size;
	uint64_t ttl_ms;
	int mode;
	uint64_t deep;
	char *comment;
};

static const char *const modes[] = { "open", "token", "closed", NULL };

static const char *check_name(const char *value)
{
	return strcmp(value, "root") == 0 ? "a name other than root" : NULL;
}

#define AT(member) offsetof(struct settings, member)

static const struct config_option options[] = {
	{ .key = "name", .type = CONFIG_STRING, .offset = AT(name), .def = "pi", .check = check_name },
	{ .key = "state_dir", .type = CONFIG_PATH, .offset = AT(state) },
	{ .key = "listen", .type = CONFIG_LIST, .offset = AT(listen), .def = "[\"127.0.0.1:1\", b]",
	  .check = check_name },
	{ .key = "open", .type = CONFIG_BOOL, .offset = AT(open), .def = "yes" },
	{ .key = "port", .type = CONFIG_U64, .offset = AT(port), .def = "7117", .min = 1, .max = 65535 },
	{ .key = "limits.message_size", .type = CONFIG_SIZE, .offset = AT(size), .def = "16KiB",
	  .min = 1024, .max = 1 << 20 },
	{ .key = "limits.ttl", .type = CONFIG_DURATION, .offset = AT(ttl_ms), .def = "30min",
	  .min = 1500, .max = 86400000 },
	{ .key = "limits.deep.er", .type = CONFIG_U64, .offset = AT(deep) },
	{ .key = "mode", .type = CONFIG_ENUM, .offset = AT(mode), .def = "token", .names = modes },
	{ .key = "comment", .type = CONFIG_STRING, .offset = AT(comment) },
};

static const struct config_schema schema = { "t.yaml", options, ARRAY_SIZE(options),
					     sizeof(struct settings) };

static struct settings s;
static struct config_error err;

static int parse(const char *text)
{
	memset(&s, 0, sizeof(s));
	return config_parse(&schema, &s, "t.yaml", text, strlen(text), &err);
}

static void refused_len(const char *text, size_t len, const char *wanted, int line)
{
	static const struct settings empty;
	int r;

	memset(&s, 0, sizeof(s));
	r = config_parse(&schema, &s, "t.yaml", text, len, &err);
	if (r != -EINVAL || strcmp(err.text, wanted) != 0)
		test_fail(__FILE__, line, "%d, \"%s\", not \"%s\"", r, err.text, wanted);
	/* Everything was let go. */
	CHECK_MEM(&s, &empty, sizeof(s));
}

#define REFUSED(text, wanted) refused_len((text), strlen(text), (wanted), __LINE__)

TEST(an_empty_file_gives_the_defaults)
{
	static const char *const texts[] = { "", "\n\n", "# nothing\n", "---\n", "--- ~\n...\n", "{}",
					     "\xef\xbb\xbf# marked\n", "limits:\n  # all by default\n" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (parse(texts[i]))
			test_fail(__FILE__, __LINE__, "\"%s\": %s", texts[i], err.text);
		CHECK_STR(s.name, "pi");
		CHECK_STR(s.state, NULL);
		CHECK_EQ(s.listen.n, 2);
		CHECK_STR(s.listen.v[0], "127.0.0.1:1");
		CHECK_STR(s.listen.v[1], "b");
		CHECK(s.listen.v[2] == NULL);
		CHECK(s.open);
		CHECK_EQ(s.port, 7117);
		CHECK_EQ(s.size, 16384);
		CHECK_EQ(s.ttl_ms, 1800000);
		CHECK_EQ(s.mode, 1);
		CHECK_EQ(s.deep, 0);
		config_done(&schema, &s);
		CHECK(s.name == NULL && s.listen.v == NULL && s.port == 0);
	}
	memset(&s, 0, sizeof(s));
	CHECK_EQ(config_defaults(&schema, &s), 0);
	CHECK_STR(s.name, "pi");
	CHECK_EQ(s.ttl_ms, 1800000);
	config_done(&schema, &s);
}

TEST(every_type_is_read)
{
	CHECK_EQ(parse("name: 'Küche: 1'\n"
		       "state_dir: /var/lib/x # where\n"
		       "listen:\n- a\n- \"b c\"\n- '2'\n"
		       "open: false\nport: 1\n"
		       "limits:\n  message_size: 10K\n  ttl: 90\n  deep: {er: 18446744073709551615}\n"
		       "mode: closed\n"),
		 0);
	CHECK_STR(s.name, "Küche: 1");
	CHECK_STR(s.state, "/var/lib/x");
	CHECK_EQ(s.listen.n, 3);
	CHECK_STR(s.listen.v[1], "b c");
	CHECK_STR(s.listen.v[2], "2");
	CHECK(s.listen.v[3] == NULL);
	CHECK(!s.open);
	CHECK_EQ(s.port, 1);
	CHECK_EQ(s.size, 10240);
	CHECK_EQ(s.ttl_ms, 90000);
	CHECK(s.deep == UINT64_MAX);
	CHECK_EQ(s.mode, 2);
	config_done(&schema, &s);

	/* JSON is YAML. */
	CHECK_EQ(parse("{\"listen\": [], \"limits\": {\"ttl\": \"2h\"}, \"open\": no}"), 0);
	CHECK_EQ(s.listen.n, 0);
	CHECK(s.listen.v && !s.listen.v[0]);
	CHECK_EQ(s.ttl_ms, 7200000);
	config_done(&schema, &s);
}

TEST(an_unknown_key_is_named_with_its_nearest_neighbour)
{
	REFUSED("name: a\nlissten: [a]\n",
		"t.yaml:2:1: unknown key \"lissten\"; did you mean \"listen\"?");
	REFUSED("nmae: a\n", "t.yaml:1:1: unknown key \"nmae\"; did you mean \"name\"?");
	REFUSED("limits:\n  message-size: 1K\n",
		"t.yaml:2:3: unknown key \"limits.message-size\"; did you mean \"limits.message_size\"?");
	REFUSED("ttl: 5s\n", "t.yaml:1:1: unknown key \"ttl\"; did you mean \"limits.ttl\"?");
	REFUSED("limits: {port: 5}\n", "t.yaml:1:10: unknown key \"limits.port\"; did you mean \"port\"?");
	REFUSED("limits.ttl: 5s\n", "t.yaml:1:1: unknown key \"limits.ttl\"; write \"ttl:\" on a line below \"limits:\"");
	REFUSED("limits:\n  zzzzzz: 1\n", "t.yaml:2:3: unknown key \"limits.zzzzzz\"; known here: "
					  "message_size, ttl, deep");
	REFUSED("<<: {name: a}\n", "t.yaml:1:1: unknown key \"<<\"; known here: name, state_dir, "
				   "listen, open, port, limits, mode, comment");
	REFUSED("? [a, b]\n: c\n", "t.yaml:1:3: a key must be plain text");
}

TEST(a_key_twice_is_refused)
{
	REFUSED("port: 1\nname: a\nport: 2\n", "t.yaml:3:1: \"port\" stands here twice");
	REFUSED("limits:\n  ttl: 5s\n\"limits\":\n  message_size: 2K\n",
		"t.yaml:3:1: \"limits\" stands here twice");
	REFUSED("limits: {ttl: 5s, 'ttl': 6s}\n", "t.yaml:1:19: \"limits.ttl\" stands here twice");
}

TEST(what_is_of_no_file_has_no_place_in_one)
{
	memset(&s, 0, sizeof(s));
	CHECK_EQ(config_parse(&schema, &s, "", "port: \"80\"\n", 11, &err), -EINVAL);
	CHECK_STR(err.text, "\"port\" cannot be \"80\"; it takes a whole number from 1 to 65535");
}

TEST(a_wrong_type_is_answered_with_the_right_one)
{
	REFUSED("port: many\n", "t.yaml:1:7: \"port\" cannot be \"many\"; it takes a whole number from 1 to 65535");
	REFUSED("port: '80'\n", "t.yaml:1:7: \"port\" cannot be \"80\" in quotes; it takes a whole number from 1 to 65535");
	REFUSED("port: [1]\n", "t.yaml:1:7: \"port\" is a list; it takes a whole number from 1 to 65535");
	REFUSED("port: {a: 1}\n", "t.yaml:1:7: \"port\" is a mapping; it takes a whole number from 1 to 65535");
	REFUSED("port:\n", "t.yaml:1:6: \"port\" has no value; it takes a whole number from 1 to 65535");
	REFUSED("name: ~\n", "t.yaml:1:7: \"name\" has no value; it takes text");
	REFUSED("open: maybe\n", "t.yaml:1:7: \"open\" cannot be \"maybe\"; it takes true or false (yes or no), without quotes");
	REFUSED("open: \"yes\"\n", "t.yaml:1:7: \"open\" cannot be \"yes\" in quotes; it takes true or false (yes or no), without quotes");
	REFUSED("mode: shut\n", "t.yaml:1:7: \"mode\" cannot be \"shut\"; it takes open, token or closed");
	REFUSED("state_dir: var/lib\n", "t.yaml:1:12: \"state_dir\" cannot be \"var/lib\"; it takes a path that begins with /");
	REFUSED("listen: a\n", "t.yaml:1:9: \"listen\" is one value; it takes a list: [a, b], or lines that begin with -");
	REFUSED("listen:\n", "t.yaml:1:8: \"listen\" has no value; it takes a list: [a, b], or lines that begin with -");
	REFUSED("listen: [a, [b]]\n", "t.yaml:1:13: an item of \"listen\" must be plain text");
	REFUSED("listen: [a, ~]\n", "t.yaml:1:13: \"listen\" has no value; it takes a list: [a, b], or lines that begin with -");
	REFUSED("limits: 5\n", "t.yaml:1:9: \"limits\" takes keys of its own, each on a line");
	REFUSED("limits: [5]\n", "t.yaml:1:9: \"limits\" takes keys of its own, each on a line");
	REFUSED("- a\n", "t.yaml:1:1: the file must be lines of the form \"key: value\"");
	REFUSED("hello\n", "t.yaml:1:1: the file must be lines of the form \"key: value\"");
}

TEST(out_of_range_is_answered_with_the_range)
{
	REFUSED("port: 0\n", "t.yaml:1:7: \"port\" cannot be \"0\"; it takes a whole number from 1 to 65535");
	REFUSED("port: 65536\n", "t.yaml:1:7: \"port\" cannot be \"65536\"; it takes a whole number from 1 to 65535");
	REFUSED("port: -1\n", "t.yaml:1:7: \"port\" cannot be \"-1\"; it takes a whole number from 1 to 65535");
	REFUSED("port: 99999999999999999999999\n", "t.yaml:1:7: \"port\" cannot be \"99999999999999999999999\"; it takes a whole number from 1 to 65535");
	REFUSED("limits:\n  message_size: 2M\n", "t.yaml:2:17: \"limits.message_size\" cannot be \"2M\"; it takes a size from 1KiB to 1MiB, such as 4096, 64KiB or 10M");
	REFUSED("limits:\n  ttl: 1s\n", "t.yaml:2:8: \"limits.ttl\" cannot be \"1s\"; it takes a duration from 1500ms to 1d, such as 500ms, 30s, 5min, 1h or 2d");
	REFUSED("limits: {deep: {er: x}}\n", "t.yaml:1:21: \"limits.deep.er\" cannot be \"x\"; it takes a whole number");
	REFUSED("name: root\n", "t.yaml:1:7: \"name\" cannot be \"root\"; it takes a name other than root");
	REFUSED("listen: [a, root]\n", "t.yaml:1:13: \"listen\" cannot be \"root\"; it takes a name other than root");
}

TEST(what_hides_or_expands_is_refused)
{
	REFUSED("name: &a x\n", "t.yaml:1:7: anchors (&name) are not accepted");
	REFUSED("&a name: x\n", "t.yaml:1:1: anchors (&name) are not accepted");
	REFUSED("name: *a\n", "t.yaml:1:7: aliases (*name) are not accepted; write the value");
	REFUSED("name: !!str x\n", "t.yaml:1:7: tags (!name) are not accepted");
	REFUSED("name: !x y\n", "t.yaml:1:7: tags (!name) are not accepted");
	REFUSED("!!map {}\n", "t.yaml:1:1: tags (!name) are not accepted");
	REFUSED("%YAML 1.1\n---\nname: x\n", "t.yaml:1:1: directives (%YAML, %TAG) are not accepted");
	REFUSED("%TAG ! tag:x,2000:\n---\nname: x\n", "t.yaml:1:1: directives (%YAML, %TAG) are not accepted");
	REFUSED("name: x\n---\nport: 5\n", "t.yaml:2:1: a second document begins here; one is accepted");
	REFUSED("name: \"a\\nb\"\n", "t.yaml:1:7: \"name\" has line breaks or control characters");
	REFUSED("name: \"a\\0b\"\n", "t.yaml:1:7: \"name\" has line breaks or control characters");
	REFUSED("name: |\n  a\n  b\n", "t.yaml:1:7: \"name\" has line breaks or control characters");
	/* The billion laughs stop at the first anchor. */
	REFUSED("name: x\nlisten: &a [x, x]\nb: [*a, *a]\n", "t.yaml:2:9: anchors (&name) are not accepted");
}

TEST(what_is_no_yaml_is_told_with_its_place)
{
	REFUSED("limits:\n\tttl: 5s\n", "t.yaml:2:1: a tab cannot indent; use spaces");
	REFUSED("limits:\n  \tttl: 5s\n", "t.yaml:2:3: a tab cannot indent; use spaces");
	REFUSED("name: \xff\n", "t.yaml:1:7: not valid UTF-8");
	REFUSED("# K\xc3\xbc" "che\nname: K\xfc" "che\n", "t.yaml:2:8: not valid UTF-8");
	refused_len("name: a\0b\n", 10, "t.yaml:1:8: a NUL byte", __LINE__);
	refused_len("name: \xc3", 7, "t.yaml:1:7: not valid UTF-8", __LINE__);
	refused_len("\xff\xfen\0a\0", 6, "t.yaml:1:1: not valid UTF-8", __LINE__);
	REFUSED("listen: [a\n", "t.yaml:2:1: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence");
	parse("name: 'a\n");
	CHECK(strstr(err.text, ": not valid YAML: ") != NULL);
	REFUSED("name: a\n port: 5\n",
		"t.yaml:2:6: not valid YAML: mapping values are not allowed in this context");
	REFUSED("name: a\x01\n", "t.yaml:1:8: not valid YAML: control characters are not allowed");
}

TEST(i5_the_files_text_cannot_steer_the_terminal_that_shows_the_error)
{
	REFUSED("\"na\\e[2Jme\": x\n",
		"t.yaml:1:1: unknown key \"na[2Jme\"; known here: name, state_dir, listen, open, "
		"port, limits, mode, comment");
	REFUSED("mode: a\u202eb\n", "t.yaml:1:7: \"mode\" cannot be \"ab\"; it takes open, token or closed");
	parse("mode: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n");
	CHECK(strstr(err.text, "aaa...\"") != NULL);
	CHECK(strlen(err.text) < 200);
}

TEST(i4_depth_and_size_are_bounded)
{
	_cleanup_free_ char *big = malloc((1 << 20) + 2);

	memset(big, '[', 1 << 20);
	memcpy(big, "name: ", 6);
	refused_len(big, 1 << 20, "t.yaml:1:7: \"name\" is a list; it takes text", __LINE__);
	memset(big, '{', 1 << 20);
	memset(&s, 0, sizeof(s));
	CHECK_EQ(config_parse(&schema, &s, "t.yaml", big, 1 << 20, &err), -EINVAL);
	memset(big, ' ', (1 << 20) + 1);
	CHECK_EQ(config_parse(&schema, &s, "t.yaml", big, 1 << 20, &err), 0);
	config_done(&schema, &s);
	refused_len(big, (1 << 20) + 1, "t.yaml: larger than 1 MiB", __LINE__);
	/* A list as long as the file: time and memory stay in proportion. */
	memset(big, '\n', 1 << 20);
	memcpy(big, "listen:\n", 8);
	for (size_t i = 8; i + 4 < 1 << 20; i += 4)
		memcpy(big + i, "- a\n", 4);
	memset(&s, 0, sizeof(s));
	CHECK_EQ(config_parse(&schema, &s, "t.yaml", big, 1 << 20, &err), 0);
	CHECK_EQ(s.listen.n, ((1 << 20) - 8 - 1) / 4);
	config_done(&schema, &s);
}

TEST(a_required_option_that_is_missing_is_named)
{
	static const struct config_option need[] = {
		{ .key = "name", .type = CONFIG_STRING, .offset = AT(name), .required = true,
		  .help = "how others see this machine" },
		{ .key = "comment", .type = CONFIG_STRING, .offset = AT(comment) },
	};
	static const struct config_schema needy = { "n.yaml", need, 2, sizeof(struct settings) };

	memset(&s, 0, sizeof(s));
	CHECK_EQ(config_parse(&needy, &s, "n.yaml", "comment: x\n", 11, &err), -EINVAL);
	CHECK_STR(err.text, "n.yaml:1:1: \"name\" is missing: how others see this machine");
	CHECK(s.comment == NULL);
}

TEST(files_are_loaded_and_their_trouble_is_named)
{
	char path[256], wanted[600];

	snprintf(path, sizeof(path), "%s/c.yaml", test_tmpdir());
	memset(&s, 0, sizeof(s));
	CHECK_EQ(config_load(&schema, &s, path, true, &err), 0);
	CHECK_STR(s.name, "pi");
	config_done(&schema, &s);
	CHECK_EQ(config_load(&schema, &s, path, false, &err), -ENOENT);
	snprintf(wanted, sizeof(wanted), "%s: No such file or directory", path);
	CHECK_STR(err.text, wanted);

	CHECK_EQ(file_write_atomic(path, "name: x\nbad: 1\n", 15, 0600), 0);
	CHECK_EQ(config_load(&schema, &s, path, true, &err), -EINVAL);
	snprintf(wanted, sizeof(wanted), "%s:2:1: unknown key \"bad\"; known here: name, state_dir, "
					 "listen, open, port, limits, mode, comment", path);
	CHECK_STR(err.text, wanted);
	CHECK_EQ(file_write_atomic(path, "name: x\n", 8, 0600), 0);
	CHECK_EQ(config_load(&schema, &s, path, true, &err), 0);
	CHECK_STR(s.name, "x");
	config_done(&schema, &s);

	CHECK_EQ(config_load(&schema, &s, test_tmpdir(), true, &err), -EISDIR);
	CHECK_EQ(config_load(&schema, &s, "/dev/zero", true, &err), -EINVAL);
	CHECK_STR(err.text, "/dev/zero: not a regular file");
}

/* Every beginning of a good file, and every byte of it changed: an answer, no crash, nothing leaked. */
TEST(broken_files_are_answered)
{
	static const char text[] = "name: 'a b'\nlisten:\n- x\n- \"y\"\nlimits: {ttl: 5s,\n deep: {er: 4}}\n"
				   "open: yes # c\nmode: open\n";
	char copy[sizeof(text)];

	for (size_t i = 0; i < sizeof(text); i++) {
		memset(&s, 0, sizeof(s));
		if (!config_parse(&schema, &s, "t.yaml", text, i, &err))
			config_done(&schema, &s);
		for (unsigned int c = 0; c < 256; c++) {
			memcpy(copy, text, sizeof(text));
			copy[i] = (char)c;
			memset(&s, 0, sizeof(s));
			if (!config_parse(&schema, &s, "t.yaml", copy, sizeof(text) - 1, &err))
				config_done(&schema, &s);
			else
				CHECK(strncmp(err.text, "t.yaml:", 7) == 0);
		}
	}
}

/* What config_find() says of a file of this text; NULL: nothing. */
static const char *found_in(const char *text, const char *key)
{
	static char out[64];
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/strange.yaml", test_tmpdir());
	f = fopen(path, "w");
	CHECK(f);
	fputs(text, f);
	fclose(f);
	return config_find(path, key, out, sizeof(out)) ? out : NULL;
}

TEST(value_is_found_in_a_strangers_file)
{
	static const char text[] = "# key: no\nlisten: [a, key, {b: key}]\nname: key\ntls:\n  certificate: /c\n"
				   "  key: \"/k e y\"\nother: {key: /second}\nlist: [1]\nlast: 7\n";

	CHECK_STR(found_in(text, "key"), "/k e y");
	CHECK_STR(found_in(text, "certificate"), "/c");
	CHECK_STR(found_in(text, "last"), "7");
	CHECK(!found_in(text, "list"));
	CHECK(!found_in(text, "a"));
	CHECK(!found_in(text, "nonsense"));
	CHECK(!found_in("", "key"));
	CHECK(!found_in("key", "key"));
	CHECK(!found_in("- key\n- x\n", "key"));
	CHECK(!found_in("x: &a y\nz: *a\nkey: v\n", "key"));
	CHECK(!found_in("x: [\nkey\n", "key"));
	CHECK(!found_in("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "key"));
	CHECK(!config_find("/nonexistent", "key", (char[8]){ "" }, 8));
}

TEST(found_value_is_cut_to_its_room)
{
	char path[256], out[4];
	FILE *f;

	snprintf(path, sizeof(path), "%s/long.yaml", test_tmpdir());
	f = fopen(path, "w");
	CHECK(f);
	fputs("key: abcdefgh\n", f);
	fclose(f);
	CHECK(config_find(path, "key", out, sizeof(out)));
	CHECK_STR(out, "abc");
}
