/* How far work on a large file is: a bar on a terminal, "progress" events with --json. */
#pragma once

#include <stdint.h>

#include "ctl/output_text.h"

struct ctl;

struct file_progress {
	struct ctl *c;
	const char *doing;
	struct progress progress;
	uint64_t begun_ms, shown_ms;
};

/* doing: a word before the bar, which is not copied. */
void file_progress_begin(struct file_progress *p, struct ctl *c, const char *doing);
/* done of total bytes; as often as one likes, for it is shown ten times a second (with --json: once) at most. */
void file_progress_tell(struct file_progress *p, uint64_t done, uint64_t total);
/* Since it began. */
uint64_t file_progress_took_ms(const struct file_progress *p);
/* Take the bar off the screen. */
void file_progress_end(struct file_progress *p);
