/* Text for people and for programs: widths, bars, cleaning, one line of ASCII. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "ctl/output_json.h"
#include "ctl/output_text.h"

#include "unit/lib/test.h"

static const struct style plain = { .width = 80, .utf8 = true };

/* What fn writes. */
static char *written(void (*fn)(FILE *f))
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fn(f);
	fclose(f);
	return text;
}

static void wrap_at_20(FILE *f)
{
	struct style s = { .width = 20 };

	text_wrap(f, &s, "one two three four five six seven", 4, 0);
}

TEST(text_is_wrapped_and_indented)
{
	_cleanup_free_ char *text = written(wrap_at_20);

	CHECK_STR(text, "    one two three\n    four five six\n    seven\n");
}

static void wrap_a_long_word(FILE *f)
{
	struct style s = { .width = 10 };

	text_wrap(f, &s, "a abcdefghijklmnopqrstuvwxyz b", 2, 2);
}

TEST(a_word_longer_than_the_line_stays_whole)
{
	_cleanup_free_ char *text = written(wrap_a_long_word);

	CHECK_STR(text, "a\n  abcdefghijklmnopqrstuvwxyz\n  b\n");
}

static void small_table(FILE *f)
{
	static const char *const headings[] = { "NAME", "STATE", NULL };
	struct table *t = table_new(headings);

	table_cell(t, PAINT_PLAIN, "müller");
	table_cell(t, PAINT_GREEN, "%s", "up\033[2J");
	table_cell(t, PAINT_PLAIN, "%s", "");
	table_cell(t, PAINT_PLAIN, "down");
	table_print(t, f, &plain);
}

TEST(a_table_lines_up_by_columns_and_cleans_its_cells)
{
	_cleanup_free_ char *text = NULL;

	setlocale(LC_CTYPE, "C.UTF-8");
	text = written(small_table);
	CHECK_STR(text, "NAME    STATE\nmüller  up[2J\n-       down\n");
}

static void table_at(FILE *f, unsigned int width)
{
	static const char *const headings[] = { "DAEMON", "STATE", "STATUS", NULL };
	struct style s = { .width = width, .tty = true };
	struct table *t = table_new(headings);

	table_cell(t, PAINT_PLAIN, "pairingd");
	table_cell(t, PAINT_PLAIN, "not running");
	table_cell(t, PAINT_PLAIN, "starts when it is needed");
	table_cell(t, PAINT_PLAIN, "pskd");
	table_cell(t, PAINT_PLAIN, "running");
	table_cell(t, PAINT_PLAIN, "%s", "");
	table_print(t, f, &s);
}

static void table_at_30(FILE *f)
{
	table_at(f, 30);
}

static void table_at_40(FILE *f)
{
	table_at(f, 40);
}

TEST(a_table_too_wide_for_the_terminal_is_stacked)
{
	_cleanup_free_ char *narrow = written(table_at_30), *wide = written(table_at_40);

	CHECK_STR(narrow, "pairingd\n"
			  "  STATE: not running\n"
			  "  STATUS: starts when it is\n"
			  "    needed\n"
			  "pskd\n"
			  "  STATE: running\n");
	CHECK_STR(wide, "DAEMON    STATE        STATUS\n"
			"pairingd  not running  starts when it is\n"
			"pskd      running      -\n");
}

static void painted(FILE *f)
{
	struct style s = { .width = 80, .color = true };

	fprintf(f, "%sx%s%sy%s", paint_begin(&s, PAINT_RED), paint_end(&s, PAINT_RED),
		paint_begin(&s, PAINT_PLAIN), paint_end(&s, PAINT_PLAIN));
}

TEST(paint_is_undone_and_absent_without_colour)
{
	_cleanup_free_ char *text = written(painted);

	CHECK_STR(text, "\033[31mx\033[0my");
	CHECK_STR(paint_begin(&plain, PAINT_RED), "");
	CHECK_STR(paint_end(&plain, PAINT_RED), "");
}

TEST(a_bar_stays_inside_its_cells)
{
	const struct style ascii = { .width = 80 };
	char bar[64];

	bar_format(bar, sizeof(bar), &ascii, 0.5, 10);
	CHECK_STR(bar, "[#####.....]");
	bar_format(bar, sizeof(bar), &ascii, 7, 10);
	CHECK_STR(bar, "[##########]");
	bar_format(bar, sizeof(bar), &ascii, -1, 10);
	CHECK_STR(bar, "[..........]");
	bar_format(bar, sizeof(bar), &ascii, 0.0 / (double)(bar[0] == 'x'), 10);
	CHECK_STR(bar, "[..........]");
	bar_format(bar, sizeof(bar), &plain, 1, 60);
	CHECK(strlen(bar) < sizeof(bar));
}

TEST(counts_are_grouped)
{
	char text[40];

	count_format(text, sizeof(text), 0);
	CHECK_STR(text, "0");
	count_format(text, sizeof(text), 999);
	CHECK_STR(text, "999");
	count_format(text, sizeof(text), 1234567);
	CHECK_STR(text, "1 234 567");
	count_format(text, sizeof(text), UINT64_MAX);
	CHECK_STR(text, "18 446 744 073 709 551 615");
	count_format(text, 4, 1234567);
	CHECK(strlen(text) < 4);
}

static void big(FILE *f)
{
	big_digits(f, &plain, "1 04", 1);
}

TEST(big_digits_are_three_lines)
{
	_cleanup_free_ char *text = written(big);

	CHECK_STR(text, "        _      \n"
			"   |   | | |_| \n"
			"   |   |_|   | \n");
}

TEST(columns_are_those_of_the_terminal)
{
	setlocale(LC_CTYPE, "C.UTF-8");
	CHECK_EQ(text_columns("abc"), 3);
	CHECK_EQ(text_columns("ü"), 1);
	CHECK_EQ(text_columns("日本"), 4);
	CHECK_EQ(text_columns("\xff\xfe"), 2);
}

TEST(no_terminal_means_no_colour)
{
	struct style s;
	FILE *f = fopen("/dev/null", "w");

	setenv("TERM", "xterm", 1);
	style_init(&s, f, true);
	CHECK(!s.color && !s.tty);
	CHECK_EQ(s.width, 80);
	fclose(f);
}

/* Runs fn with standard output going to path; its value. */
static int with_output_to(const char *path, int (*fn)(void))
{
	int before, fd, r;

	fflush(stdout);
	before = dup(STDOUT_FILENO);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(before >= 0 && fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
	r = fn();
	clearerr(stdout);
	CHECK(dup2(before, STDOUT_FILENO) >= 0);
	close(before);
	close(fd);
	return r;
}

static int hostile_event(void)
{
	return output_json_event("pair", "peer",
				 json_pack("{s:s, s:n, s:i}", "note", "\033[2J\u202e\u00fc", "gone",
					   "n", 7));
}

TEST(an_event_is_one_line_of_ascii_without_nulls)
{
	_cleanup_free_ char *text = NULL;
	char path[200];
	size_t len;

	snprintf(path, sizeof(path), "%s/out", test_tmpdir());
	CHECK_EQ(with_output_to(path, hostile_event), 0);
	CHECK_EQ(file_read(&text, &len, path, 4096), 0);
	CHECK_STR(text, "{\"handfast\":1,\"command\":\"pair\",\"event\":\"peer\","
			"\"note\":\"\\u001B[2J\\u202E\\u00FC\",\"n\":7}\n");
}

static int empty_result(void)
{
	return output_json_result("version", NULL);
}

TEST(a_full_disk_is_told)
{
	CHECK_EQ(with_output_to("/dev/full", empty_result), -EIO);
}
