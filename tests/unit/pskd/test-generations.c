/* Specs with more than one key file: what state remembers, and what a file that declares a tunnel has to say beside it. */
#include "pskd/tunnel/spec.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "unit/lib/test.h"

static struct spec *declared(const char *key_file)
{
	struct config_error err = { "" };
	struct spec *s = NULL;
	char path[300], text[400];

	snprintf(path, sizeof(path), "%s/x.yaml", test_tmpdir());
	snprintf(text, sizeof(text), "key_file: %s\nrole: responder\nerase: zero\n", key_file);
	CHECK_EQ(file_write_atomic(path, text, strlen(text), 0600), 0);
	CHECK_EQ(spec_load(&s, path, "x", &err), 0);
	return s;
}

static void stage(struct spec *s, const char *file, const char *ledger)
{
	s->staged_file = strdup(file);
	CHECK(s->staged_file != NULL);
	snprintf(s->staged_ledger, sizeof(s->staged_ledger), "%s", ledger);
}

/* One that runs with /one, has /two staged, and knows where its addresses come from. */
static struct spec *sample(void)
{
	struct spec *s = declared("/one");

	snprintf(s->ledger, sizeof(s->ledger), "x.ledger");
	stage(s, "/two", "x.1.ledger");
	s->fingerprint.is_known = s->staged_fingerprint.is_known = true;
	memset(s->fingerprint.b, 1, sizeof(s->fingerprint.b));
	memset(s->staged_fingerprint.b, 2, sizeof(s->staged_fingerprint.b));
	s->has_first = true;
	memset(s->first_fingerprint, 7, sizeof(s->first_fingerprint));
	memset(s->first_hint, 8, sizeof(s->first_hint));
	return s;
}

static struct spec *stored(const struct spec *s)
{
	_cleanup_json_ json_t *j = spec_to_json(s);
	struct spec *back = NULL;

	CHECK_EQ(spec_from_json(&back, "x", j), 0);
	return back;
}

/* What a restart makes of it when the tunnel's file names key_file. */
static struct spec *restarted(const struct spec *s, const char *key_file)
{
	_cleanup_(spec_freep) struct spec *was = stored(s);
	struct spec *next = declared(key_file);

	CHECK_EQ(spec_take_generations(next, was), 0);
	return next;
}

TEST(i9_a_staged_file_comes_back)
{
	_cleanup_(spec_freep) struct spec *s = sample(), *next = restarted(s, "/one");

	CHECK_STR(next->f.key_file, "/one");
	CHECK_STR(next->staged_file, "/two");
	CHECK_STR(next->staged_ledger, "x.1.ledger");
	CHECK(next->has_first && !next->declared_file);
	CHECK_MEM(next->first_fingerprint, s->first_fingerprint, sizeof(s->first_fingerprint));
	CHECK_MEM(next->first_hint, s->first_hint, sizeof(s->first_hint));
}

TEST(i9_a_switch_comes_back_though_the_tunnels_file_names_the_one_before)
{
	_cleanup_(spec_freep) struct spec *s = sample(), *next = NULL, *again = NULL;

	CHECK_EQ(spec_switch(s), 0);
	CHECK_STR(s->f.key_file, "/two");
	CHECK_STR(s->ledger, "x.1.ledger");
	CHECK(!s->staged_file && !s->staged_ledger[0]);
	next = restarted(s, "/one");
	CHECK_STR(next->f.key_file, "/two");
	CHECK_STR(next->declared_file, "/one");
	CHECK_EQ(next->n_retired, 1);
	CHECK_STR(next->retired[0].key_file, "/one");
	CHECK_STR(next->retired[0].ledger, "x.ledger");
	CHECK_EQ(next->retired[0].erase, KEYS_ERASE_ZERO);
	/* And the next switch from there. */
	snprintf(next->ledger, sizeof(next->ledger), "x.1.ledger");
	stage(next, "/three", "x.2.ledger");
	CHECK_EQ(spec_switch(next), 0);
	again = restarted(next, "/one");
	CHECK_STR(again->f.key_file, "/three");
	CHECK_EQ(again->n_retired, 2);
}

TEST(a_tunnels_file_may_name_the_new_one_before_and_after_the_switch)
{
	_cleanup_(spec_freep) struct spec *s = sample(), *ahead = restarted(s, "/two"), *after = NULL;

	CHECK_STR(ahead->f.key_file, "/one");
	CHECK_STR(ahead->staged_file, "/two");
	CHECK_EQ(spec_switch(ahead), 0);
	CHECK_STR(ahead->f.key_file, "/two");
	CHECK(!ahead->declared_file);
	CHECK_EQ(spec_switch(s), 0);
	after = restarted(s, "/two");
	CHECK_STR(after->f.key_file, "/two");
	CHECK(!after->declared_file && after->has_first);
}

TEST(a_tunnels_file_that_names_a_third_one_begins_anew_but_erasing_goes_on)
{
	_cleanup_(spec_freep) struct spec *s = sample(), *next = NULL;

	CHECK_EQ(spec_switch(s), 0);
	stage(s, "/four", "x.3.ledger");
	next = restarted(s, "/three");
	CHECK_STR(next->f.key_file, "/three");
	CHECK(!next->staged_file && !next->has_first && !next->declared_file);
	CHECK_EQ(next->n_retired, 1);
}

static void check_fingerprint(const struct spec_fingerprint *f, int c)
{
	uint8_t wanted[SPEC_FINGERPRINT_LEN];

	memset(wanted, c, sizeof(wanted));
	CHECK(f->is_known);
	CHECK_MEM(f->b, wanted, sizeof(wanted));
}

/* Where a ledger is lost, the state knows which file it was of. */
TEST(i1_each_file_keeps_its_fingerprint_over_switches_and_restarts)
{
	_cleanup_(spec_freep) struct spec *s = sample(), *next = NULL, *was = NULL, *back = NULL;

	was = stored(s);
	check_fingerprint(&was->fingerprint, 1);
	check_fingerprint(&was->staged_fingerprint, 2);
	next = restarted(s, "/one");
	check_fingerprint(&next->staged_fingerprint, 2);
	CHECK_EQ(spec_switch(s), 0);
	check_fingerprint(&s->fingerprint, 2);
	CHECK(!s->staged_fingerprint.is_known);
	back = stored(s);
	check_fingerprint(&back->fingerprint, 2);
	check_fingerprint(&back->retired[0].fingerprint, 1);
	spec_switch_back(s);
	check_fingerprint(&s->fingerprint, 1);
	check_fingerprint(&s->staged_fingerprint, 2);
}

TEST(a_state_without_fingerprints_is_read)
{
	_cleanup_(spec_freep) struct spec *s = sample(), *back = NULL;

	s->fingerprint.is_known = s->staged_fingerprint.is_known = false;
	CHECK_EQ(spec_switch(s), 0);
	back = stored(s);
	CHECK(!back->fingerprint.is_known && !back->retired[0].fingerprint.is_known);
}

TEST(a_switch_that_was_not_written_is_taken_back_whole)
{
	_cleanup_(spec_freep) struct spec *s = sample();
	_cleanup_json_ json_t *before = spec_to_json(s), *after = NULL;

	CHECK_EQ(spec_switch(s), 0);
	spec_switch_back(s);
	after = spec_to_json(s);
	CHECK_STR(json_get_str(after, "key_file"), "/one");
	CHECK_STR(json_get_str(after, "ledger"), "x.ledger");
	CHECK(json_equal(json_object_get(before, "staged"), json_object_get(after, "staged")));
	CHECK(!json_object_get(after, "retired"));
}

TEST(i4_earlier_files_have_an_end)
{
	_cleanup_(spec_freep) struct spec *s = declared("/0");

	for (unsigned int i = 0; i < SPEC_RETIRED_MAX; i++) {
		char file[16];

		snprintf(file, sizeof(file), "/%u", i + 1);
		stage(s, file, "l");
		CHECK_EQ(spec_switch(s), 0);
	}
	stage(s, "/more", "l");
	CHECK_EQ(spec_switch(s), -EBUSY);
	CHECK_STR(s->f.key_file, "/8");
	spec_drop_retired(s, 0);
	CHECK_STR(s->retired[0].key_file, "/1");
	CHECK_EQ(spec_switch(s), 0);
}

TEST(i4_broken_generations_are_refused)
{
	static const char *const bad[] = {
		"{\"staged\": {\"key_file\": \"two\", \"ledger\": \"l\"}}",
		"{\"staged\": {\"key_file\": \"/two\", \"ledger\": \"../l\"}}",
		"{\"staged\": {\"key_file\": \"/two\", \"ledger\": \"\"}}",
		"{\"staged\": {\"key_file\": \"/two\"}}",
		"{\"staged\": 7}",
		"{\"fingerprint\": 7}",
		"{\"fingerprint\": \"00\"}",
		"{\"staged\": {\"key_file\": \"/two\", \"ledger\": \"l\", \"fingerprint\": \"no\"}}",
		"{\"retired\": [{\"key_file\": \"/one\", \"ledger\": \"l\", \"erase\": \"zero\", \"fingerprint\": 1}]}",
		"{\"first\": {\"fingerprint\": \"00\", \"hint\": \"0011223344556677\"}}",
		"{\"first\": 1}",
		"{\"retired\": [{\"key_file\": \"/one\", \"ledger\": \"l\", \"erase\": \"burn\"}]}",
		"{\"retired\": [{\"key_file\": \"/one\", \"ledger\": \"l\"}]}",
		"{\"retired\": [1]}",
		"{\"retired\": [{\"key_file\": \"/one\", \"ledger\": \"/etc/passwd\", \"erase\": \"zero\"}]}",
	};
	_cleanup_(spec_freep) struct spec *s = declared("/one");

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_json_ json_t *j = spec_to_json(s), *more = json_loads(bad[i], 0, NULL);
		struct spec *back = NULL;

		CHECK(more != NULL);
		json_object_update(j, more);
		CHECK_EQ(spec_from_json(&back, "x", j), -EBADMSG);
	}
}

TEST(i4_more_earlier_files_than_there_may_be_are_refused)
{
	_cleanup_(spec_freep) struct spec *s = declared("/one");
	_cleanup_json_ json_t *j = spec_to_json(s);
	json_t *list = json_array();
	struct spec *back = NULL;

	for (int i = 0; i <= SPEC_RETIRED_MAX; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "key_file", "/k", "ledger", "l", "erase", "zero"));
	json_object_set_new(j, "retired", list);
	CHECK_EQ(spec_from_json(&back, "x", j), -EBADMSG);
}
