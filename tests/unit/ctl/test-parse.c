/* The command line by the table. */
#include "ctl/command.h"

#include <string.h>

#include "base/cleanup.h"

#include "unit/lib/test.h"

#define PARSE(p, f, ...)                                                             \
	parse_command_line((p),                                                      \
			   (int)ARRAY_SIZE(((const char *[]){ "handfast", __VA_ARGS__ })), \
			   (char **)(uintptr_t)(const char *[]){ "handfast", __VA_ARGS__, NULL }, (f))

TEST(words_of_a_command_are_found_between_options)
{
	struct failure f = { 0 };
	struct parsed p;

	CHECK_EQ(PARSE(&p, &f, "--json", "tunnel", "--runtime-dir", "/x", "up", "--timeout=5s", "pi"),
		 EXIT_DONE);
	CHECK_STR(p.command->name, "tunnel up");
	CHECK_EQ(p.n_arguments, 1);
	CHECK_STR(p.arguments[0], "pi");
	CHECK_STR(parsed_option(&p, "timeout"), "5s");
	CHECK_STR(parsed_option(&p, "runtime-dir"), "/x");
	CHECK_STR(parsed_option(&p, "json"), "");
	CHECK(!parsed_option(&p, "no-wait"));
}

TEST(two_dashes_end_the_options)
{
	struct failure f = { 0 };
	struct parsed p;

	CHECK_EQ(PARSE(&p, &f, "peer", "show", "--", "--json"), EXIT_DONE);
	CHECK_EQ(p.n_arguments, 1);
	CHECK_STR(p.arguments[0], "--json");
	CHECK(!parsed_option(&p, "json"));
}

TEST(a_single_dash_is_a_value)
{
	struct failure f = { 0 };
	struct parsed p;

	CHECK_EQ(PARSE(&p, &f, "pair", "--sas-file", "-"), EXIT_DONE);
	CHECK_STR(parsed_option(&p, "sas-file"), "-");
}

TEST(json_is_seen_after_a_mistake)
{
	struct failure f = { 0 };
	struct parsed p;

	CHECK_EQ(PARSE(&p, &f, "peers", "--wrong", "--json"), EXIT_USAGE);
	CHECK(parsed_option(&p, "json"));
	CHECK(strstr(f.message, "--wrong"));
	CHECK_EQ(PARSE(&p, &f, "tunnel", "shwo", "--json"), EXIT_USAGE);
	CHECK(parsed_option(&p, "json"));
	CHECK(strstr(f.hint, "handfast tunnel show"));
}

TEST(the_first_mistake_is_the_one_told)
{
	struct failure f = { 0 };
	struct parsed p;

	CHECK_EQ(PARSE(&p, &f, "peers", "--first", "--second"), EXIT_USAGE);
	CHECK(strstr(f.message, "--first"));
}

TEST(repeated_options_keep_each_value_in_order)
{
	struct failure f = { 0 };
	struct parsed p;
	size_t at = 0;

	CHECK_EQ(PARSE(&p, &f, "auth", "request", "-H", "A: 1", "https://x", "--header=B: 2", "-H", "A: 3"), EXIT_DONE);
	CHECK_STR(parsed_option_next(&p, "header", &at), "A: 1");
	CHECK_STR(parsed_option_next(&p, "header", &at), "B: 2");
	CHECK_STR(parsed_option_next(&p, "header", &at), "A: 3");
	CHECK(!parsed_option_next(&p, "header", &at));
	at = 0;
	CHECK(!parsed_option_next(&p, "data", &at));
	/* Others are still said once. */
	CHECK_EQ(PARSE(&p, &f, "auth", "request", "-d", "1", "https://x", "-d", "2"), EXIT_USAGE);
	CHECK(strstr(f.message, "twice"));
}

TEST(repeated_options_have_an_end)
{
	const char *argv[2 * VALUES_MAX + 8] = { "handfast", "auth", "request", "https://x" };
	struct failure f = { 0 };
	struct parsed p;
	int argc = 4;

	for (int i = 0; i < VALUES_MAX; i++) {
		argv[argc++] = "-H";
		argv[argc++] = "A: 1";
	}
	CHECK_EQ(parse_command_line(&p, argc, (char **)(uintptr_t)argv, &f), EXIT_DONE);
	argv[argc++] = "-H";
	argv[argc++] = "A: 1";
	CHECK_EQ(parse_command_line(&p, argc, (char **)(uintptr_t)argv, &f), EXIT_USAGE);
	CHECK(strstr(f.message, "more than"));
}

TEST(help_asks_for_no_arguments)
{
	struct failure f = { 0 };
	struct parsed p;

	CHECK_EQ(PARSE(&p, &f, "tunnel", "up", "--help"), EXIT_DONE);
	CHECK_EQ(PARSE(&p, &f, "tunnel", "up", "-h"), EXIT_DONE);
	CHECK_EQ(PARSE(&p, &f, "tunnel", "up"), EXIT_USAGE);
	CHECK(strstr(f.message, "needs TUNNEL"));
}

TEST(a_group_alone_is_known_as_such)
{
	struct failure f = { 0 };
	struct parsed p;

	CHECK_EQ(PARSE(&p, &f, "relay"), EXIT_DONE);
	CHECK(!p.command);
	CHECK_STR(p.group, "relay");
}

TEST(values_are_checked_by_their_kind)
{
	struct failure f = { 0 };
	struct parsed p;

	CHECK_EQ(PARSE(&p, &f, "tunnel", "burn", "x", "--to-slot", "12"), EXIT_DONE);
	CHECK_EQ(PARSE(&p, &f, "tunnel", "burn", "x", "--to-slot", "12x"), EXIT_USAGE);
	CHECK_EQ(PARSE(&p, &f, "tunnel", "burn", "x", "--to-slot", "99999999999999999999"),
		 EXIT_USAGE);
	CHECK_EQ(PARSE(&p, &f, "reload", "pskd"), EXIT_DONE);
	CHECK_EQ(PARSE(&p, &f, "reload", "psk"), EXIT_USAGE);
	CHECK_EQ(PARSE(&p, &f, "peer", "show", "\xff"), EXIT_USAGE);
	/* A file's name may be any bytes. */
	CHECK_EQ(PARSE(&p, &f, "tunnel", "verify", "\xff"), EXIT_DONE);
}

TEST(more_words_than_fit_are_no_overflow)
{
	const char *argv[VALUES_MAX + 8] = { "handfast", "check" };
	struct failure f = { 0 };
	struct parsed p;

	for (size_t i = 2; i + 1 < ARRAY_SIZE(argv); i++)
		argv[i] = "relayd.yaml";
	CHECK_EQ(parse_command_line(&p, (int)ARRAY_SIZE(argv) - 1, (char **)(uintptr_t)argv, &f),
		 EXIT_USAGE);
	CHECK_EQ(p.n_arguments, VALUES_MAX);
}

TEST(long_words_are_refused_and_not_copied_whole)
{
	char word[5000], option[5000];
	struct failure f = { 0 };
	struct parsed p;

	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	memset(option, '-', sizeof(option) - 1);
	option[sizeof(option) - 1] = '\0';
	CHECK_EQ(PARSE(&p, &f, word), EXIT_USAGE);
	CHECK_EQ(PARSE(&p, &f, "tunnel", word), EXIT_USAGE);
	CHECK_EQ(PARSE(&p, &f, option), EXIT_USAGE);
	CHECK(strlen(f.message) < 400);
}

TEST(nearest_suggests_slips_and_nothing_else)
{
	static const char *const words[] = { "pair", "peers", "tunnel", "status" };

	CHECK_STR(nearest("piar", words, 4), "pair");
	CHECK_STR(nearest("tunel", words, 4), "tunnel");
	CHECK_STR(nearest("stat", words, 4), "status");
	CHECK_STR(nearest("stauts", words, 4), "status");
	CHECK(!nearest("wireguard", words, 4));
	CHECK(!nearest("x", words, 4));
	CHECK(!nearest("", words, 4));
}

/* What tables must be for parsing, help and completion to work. */
/* Everybody on the machine can read a command line: what is secret comes from a file, a terminal or a socket. */
TEST(i5_no_option_takes_a_secret)
{
	static const char *const secret[] = { "pin", "secret", "pass", "token", "root", "number", "sas" };
	size_t n = 0;

	for (size_t i = 0; i < n_commands; i++)
		for (const struct option *o = commands[i].options; o && o->name; o++)
			for (size_t w = 0; w < ARRAY_SIZE(secret); w++) {
				/* --pin PEER names whose identity is pinned. */
				if (!o->arg || !strstr(o->name, secret[w]) || o->kind == VALUE_PEER)
					continue;
				n++;
				if (o->kind != VALUE_FILE && !strstr(o->name, "-fd"))
					test_fail(__FILE__, __LINE__, "%s --%s takes a secret, and not where it is",
						  commands[i].name, o->name);
			}
	CHECK(n >= 4);
}

TEST(the_table_is_whole)
{
	for (size_t i = 0; i < n_commands; i++) {
		const struct command *c = &commands[i];
		bool optional = false;
		size_t n = 0;

		CHECK(c->run && c->summary && *c->summary);
		CHECK(command_find(c->name) == c);
		/* A word is a command or a group, never both. */
		CHECK(!command_is_group(c->name));
		for (; n < ARGUMENTS_MAX && c->arguments[n].name; n++) {
			const struct argument *a = &c->arguments[n];

			CHECK(a->help && *a->help);
			CHECK(a->optional || !optional);
			CHECK((a->kind == VALUE_CHOICE) == (a->choices != NULL));
			CHECK(!a->many || n + 1 == ARGUMENTS_MAX || !c->arguments[n + 1].name);
			optional = a->optional;
		}
		n = 0;
		for (const struct option *o = c->options; o && o->name; o++, n++) {
			CHECK(o->help && *o->help);
			CHECK((o->kind == VALUE_CHOICE) == (o->choices != NULL));
			for (const struct option *g = global_options; g->name; g++)
				CHECK(strcmp(g->name, o->name) != 0);
		}
		CHECK(n < OPTIONS_MAX);
	}
}

TEST(errors_have_documented_exit_codes)
{
	CHECK_EQ(exit_code_for_error("io.handfast.Pairing.NoSuchPeer"), EXIT_NO_SUCH);
	CHECK_EQ(exit_code_for_error("io.handfast.Daemon.PermissionDenied"), EXIT_PERMISSION);
	CHECK_EQ(exit_code_for_error("io.handfast.Pairing.WrongSecret"), EXIT_WRONG_SECRET);
	CHECK_EQ(exit_code_for_error("io.handfast.Tunnel.KeyFileDiffers"), EXIT_VERIFICATION);
	CHECK_EQ(exit_code_for_error("io.handfast.Tunnel.NoAnswer"), EXIT_TIMED_OUT);
	CHECK_EQ(exit_code_for_error("nothing that is known"), EXIT_FAILED);
}

TEST(a_failure_is_cleaned_of_what_steers_a_terminal)
{
	struct failure f;

	failure_set(&f, EXIT_FAILED, ERROR_FILE, "hint\033[2J", "name \033]0;x\007 \xe2\x80\xae end");
	CHECK_STR(f.message, "name ]0;x  end");
	CHECK_STR(f.hint, "hint[2J");
}
