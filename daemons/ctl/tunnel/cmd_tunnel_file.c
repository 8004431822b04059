/* handfast tunnel generate, verify: key files, without any daemon. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/keyfile_io.h"
#include "crypto/secret.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/terminal.h"
#include "ctl/tunnel/file_progress.h"

enum { TOLD_AFTER_MS = 300 };

static int on_progress(uint64_t done, uint64_t total, void *arg)
{
	if (interrupt_seen())
		return 1;
	file_progress_tell(arg, done, total);
	return 0;
}

static json_t *result_of(const char *path, const uint8_t hash[static KEYFILE_HASH_LEN],
			 const struct keyfile_capacity *cap, const struct file_progress *p)
{
	char hex[2 * KEYFILE_HASH_LEN + 1];

	hex_format(hex, hash, KEYFILE_HASH_LEN);
	return json_pack("{s:s%, s:s, s:I, s:I, s:I, s:I, s:I}", "file", path, strlen(path), "sha256", hex,
			 "took_ms", (json_int_t)file_progress_took_ms(p), "bytes", (json_int_t)cap->bytes, "slots", (json_int_t)cap->slots, "packets",
			 (json_int_t)cap->packets, "traffic_bytes", (json_int_t)cap->traffic_bytes);
}

static void capacity_text(const struct ctl *c, const json_t *result)
{
	uint64_t bytes = (uint64_t)json_get_int(result, "bytes", 0), took_ms = (uint64_t)json_get_int(result, "took_ms", 0);
	char packets[40], traffic[32], size[32], rate[32];

	text_format_size(size, sizeof(size), bytes);
	count_format(packets, sizeof(packets), (uint64_t)json_get_int(result, "packets", 0));
	text_format_size(traffic, sizeof(traffic),
			 (uint64_t)json_get_int(result, "traffic_bytes", 0));
	fact(stdout, &c->style, "size", "%s, %lld slot%s", size,
	     (long long)json_get_int(result, "slots", 0), json_get_int(result, "slots", 0) == 1 ? "" : "s");
	fact(stdout, &c->style, "good for", "%s packets in each direction, about %s", packets,
	     traffic);
	if (took_ms >= TOLD_AFTER_MS) {
		text_format_size(rate, sizeof(rate), bytes * 1000 / took_ms);
		fact(stdout, &c->style, "took", "%.1f s, %s a second", (double)took_ms / 1000, rate);
	}
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
	case KEYFILE_E_MIX:
		return ctl_fail(c, EXIT_VERIFICATION, ERROR_VERIFICATION,
				"Nothing was made. Without --mix the kernel's generator is used alone, which is sound.", "%s", detail);
	case KEYFILE_E_STOPPED:
		return ctl_fail(c, interrupt_exit(), ERROR_INTERRUPTED, NULL,
				"interrupted; nothing was left behind");
	case KEYFILE_E_BAD_SIDECAR:
		return ctl_fail(c, EXIT_VERIFICATION, ERROR_VERIFICATION,
				"Nothing was compared: both files keep the names that they were made with, and the checksum is carried beside its file.",
				"%s", detail);
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
	struct file_progress p;
	uint64_t size;
	int r;

	if (text_parse_size(&size, size_text) != 0)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "For example 10M, 500MB, 1G.",
				"“%s” is no size", clean_text(size_text));
	if (crypto_init() != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL,
				"the cryptographic library does not start");
	interrupt_arm();
	file_progress_begin(&p, c, "making");
	r = keyfile_make(path, size, ctl_option(c, "mix"), on_progress, &p, hash, &cap, detail, sizeof(detail));
	file_progress_end(&p);
	if (r)
		return file_failure(c, r, detail);
	return ctl_result(c, result_of(path, hash, &cap, &p), generate_text);
}

int cmd_tunnel_verify(struct ctl *c)
{
	const char *path = ctl_argument(c, 0);
	uint8_t hash[KEYFILE_HASH_LEN];
	struct keyfile_capacity cap;
	char detail[512] = "";
	struct file_progress p;
	int r;

	if (crypto_init() != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL,
				"the cryptographic library does not start");
	interrupt_arm();
	file_progress_begin(&p, c, "checking");
	r = keyfile_verify(path, on_progress, &p, hash, &cap, detail, sizeof(detail));
	file_progress_end(&p);
	if (r)
		return file_failure(c, r, detail);
	return ctl_result(c, result_of(path, hash, &cap, &p), verify_text);
}
