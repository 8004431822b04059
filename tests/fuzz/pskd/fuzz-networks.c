/*
 * Lines of any text as the routes: and allowed: of a tunnel, and as labels: what is accepted is a network that may be
 * one, says the same when it is written out, and lists of them hold no more than they can.
 */
#include "pskd/network/networks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "pskd/handshake/label.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES = 200 };

static void check_network(const char *text)
{
	struct prefix p, again;
	char out[PREFIX_TEXT_MAX];

	assert(!networks_check_route(text) || networks_check_allowed(text));
	if (networks_check_allowed(text) != NULL)
		return;
	assert(prefix_parse(&p, text) == 0 && prefix_is_sound(&p));
	/* Nobody's own, and nobody's link. */
	if (p.len > 0) {
		static const uint8_t loopback[4] = { 127, 0, 0, 1 }, link[16] = { 0xfe, 0x80, [15] = 1 };

		assert(p.family != 4 || p.len < 8 || !prefix_has(&p, 4, loopback));
		assert(p.family != 6 || p.len < 10 || !prefix_has(&p, 6, link));
	}
	prefix_format(out, &p);
	assert(prefix_parse(&again, out) == 0 && prefix_equal(&p, &again));
}

static void check_list(struct config_list *list)
{
	struct networks routes = { .n = 0 }, allowed = { .n = 0 };
	int r = networks_routes(&routes, list), a = networks_allowed(&allowed, list);

	assert(routes.n <= NETWORKS_MAX && allowed.n <= NETWORKS_MAX);
	assert((r == 0 || routes.n == 0) && (a == 0 || allowed.n == 0));
	assert((networks_common(&routes, &allowed) != NULL) == (networks_common(&allowed, &routes) != NULL));
	for (size_t i = 0; i < routes.n; i++) {
		assert(prefix_is_sound(&routes.v[i]) && routes.v[i].len > 0);
		for (size_t k = 0; k < i; k++)
			assert(!prefix_equal(&routes.v[i], &routes.v[k]));
	}
}

static void check_labels(struct config_list *list)
{
	struct label_list l = { .v = NULL };
	struct config_list good = { .v = calloc(list->n + 1, sizeof(char *)) };

	assert(good.v);
	for (size_t i = 0; i < list->n; i++) {
		if (label_check_or_key(list->v[i]) == NULL) {
			assert(label_same(list->v[i], list->v[i]));
			good.v[good.n++] = list->v[i];
		} else {
			assert(label_check(list->v[i]) != NULL && !label_same(list->v[i], list->v[i]));
		}
	}
	assert(label_list_set(&l, &good) == 0 && l.n == good.n);
	for (size_t i = 0; i < l.n; i++) {
		assert(l.v[i].len == 8 || l.v[i].len == 16);
		assert(label_list_has(&l, l.v[i].id) && label_names(good.v[i], l.v[i].id));
	}
	label_list_done(&l);
	free(good.v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	char *lines[LINES + 1] = { NULL }, *rest = NULL;
	struct config_list list = { .v = lines };

	assert(text);
	for (char *line = strtok_r(text, "\n", &rest); line && list.n < LINES; line = strtok_r(NULL, "\n", &rest)) {
		check_network(line);
		lines[list.n++] = line;
	}
	check_list(&list);
	check_labels(&list);
	return 0;
}
