/* A look into a file whose table of options is somebody else's. */
#include <stdio.h>
#include <string.h>

#include <yaml.h>

#include "config/config.h"

enum { DEPTH_MAX = 32 };

/* Where in the file the parser is: inside of which mappings and lists, and what comes next there. */
struct place {
	size_t depth;
	struct {
		bool is_mapping, key_next;
	} in[DEPTH_MAX + 1]; /* [0] is outside of all */
	bool matched;	     /* the key that was just read is the one */
};

/* True when the scalar is the value that is looked for. */
static bool on_scalar(struct place *p, const char *text, const char *key)
{
	if (!p->in[p->depth].is_mapping)
		return false;
	if (p->in[p->depth].key_next) {
		p->matched = strcmp(text, key) == 0;
		p->in[p->depth].key_next = false;
		return false;
	}
	p->in[p->depth].key_next = true;
	return p->matched;
}

/* False: nested too deeply. */
static bool on_start(struct place *p, bool is_mapping)
{
	/* It is the value of the key before it. */
	p->in[p->depth].key_next = true;
	p->matched = false;
	if (p->depth == DEPTH_MAX)
		return false;
	p->depth++;
	p->in[p->depth].is_mapping = is_mapping;
	p->in[p->depth].key_next = true;
	return true;
}

static bool find(yaml_parser_t *parser, const char *key, char *out, size_t cap)
{
	struct place p = { .depth = 0 };
	bool found = false, more = true;
	yaml_event_t e;

	while (more && !found && yaml_parser_parse(parser, &e)) {
		switch (e.type) {
		case YAML_SCALAR_EVENT:
			found = on_scalar(&p, (const char *)e.data.scalar.value, key);
			if (found)
				snprintf(out, cap, "%s", (const char *)e.data.scalar.value);
			break;
		case YAML_MAPPING_START_EVENT:
		case YAML_SEQUENCE_START_EVENT:
			more = on_start(&p, e.type == YAML_MAPPING_START_EVENT);
			break;
		case YAML_MAPPING_END_EVENT:
		case YAML_SEQUENCE_END_EVENT:
			p.depth--;
			break;
		case YAML_ALIAS_EVENT: /* our files have none */
		case YAML_STREAM_END_EVENT:
			more = false;
			break;
		default:
			break;
		}
		yaml_event_delete(&e);
	}
	return found;
}

bool config_find(const char *path, const char *key, char *out, size_t cap)
{
	FILE *f = fopen(path, "re");
	yaml_parser_t parser;
	bool found = false;

	if (!f)
		return false;
	if (yaml_parser_initialize(&parser)) {
		yaml_parser_set_input_file(&parser, f);
		found = find(&parser, key, out, cap);
		yaml_parser_delete(&parser);
	}
	fclose(f);
	return found;
}
