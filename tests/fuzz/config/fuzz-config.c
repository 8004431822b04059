/* Any file: values within their ranges, or an error of one clean line; nothing leaks. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct settings {
	char *name, *path;
	struct config_list listen;
	bool open;
	uint64_t port, size, ttl_ms;
	int mode;
};

static const char *check_name(const char *value)
{
	return strlen(value) > 20 ? "a shorter name" : NULL;
}

static const char *const modes[] = { "open", "token", NULL };

#define AT(member) offsetof(struct settings, member)

static const struct config_option options[] = {
	{ .key = "name", .type = CONFIG_STRING, .offset = AT(name), .check = check_name },
	{ .key = "path", .type = CONFIG_PATH, .offset = AT(path), .def = "/tmp" },
	{ .key = "listen", .type = CONFIG_LIST, .offset = AT(listen), .def = "[a]", .check = check_name },
	{ .key = "open", .type = CONFIG_BOOL, .offset = AT(open), .def = "no" },
	{ .key = "port", .type = CONFIG_U64, .offset = AT(port), .def = "1", .min = 1, .max = 65535 },
	{ .key = "limits.size", .type = CONFIG_SIZE, .offset = AT(size), .def = "1K", .min = 1 },
	{ .key = "limits.more.ttl", .type = CONFIG_DURATION, .offset = AT(ttl_ms), .def = "1s", .max = 99000 },
	{ .key = "mode", .type = CONFIG_ENUM, .offset = AT(mode), .def = "open", .names = modes },
};

static const struct config_schema schema = { "f.yaml", options, ARRAY_SIZE(options),
					     sizeof(struct settings) };

static void check_values(const struct settings *s)
{
	if (s->port < 1 || s->port > 65535 || s->size < 1 || s->ttl_ms > 99000 || s->mode < 0 ||
	    s->mode > 1 || s->path[0] != '/' || (s->name && check_name(s->name)))
		abort();
	for (size_t i = 0; i < s->listen.n; i++)
		if (check_name(s->listen.v[i]))
			abort();
	if (!s->listen.v || s->listen.v[s->listen.n])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct settings empty;
	struct settings s = { 0 };
	struct config_error err = { "" };
	char cleaned[sizeof(err.text)];

	if (config_parse(&schema, &s, "f.yaml", (const char *)data, size, &err) == 0) {
		check_values(&s);
		config_done(&schema, &s);
	} else if (!err.text[0] ||
		   text_clean(cleaned, sizeof(cleaned), err.text, strlen(err.text)) != strlen(err.text)) {
		abort();
	}
	if (memcmp(&s, &empty, sizeof(s)) != 0)
		abort();
	return 0;
}
