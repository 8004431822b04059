/* One line that is secret: from a file, from a descriptor, or typed and not shown. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/failure.h"

struct secret;

struct secret_question {
	const char *name;   /* "passphrase" */
	const char *ask;    /* "Passphrase for the backup: " */
	const char *option; /* what a script says instead: "--passphrase-file FILE" */
	const char *file;   /* its first line; "-": of standard input. NULL: not given */
	const char *fd;	    /* a descriptor's number, NULL: not given */
	bool twice;	    /* typed again, since nobody saw it */
	size_t min, max;    /* bytes */
	const char *why;    /* the hint beside "a passphrase has 8 to 1024 characters"; may be NULL */
};

/* EXIT_DONE with *out, or an exit code with *f filled. */
int secret_line_get(struct secret **out, const struct secret_question *q, struct failure *f);
