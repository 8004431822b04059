/* What spec.c (the table), spec_state.c and spec_change.c share. */
#pragma once

#include "pskd/tunnel/spec.h"

/* As enums of their numbers have them; they end with NULL. */
extern const char *const spec_role_names[], *const spec_peer_names[], *const spec_erase_names[];

/* 0 or -ENOMEM. */
int spec_new(struct spec **out, const char *name, enum spec_origin origin);
/* The keys of a tunnel's file, as JSON, checked like the file itself. 0, or negative with *err. */
int spec_parse_members(struct spec *s, const struct json_t *members, struct config_error *err);
/* The other way; all keys but “enabled”. NULL without memory. */
struct json_t *spec_file_to_json(const struct spec_file *f);
