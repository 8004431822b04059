/* The command line of a daemon. */
#include "service/options.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "unit/lib/test.h"

static const struct service_option own[] = {
	{ "allow-user", "NAME", "who may ask" },
	{ "fast", NULL, "hurry" },
	{ "faster", NULL, "with --fast: hurry more", "fast" },
	{ "twice", NULL, "with --check: check twice", "check" },
	{ 0 },
};

static const struct service_info full = { .name = "exampled", .summary = "an example", .options = own };
static const struct service_info bare = {
	.name = "bared", .summary = "nothing", .no_state = true, .no_config = true, .no_control = true
};

/* Parse with stderr in a string. */
static int parse(struct service_options *o, const struct service_info *info, const char *said[static 1],
		 const char *const *words)
{
	static char text[512];
	char *argv[64] = { (char *)(uintptr_t)info->name };
	int argc = 1, pipe_fds[2], keep = dup(2), r;
	ssize_t n;

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	CHECK_EQ(pipe(pipe_fds), 0);
	dup2(pipe_fds[1], 2);
	r = service_options_parse(o, info, argc, argv);
	fflush(stderr);
	dup2(keep, 2);
	close(pipe_fds[1]);
	close(keep);
	n = read(pipe_fds[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(pipe_fds[0]);
	*said = text;
	return r;
}

#define PARSE(info, ...) parse(&o, info, &said, (const char *const[]){ __VA_ARGS__, NULL })

static struct service_options o;
static const char *said;

TEST(shared_options_are_read_in_both_spellings)
{
	CHECK_EQ(PARSE(&full, "--config", "/a", "--state-dir=/b", "--runtime-dir=/c", "--read-group", "r",
		       "--admin-group=a", "--log-level", "debug", "--check"),
		 0);
	CHECK_STR(o.config, "/a");
	CHECK_STR(o.state_dir, "/b");
	CHECK_STR(o.runtime_dir, "/c");
	CHECK_STR(o.read_group, "r");
	CHECK_STR(o.admin_group, "a");
	CHECK_STR(o.log_level, "debug");
	CHECK(o.check && !o.version && !o.help);
	CHECK_STR(said, "");
}

TEST(a_daemons_own_options_may_repeat_and_keep_their_order)
{
	CHECK_EQ(PARSE(&full, "--allow-user", "x", "--fast", "--allow-user=y"), 0);
	CHECK_EQ(o.n_own, 3);
	CHECK_STR(o.own[0].name, "allow-user");
	CHECK_STR(o.own[0].value, "x");
	CHECK_STR(o.own[1].name, "fast");
	CHECK_STR(o.own[1].value, "");
	CHECK_STR(o.own[2].value, "y");
}

TEST(an_option_that_says_nothing_by_itself_is_refused)
{
	CHECK_EQ(PARSE(&full, "--faster"), 2);
	CHECK_STR(said, "exampled: --faster goes with --fast\nTry: exampled --help\n");
	CHECK_EQ(PARSE(&full, "--twice", "--fast"), 2);
	CHECK_EQ(PARSE(&full, "--faster", "--twice", "--fast", "--check"), 0);
}

TEST(a_wrong_command_line_is_refused_with_a_hint)
{
	static const char *const lines[][2] = {
		{ "--nope", "unknown option: --nope" },
		{ "--nope=3", "unknown option: --nope=3" },
		{ "-x", "unknown option: -x" },
		{ "word", "unexpected argument: word" },
		{ "--config", "an argument is missing: --config" },
		{ "--check=yes", "--check=yes" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		CHECK_EQ(PARSE(&full, lines[i][0]), 2);
		if (!strstr(said, lines[i][1]) || !strstr(said, "exampled --help"))
			test_fail(__FILE__, __LINE__, "%s gives \"%s\"", lines[i][0], said);
	}
}

TEST(what_a_daemon_has_no_use_for_is_no_option_of_it)
{
	CHECK_EQ(PARSE(&bare, "--runtime-dir", "/c"), 0);
	CHECK_EQ(PARSE(&bare, "--state-dir", "/b"), 2);
	CHECK_EQ(PARSE(&bare, "--config", "/b"), 2);
	CHECK_EQ(PARSE(&bare, "--read-group", "b"), 2);
	CHECK_EQ(PARSE(&bare, "--check"), 2);
}

TEST(too_many_options_are_refused_not_overrun)
{
	const char *words[64] = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(o.own); i++)
		words[i] = "--fast";
	CHECK_EQ(parse(&o, &full, &said, words), 0);
	CHECK_EQ(o.n_own, ARRAY_SIZE(o.own));
	words[ARRAY_SIZE(o.own)] = "--fast";
	CHECK_EQ(parse(&o, &full, &said, words), 2);
	CHECK(strstr(said, "too many options"));
}
