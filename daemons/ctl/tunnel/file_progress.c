/* The speed is that so far, and the time left what the rest takes at it; neither is guessed at the beginning. */
#include "ctl/tunnel/file_progress.h"

#include <jansson.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"

#include "ctl/ctl.h"

enum { BAR_CELLS = 16, TICK_MS = 100, EVENT_MS = 1000, RATE_AFTER_MS = 300, GUESS_AFTER_MS = 1000 };

void file_progress_begin(struct file_progress *p, struct ctl *c, const char *doing)
{
	*p = (struct file_progress){ .c = c, .doing = doing, .begun_ms = clock_now_ms() };
	p->shown_ms = p->begun_ms;
	progress_init(&p->progress, c->want_color);
}

static uint64_t rate_of(uint64_t done, uint64_t spent_ms)
{
	return spent_ms < RATE_AFTER_MS ? 0 : (uint64_t)((double)done * 1000 / (double)spent_ms);
}

uint64_t file_progress_took_ms(const struct file_progress *p)
{
	return clock_now_ms() - p->begun_ms;
}

static void show(struct file_progress *p, uint64_t done, uint64_t total)
{
	double fraction = total ? (double)done / (double)total : 1;
	uint64_t spent = clock_now_ms() - p->begun_ms;
	char bar[4 * BAR_CELLS + 8], have[32], all[32], speed[48] = "", left[48] = "";

	bar_format(bar, sizeof(bar), &p->progress.style, fraction, BAR_CELLS);
	text_format_size(have, sizeof(have), done);
	text_format_size(all, sizeof(all), total);
	if (rate_of(done, spent) > 0) {
		char rate[32];

		text_format_size(rate, sizeof(rate), rate_of(done, spent));
		snprintf(speed, sizeof(speed), ", %s/s", rate);
	}
	if (spent > GUESS_AFTER_MS && done > 0) {
		char span[32];

		text_format_duration(span, sizeof(span), (uint64_t)((double)spent * (1 / fraction - 1)));
		snprintf(left, sizeof(left), ", %s left", span);
	}
	progress_tick(&p->progress, "%s %s %3.0f %%  %s of %s%s%s", p->doing, bar, fraction * 100, have,
		      all, speed, left);
}

void file_progress_tell(struct file_progress *p, uint64_t done, uint64_t total)
{
	uint64_t now = clock_now_ms();

	if (now - p->shown_ms < (p->c->json ? EVENT_MS : TICK_MS))
		return;
	p->shown_ms = now;
	if (p->c->json)
		ctl_event(p->c, "progress",
			  json_pack("{s:I, s:I, s:I}", "done", (json_int_t)done, "total", (json_int_t)total,
				    "bytes_per_s", (json_int_t)rate_of(done, now - p->begun_ms)));
	else
		show(p, done, total);
}

void file_progress_end(struct file_progress *p)
{
	progress_clear(&p->progress);
}
