/*
 * Varlink interface descriptions: parsed once, then values are checked against
 * them. The grammar is that of varlink.org/Interface-Definition.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

struct json_t;
struct varlink_idl;

struct varlink_idl_error {
	unsigned int line, column;
	char text[160];
};

enum {
	IDL_E_UNKNOWN = 1, /* the value has a member that the description lacks */
	IDL_E_MISSING,	   /* a member that is not nullable is absent or null */
	IDL_E_TYPE,	   /* a value has another type */
	IDL_E_NO_SUCH,	   /* no such method */
};

/* 0, -EINVAL with *err filled, or -ENOMEM. Nesting is bounded, memory linear in len. */
int varlink_idl_parse(struct varlink_idl **out, const char *text, size_t len,
		      struct varlink_idl_error *err);
const char *varlink_idl_name(const struct varlink_idl *idl); /* "io.handfast.Relay" */
/* The i-th method's name, or NULL beyond the last. */
const char *varlink_idl_method(const struct varlink_idl *idl, size_t i);

/*
 * Check the parameters of a call or of its reply (value is an object; NULL: an empty one). 0 or an
 * IDL_E_ outcome, with the place of the first fault in where: "name", "tunnel.sent.packets",
 * "peers[3].id".
 */
int varlink_idl_check_call(const struct varlink_idl *idl, const char *method,
			   const struct json_t *value, char *where, size_t cap);
int varlink_idl_check_reply(const struct varlink_idl *idl, const char *method,
			    const struct json_t *value, char *where, size_t cap);

struct varlink_idl *varlink_idl_free(struct varlink_idl *idl);
DEFINE_CLEANUP(struct varlink_idl *, varlink_idl_free);
