/* Files and folders of common/base on a machine without memory, room, or a readable disk. */
#include "unit/fail/fail.h"
#include "unit/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/draft.h"
#include "base/file.h"
#include "base/json.h"

static const char old_text[] = "what was there before", new_text[] = "what comes after it";

static const char *path_of(const char *name)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%s", test_tmpdir(), name);
	return path;
}

static void check_text(const char *path, const char *wanted)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	CHECK_EQ(file_read(&text, &len, path, 1000), 0);
	CHECK_STR(text, wanted);
}

static size_t files(void)
{
	size_t n;
	glob_t g;

	CHECK_EQ(glob(path_of("{*,.[!.]*}"), GLOB_BRACE, NULL, &g), 0);
	n = g.gl_pathc;
	globfree(&g);
	return n;
}

static void write_each(enum fail_kind kind, int (*fn)(const char *, const void *, size_t, mode_t))
{
	char path[300];

	strcpy(path, path_of("file"));
	CHECK_EQ(file_write_atomic(path, old_text, strlen(old_text), 0600), 0);
	FAIL_EACH(kind) {
		int r = fn(path, new_text, strlen(new_text), 0600);

		/* After the name was changed only its being durable may be in doubt. */
		if (!fail_end()) {
			CHECK_EQ(r, 0);
			check_text(path, new_text);
		} else if (r) {
			_cleanup_free_ char *text = NULL;
			size_t len;

			CHECK(r < 0);
			CHECK_EQ(file_read(&text, &len, path, 1000), 0);
			CHECK(strcmp(text, old_text) == 0 || strcmp(text, new_text) == 0);
		}
		CHECK_EQ(files(), 1);
	}
}

TEST(i9_a_file_is_replaced_whole_or_not_at_all_on_a_full_disk)
{
	write_each(FAIL_WRITE, file_write_atomic);
}

TEST(i9_a_file_is_replaced_whole_or_not_at_all_without_memory)
{
	write_each(FAIL_MEMORY, file_write_atomic);
}

TEST(i9_a_rewritten_file_is_whole_on_a_full_disk)
{
	write_each(FAIL_WRITE, file_rewrite_atomic);
}

TEST(i9_a_rewritten_file_is_whole_where_its_old_self_cannot_be_read)
{
	write_each(FAIL_READ, file_rewrite_atomic);
}

TEST(short_writes_and_reads_are_gone_on_with)
{
	char path[300];

	strcpy(path, path_of("file"));
	fail_begin(FAIL_SHORT, 0);
	CHECK_EQ(file_write_atomic(path, new_text, strlen(new_text), 0600), 0);
	check_text(path, new_text);
	fail_end();
}

TEST(reading_fails_cleanly_wherever_it_fails)
{
	static const enum fail_kind kinds[] = { FAIL_READ, FAIL_MEMORY };
	char path[300];

	strcpy(path, path_of("file"));
	CHECK_EQ(file_write_atomic(path, old_text, strlen(old_text), 0600), 0);
	for (size_t i = 0; i < 2; i++) {
		FAIL_EACH(kinds[i]) {
			char *text = NULL;
			size_t len;
			int r = file_read(&text, &len, path, 1000);

			CHECK_EQ(r, !fail_end() ? 0 : kinds[i] == FAIL_READ ? -EIO : -ENOMEM);
			free(text);
		}
	}
}

TEST(folders_are_made_or_it_is_said)
{
	FAIL_EACH(FAIL_WRITE) {
		char path[300];
		int r;

		snprintf(path, sizeof(path), "%s/a%u/b/c", test_tmpdir(), fail_n_);
		r = file_mkdirs(path, 0700);
		/* A folder that is there already need not be made. */
		CHECK(fail_end() || r == 0);
		CHECK_EQ(access(path, F_OK) == 0, r == 0);
	}
}

TEST(i9_a_draft_that_fails_leaves_no_name)
{
	FAIL_EACH(FAIL_WRITE) {
		_cleanup_(draft_done) struct draft d = DRAFT_NONE;
		int r = draft_open(&d, path_of("draft"), 0600);

		if (!r)
			r = file_pwrite_all(d.fd, new_text, strlen(new_text), 0);
		if (!r)
			r = draft_publish(&d, path_of("draft"));
		/* Where unnamed files fail, a named one takes its place. */
		if (!fail_end() || !r) {
			check_text(path_of("draft"), new_text);
			unlink(path_of("draft"));
		} else {
			CHECK(access(path_of("draft"), F_OK) < 0);
		}
	}
}

/* Strings of all lengths and escapes, so that each way of reading one meets the end of memory. */
TEST(i4_json_is_read_right_or_not_at_all_without_memory)
{
	static const struct json_limits limits = { .max_bytes = 100000, .max_depth = 4, .max_keys = 200 };

	for (size_t n = 0; n < 140; n++) {
		char word[200] = "", text[1000];

		for (size_t i = 0; i < n; i++)
			strcat(word, i % 7 == 3 ? "n" : "x");
		snprintf(text, sizeof(text), "{\"a\": \"%s\\u00e4\\n\\\\%s\", \"b\\t%s\": [1, \"%s\"]}", word, word, word, word);
		FAIL_EACH(FAIL_MEMORY) {
			_cleanup_json_ struct json_t *j = NULL;
			int r = json_parse(&j, text, strlen(text), &limits);
			bool failed = fail_end();

			CHECK_EQ(r, failed ? -ENOMEM : 0);
			CHECK(failed == (j == NULL));
			if (!failed)
				CHECK_EQ(strlen(json_get_str(j, "a")), 2 * n + 4);
		}
	}
}
