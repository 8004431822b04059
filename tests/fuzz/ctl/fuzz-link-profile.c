/*
 * Addresses from the command line make a file that is known again, or are refused; nothing is
 * read beyond the end of any other file, and one without a known role is not ours.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl/link/link_profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A fuzzer that watches memcmp() finds digests that hold: what is ours then has a role. */
static void look(const char *text, size_t len)
{
	struct link_profile p = { 0 };

	link_profile_parse(&p, text, len);
	if ((p.file == LINK_FILE_OURS) != (strcmp(p.role, "pi") == 0 || strcmp(p.role, "laptop") == 0))
		abort();
	link_profile_done(&p);
}

static void write_and_look(enum link_manager m, const struct link_wish *w)
{
	_cleanup_free_ char *text = link_profile_text(m, w);
	struct link_profile p = { 0 };

	if (!text)
		return;
	link_profile_parse(&p, text, strlen(text));
	if (p.file != LINK_FILE_OURS || strcmp(p.role, w->role) != 0 || p.n_peer != w->n_peer)
		abort();
	for (size_t i = 0; i < p.n_peer; i++)
		if (!link_cidr_same_address(&p.peer[i], &w->peer[i]))
			abort();
	link_profile_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct link_wish w = { .name = "eth0", .role = size % 2 ? "laptop" : "pi" };
	_cleanup_free_ char *own = malloc(size + 1), *exact = malloc(size ? size : 1);
	char *peer;

	if (!own || !exact)
		return 0;
	memcpy(exact, data, size);
	look(exact, size);
	memcpy(own, data, size);
	own[size] = '\0';
	peer = strchr(own, '|');
	if (peer)
		*peer++ = '\0';
	if (link_wish_addresses(&w, own, peer) != NULL)
		return 0;
	write_and_look(LINK_NETWORKMANAGER, &w);
	write_and_look(LINK_NETWORKD, &w);
	return 0;
}
