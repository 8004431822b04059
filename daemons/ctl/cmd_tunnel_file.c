/* handfast tunnel generate, verify: key files, without any daemon. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/keyfile_io.h"
#include "crypto/secret.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/terminal.h"

enum { BAR_CELLS = 30, TICK_MS = 100, EVENT_MS = 1000 };

struct work {
	struct ctl *c;
	const char *doing;
	struct progress progress;
	uint64_t begun_ms, shown_ms;
};

static void show(struct work *w, uint64_t done, uint64_t total)
{
	double fraction = total ? (double)done / (double)total : 1;
	uint64_t spent = clock_now_ms() - w->begun_ms;
	char bar[4 * BAR_CELLS + 8], have[32], all[32], left[48] = "";

	bar_format(bar, sizeof(bar), &w->progress.style, fraction, BAR_CELLS);
	text_format_size(have, sizeof(have), done);
	text_format_size(all, sizeof(all), total);
	if (spent > 2000 && done > 0) {
		char span[32];

		text_format_duration(span, sizeof(span),
				     (uint64_t)((double)spent * (1 / fraction - 1)));
		snprintf(left, sizeof(left), ", %s left", span);
	}
	progress_tick(&w->progress, "%s %s %3.0f %%  %s of %s%s", w->doing, bar, fraction * 100, have,
		      all, left);
}

static int on_progress(uint64_t done, uint64_t total, void *arg)
{
	struct work *w = arg;
	uint64_t now = clock_now_ms();

	if (interrupt_seen())
		return 1;
	if (now - w->shown_ms >= (w->c->json ? EVENT_MS : TICK_MS)) {
		w->shown_ms = now;
		if (w->c->json)
			ctl_event(w->c, "progress",
				  json_pack("{s:I, s:I}", "done", (json_int_t)done, "total",
					    (json_int_t)total));
		else
			show(w, done, total);
	}
	return 0;
}

static void work_begin(struct work *w, struct ctl *c, const char *doing)
{
	*w = (struct work){ .c = c, .doing = doing, .begun_ms = clock_now_ms() };
	w->shown_ms = w->begun_ms;
	progress_init(&w->progress, c->want_color);
	interrupt_arm();
}

static json_t *result_of(const char *path, const uint8_t hash[static KEYFILE_HASH_LEN],
			 const struct keyfile_capacity *cap)
{
	char hex[2 * KEYFILE_HASH_LEN + 1];

	hex_format(hex, hash, KEYFILE_HASH_LEN);
	return json_pack("{s:s%, s:s, s:I, s:I, s:I, s:I}", "file", path, strlen(path), "sha256", hex,
			 "bytes", (json_int_t)cap->bytes, "slots", (json_int_t)cap->slots, "packets",
			 (json_int_t)cap->packets, "traffic_bytes", (json_int_t)cap->traffic_bytes);
}

static void capacity_text(const struct ctl *c, const json_t *result)
{
	char packets[40], traffic[32], size[32];

	text_format_size(size, sizeof(size), (uint64_t)json_get_int(result, "bytes", 0));
	count_format(packets, sizeof(packets), (uint64_t)json_get_int(result, "packets", 0));
	text_format_size(traffic, sizeof(traffic),
			 (uint64_t)json_get_int(result, "traffic_bytes", 0));
	fact(stdout, &c->style, "size", "%s, %lld slots", size,
	     (long long)json_get_int(result, "slots", 0));
	fact(stdout, &c->style, "good for", "%s packets in each direction, about %s", packets,
	     traffic);
	fact(stdout, &c->style, "SHA-256", "%s", clean_member(result, "sha256"));
}

static void generate_text(const struct ctl *c, const json_t *result)
{
	const char *path = clean_text(ctl_argument(c, 0));

	printf("%s is made, its checksum is in %s.sha256.\n", path, path);
	capacity_text(c, result);
	printf("Carry both to the other device by hand; whoever copies the file can read the tunnel.\n");
}

static void verify_text(const struct ctl *c, const json_t *result)
{
	printf("%s is whole.\n", clean_text(ctl_argument(c, 0)));
	capacity_text(c, result);
}

/* detail is the library's sentence with the path in it. */
static int file_failure(struct ctl *c, int r, const char *detail)
{
	const char *path = clean_text(ctl_argument(c, 0));

	switch (r) {
	case KEYFILE_E_EXISTS:
		return ctl_fail(c, EXIT_FAILED, ERROR_FILE_EXISTS,
				"A key file is never overwritten: choose another name.", "%s", detail);
	case KEYFILE_E_SIZE:
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "At least 120 bytes, at most 1 TiB.", "%s",
				detail);
	case KEYFILE_E_NO_SPACE:
		return ctl_fail(c, EXIT_FAILED, ERROR_FILE, NULL, "%s", detail);
	case KEYFILE_E_STOPPED:
		return ctl_fail(c, interrupt_exit(), ERROR_INTERRUPTED, NULL,
				"interrupted; nothing was left behind");
	case KEYFILE_E_NO_SIDECAR:
		return ctl_fail(c, EXIT_NO_SUCH, ERROR_NO_SUCH_FILE,
				"It is made beside the key file; carry both.", "%s", detail);
	case -ENOENT:
	case -ENOTDIR:
		return ctl_fail(c, EXIT_NO_SUCH, ERROR_NO_SUCH_FILE, NULL, "%s", detail);
	case -EACCES:
	case -EPERM:
		return ctl_fail(c, EXIT_PERMISSION, ERROR_FILE, NULL, "%s", detail);
	default:
		if (r > 0)
			return ctl_fail(c, EXIT_VERIFICATION, ERROR_VERIFICATION,
					"Do not use it; carry it again.", "%s", detail);
		return ctl_fail(c, EXIT_FAILED, ERROR_FILE, NULL, "%s", *detail ? detail : path);
	}
}

int cmd_tunnel_generate(struct ctl *c)
{
	const char *path = ctl_argument(c, 0), *size_text = ctl_argument(c, 1);
	uint8_t hash[KEYFILE_HASH_LEN];
	struct keyfile_capacity cap;
	char detail[512] = "";
	struct work w;
	uint64_t size;
	int r;

	if (text_parse_size(&size, size_text) != 0)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "For example 10M, 500MB, 1G.",
				"“%s” is no size", clean_text(size_text));
	if (crypto_init() != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL,
				"the cryptographic library does not start");
	work_begin(&w, c, "making");
	r = keyfile_make(path, size, on_progress, &w, hash, &cap, detail, sizeof(detail));
	progress_clear(&w.progress);
	if (r)
		return file_failure(c, r, detail);
	return ctl_result(c, result_of(path, hash, &cap), generate_text);
}

int cmd_tunnel_verify(struct ctl *c)
{
	const char *path = ctl_argument(c, 0);
	uint8_t hash[KEYFILE_HASH_LEN];
	struct keyfile_capacity cap;
	char detail[512] = "";
	struct work w;
	int r;

	if (crypto_init() != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL,
				"the cryptographic library does not start");
	work_begin(&w, c, "checking");
	r = keyfile_verify(path, on_progress, &w, hash, &cap, detail, sizeof(detail));
	progress_clear(&w.progress);
	if (r)
		return file_failure(c, r, detail);
	return ctl_result(c, result_of(path, hash, &cap), verify_text);
}
