/* PINs and picks: what is taken for one, and what is not. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ctl/pair/pair_sas.h"
#include "ctl/pair/pair_secret.h"

#include "unit/lib/test.h"

static bool takes(struct pair_secret *s, const char *typed)
{
	char text[64];

	*s = (struct pair_secret){ .class = SECRET_PIN };
	snprintf(text, sizeof(text), "%s", typed);
	if (!pair_secret_take_pin(s, text))
		return false;
	/* What was typed must not stay behind. */
	for (size_t i = 0; i < strlen(typed); i++)
		CHECK_EQ(text[i], 0);
	return true;
}

TEST(a_pin_is_six_to_eight_digits_however_grouped)
{
	struct pair_secret s;

	CHECK(takes(&s, "123456"));
	CHECK_EQ(s.len, 6);
	CHECK_STR((char *)s.value, "123456");
	CHECK(takes(&s, " 123-456 "));
	CHECK_STR((char *)s.value, "123456");
	CHECK(takes(&s, "12 34 56 78"));
	CHECK_EQ(s.len, 8);
	CHECK(takes(&s, "000000"));
	CHECK(!takes(&s, "12345"));
	CHECK(!takes(&s, "123456789"));
	CHECK(!takes(&s, "12345a"));
	CHECK(!takes(&s, ""));
	CHECK(!takes(&s, "١٢٣٤٥٦"));
	CHECK_EQ(s.len, 0);
}

TEST(i3_made_pins_have_the_digits_asked_for_and_differ)
{
	struct pair_secret a = { .class = SECRET_PIN }, b = { .class = SECRET_PIN };
	struct failure f = { 0 };
	unsigned int seen = 0;

	CHECK_EQ(pair_secret_make(&a, 8, &f), EXIT_DONE);
	CHECK_EQ(pair_secret_make(&b, 8, &f), EXIT_DONE);
	CHECK_EQ(a.len, 8);
	CHECK(memcmp(a.value, b.value, 8) != 0);
	/* A daemon that asks for nonsense gets the least there is, never a short one. */
	CHECK_EQ(pair_secret_make(&a, 0, &f), EXIT_DONE);
	CHECK_EQ(a.len, 6);
	CHECK_EQ(pair_secret_make(&a, 100000, &f), EXIT_DONE);
	CHECK_EQ(a.len, 6);
	for (int i = 0; i < 200; i++) {
		CHECK_EQ(pair_secret_make(&a, 6, &f), EXIT_DONE);
		for (size_t k = 0; k < a.len; k++)
			seen |= 1u << (a.value[k] - '0');
	}
	CHECK_EQ(seen, 0x3ff);
}

TEST(a_wiped_secret_is_gone)
{
	struct pair_secret s, zero = { 0 };

	memset(&zero, 0, sizeof(zero));
	CHECK(takes(&s, "123456"));
	pair_secret_wipe(&s);
	CHECK_MEM(&s, &zero, sizeof(s));
}

static const struct sas_choices choices = { { "482913", "190377", "755204" } };

TEST(a_pick_is_a_place_or_the_number_itself)
{
	const char *picked = NULL;

	CHECK_EQ(sas_answer_parse("2", &choices, &picked), SAS_PICKED);
	CHECK_STR(picked, "190377");
	CHECK_EQ(sas_answer_parse(" 3 ", &choices, &picked), SAS_PICKED);
	CHECK_STR(picked, "755204");
	CHECK_EQ(sas_answer_parse("482 913", &choices, &picked), SAS_PICKED);
	CHECK_STR(picked, "482913");
	CHECK_EQ(sas_answer_parse("0", &choices, &picked), SAS_NONE_OF_THESE);
	CHECK_EQ(sas_answer_parse("none", &choices, &picked), SAS_NONE_OF_THESE);
}

TEST(a_slip_is_no_pick)
{
	static const char *const slips[] = { "", "4", "9", "12", "y", "482914", "4829130", "-", "none of it",
					     "0x1", "\033[A" };
	const char *picked = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(slips); i++)
		CHECK_EQ(sas_answer_parse(slips[i], &choices, &picked), SAS_NO_ANSWER);
	CHECK(!picked);
}

TEST(a_file_says_digits_or_none)
{
	char digits[SAS_PICK_DIGITS + 1];

	CHECK_EQ(sas_file_parse(digits, "190377\r"), SAS_PICKED);
	CHECK_STR(digits, "190377");
	/* Digits that are on no screen are a pick, too, and a wrong one. */
	CHECK_EQ(sas_file_parse(digits, "000 000"), SAS_PICKED);
	CHECK_EQ(sas_file_parse(digits, "none"), SAS_NONE_OF_THESE);
	CHECK_EQ(sas_file_parse(digits, "2"), SAS_NO_ANSWER);
	CHECK_EQ(sas_file_parse(digits, ""), SAS_NO_ANSWER);
}

TEST(choices_that_are_no_three_numbers_are_refused)
{
	static const char *const wrong[] = { "[]", "[\"123456\"]", "[\"123456\",\"234567\",3]",
					     "[\"123456\",\"234567\",\"34567\"]",
					     "[\"123456\",\"234567\",\"345678\",\"456789\"]",
					     "[\"123456\",\"234567\",\"\\u001b[2J\"]", "{}", "[null,null,null]" };
	struct sas_choices c;
	json_t *v;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		v = json_loads(wrong[i], 0, NULL);
		CHECK(v);
		CHECK(!sas_choices_read(&c, v));
		json_decref(v);
	}
	v = json_loads("[\"123456\",\"234567\",\"345678\"]", 0, NULL);
	CHECK(sas_choices_read(&c, v));
	CHECK_STR(c.digits[2], "345678");
	json_decref(v);
	CHECK(!sas_choices_read(&c, NULL));
}

TEST(a_fifo_is_read_when_its_line_is_whole)
{
	char path[200], line[64];
	struct sas_file *s = NULL;
	struct failure f = { 0 };
	int fd;

	snprintf(path, sizeof(path), "%s/fifo", test_tmpdir());
	CHECK_EQ(mkfifo(path, 0600), 0);
	CHECK_EQ(sas_file_open(&s, path, &f), EXIT_DONE);
	CHECK(sas_file_fd(s) >= 0);
	fd = open(path, O_WRONLY);
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), -EAGAIN);
	CHECK_EQ(write(fd, "190", 3), 3);
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), -EAGAIN);
	CHECK_EQ(write(fd, "377\nmore", 8), 8);
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), 0);
	CHECK_STR(line, "190377");
	close(fd);
	sas_file_close(s);
}

TEST(a_pipe_that_ends_counts_without_a_newline)
{
	char path[200], line[64];
	struct sas_file *s = NULL;
	struct failure f = { 0 };
	int fd;

	snprintf(path, sizeof(path), "%s/fifo", test_tmpdir());
	CHECK_EQ(mkfifo(path, 0600), 0);
	CHECK_EQ(sas_file_open(&s, path, &f), EXIT_DONE);
	fd = open(path, O_WRONLY);
	CHECK_EQ(write(fd, "190377", 6), 6);
	close(fd);
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), -EAGAIN);
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), 0);
	CHECK_STR(line, "190377");
	sas_file_close(s);
}

TEST(an_empty_pipe_or_a_long_line_is_no_number)
{
	char path[200], line[64], many[200];
	struct sas_file *s = NULL;
	struct failure f = { 0 };
	int fd;

	snprintf(path, sizeof(path), "%s/fifo", test_tmpdir());
	CHECK_EQ(mkfifo(path, 0600), 0);
	CHECK_EQ(sas_file_open(&s, path, &f), EXIT_DONE);
	fd = open(path, O_WRONLY);
	close(fd);
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), -ENODATA);
	fd = open(path, O_WRONLY);
	memset(many, '1', sizeof(many));
	CHECK_EQ(write(fd, many, sizeof(many)), (ssize_t)sizeof(many));
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), -ENODATA);
	close(fd);
	sas_file_close(s);
}

TEST(a_file_may_be_written_later)
{
	char path[200], line[64];
	struct sas_file *s = NULL;
	struct failure f = { 0 };
	int fd;

	snprintf(path, sizeof(path), "%s/file", test_tmpdir());
	CHECK_EQ(sas_file_open(&s, path, &f), EXIT_NO_SUCH);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(sas_file_open(&s, path, &f), EXIT_DONE);
	CHECK_EQ(sas_file_fd(s), -1);
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), -EAGAIN);
	CHECK_EQ(write(fd, "none\n", 5), 5);
	CHECK_EQ(sas_file_read(s, line, sizeof(line)), 0);
	CHECK_STR(line, "none");
	close(fd);
	sas_file_close(s);
}
