/* A daemon's configuration file of any content: values that the table allows, or an error of one clean line; nothing leaks. */
#pragma once

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/config.h"

static inline void fuzz_conf_error(const struct config_error *err)
{
	char cleaned[sizeof(err->text)];

	assert(err->text[0]);
	assert(text_clean(cleaned, sizeof(cleaned), err->text, strlen(err->text)) == strlen(err->text));
}

static inline void fuzz_conf_value(const struct config_option *o, const void *at)
{
	const struct config_list *list = at;
	const char *const *string = at;
	uint64_t number;
	int name;

	switch (o->type) {
	case CONFIG_U64:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		memcpy(&number, at, sizeof(number));
		assert(number >= o->min && (!o->max || number <= o->max));
		break;
	case CONFIG_ENUM:
		memcpy(&name, at, sizeof(name));
		for (int i = 0; i <= name; i++)
			assert(o->names[i]);
		break;
	case CONFIG_LIST:
		for (size_t i = 0; i < list->n; i++)
			assert(list->v[i] && (!o->check || !o->check(list->v[i])));
		break;
	case CONFIG_STRING:
		assert(!*string || !o->check || !o->check(*string));
		break;
	default:
		break;
	}
}

/* The values stay, for what a daemon makes of them; false when there are none. config_done() when they were. */
static inline bool fuzz_conf(const struct config_schema *s, void *values, const uint8_t *data, size_t size)
{
	struct config_error err = { "" };

	if (config_parse(s, values, "f.yaml", (const char *)data, size, &err)) {
		fuzz_conf_error(&err);
		return false;
	}
	for (size_t i = 0; i < s->n_options; i++)
		fuzz_conf_value(&s->options[i], (const char *)values + s->options[i].offset);
	return true;
}
