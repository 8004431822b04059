/*
 * Varlink interface descriptions: parsed once at start, then the judge of every call's
 * parameters. Grammar: https://varlink.org/Interface-Definition.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

struct json_t;
struct varlink_idl;

/* Parse a description. 0; -EINVAL with *line (from 1) where it stops making sense; -ENOMEM. */
int varlink_idl_parse(struct varlink_idl **out, const char *text, unsigned int *line);

/* The interface's name. */
const char *varlink_idl_name(const struct varlink_idl *idl);

enum { VARLINK_IDL_E_NO_METHOD = 1, VARLINK_IDL_E_PARAMETER };

/*
 * Check the parameters (an object) of a call: known names, right types, every
 * non-nullable one there. 0, VARLINK_IDL_E_NO_METHOD, or VARLINK_IDL_E_PARAMETER with *which
 * naming it (valid while idl and params live).
 */
int varlink_idl_check(const struct varlink_idl *idl, const char *method, const struct json_t *params,
		      const char **which);

struct varlink_idl *varlink_idl_free(struct varlink_idl *idl);
DEFINE_CLEANUP(struct varlink_idl *, varlink_idl_free);
