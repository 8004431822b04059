/*
 * A tunnel as it is declared in YAML, given by a command, or kept in state: each is values within their
 * ranges or an error, and what is kept comes back the same.
 */
#include "pskd/tunnel/spec.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/json.h"
#include "fuzz/lib/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct spec *s)
{
	_cleanup_json_ json_t *j = NULL, *again = NULL;
	_cleanup_(spec_freep) struct spec *copy = NULL;

	/* What is kept has a ledger. */
	if (!*s->ledger)
		strcpy(s->ledger, "t.ledger");
	j = spec_to_json(s);
	assert(j);
	for (size_t i = 0; (s->f.key_file || s->origin == SPEC_PAIRED) && i < spec_schema.n_options; i++)
		fuzz_conf_value(&spec_schema.options[i], (const char *)&s->f + spec_schema.options[i].offset);
	assert(s->f.window % 64 == 0 && s->n_candidates <= IDENTITY_CANDIDATES_MAX);
	assert(spec_from_json(&copy, s->name, j) == 0 && copy->origin == s->origin);
	assert(strcmp(copy->ledger, s->ledger) == 0 && strcmp(copy->last_endpoint, s->last_endpoint) == 0);
	/* Of a declared one the file is the rest. */
	if (s->origin == SPEC_DECLARED)
		return;
	again = spec_to_json(copy);
	assert(again && json_equal(j, again) && spec_same(s, copy));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct json_limits limits = { 1 << 16, 8, 200 };
	_cleanup_(spec_freep) struct spec *declared = NULL, *made = NULL, *kept = NULL;
	_cleanup_json_ json_t *j = NULL;
	struct config_error err = { "" };
	static char path[32];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("tunnel.yaml", 0);
		assert(fd >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (size && *data == '{' && json_parse(&j, (const char *)data, size, &limits) == 0) {
		if (spec_from_json(&kept, "t", j) == 0)
			check(kept);
		if (spec_make(&made, "t", j, &err) == 0)
			check(made);
		else
			fuzz_conf_error(&err);
		return 0;
	}
	assert(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	if (spec_load(&declared, path, "t", &err) == 0)
		check(declared);
	else
		fuzz_conf_error(&err);
	return 0;
}
