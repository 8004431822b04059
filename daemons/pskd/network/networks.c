/* Lists of networks; see networks.h. Pure. */
#include "pskd/network/networks.h"

#include <errno.h>
#include <string.h>

#define DEFAULT "default"

static bool is_default(const char *value)
{
	return strcmp(value, DEFAULT) == 0;
}

static bool is_fit(const struct prefix *p)
{
	return p->len == 0 || !tund_route_complaint(p, true);
}

const char *networks_check_allowed(const char *value)
{
	struct prefix p;

	return prefix_parse(&p, value) == 0 && is_fit(&p) ?
		       NULL :
		       "a network, as 10.1.0.0/16 or fd00:1::/48, not loopback, multicast or link-local";
}

const char *networks_check_route(const char *value)
{
	return is_default(value) || !networks_check_allowed(value) ?
		       NULL :
		       "a network, as 10.1.0.0/16 or fd00:1::/48, not loopback, multicast or link-local; or: default";
}

static int add(struct networks *to, const struct prefix *p)
{
	for (size_t i = 0; i < to->n; i++)
		if (prefix_equal(&to->v[i], p))
			return 0;
	if (to->n == NETWORKS_MAX)
		return -E2BIG;
	to->v[to->n++] = *p;
	return 0;
}

static int add_halves(struct networks *to, uint8_t family)
{
	struct prefix low = { .family = family, .len = 1 }, high = { .family = family, .len = 1, .a = { 0x80 } };
	int r = add(to, &low);

	return r ? r : add(to, &high);
}

int networks_routes(struct networks *out, const struct config_list *list)
{
	struct networks n = { .n = 0 };
	struct prefix p;
	int r = 0;

	for (size_t i = 0; i < list->n && !r; i++) {
		if (is_default(list->v[i])) {
			r = add_halves(&n, 4);
			r = r ? r : add_halves(&n, 6);
		} else if (prefix_parse(&p, list->v[i]) == 0) {
			r = p.len == 0 ? add_halves(&n, p.family) : add(&n, &p);
		}
	}
	if (!r)
		*out = n;
	return r;
}

int networks_allowed(struct networks *out, const struct config_list *list)
{
	struct networks n = { .n = 0 };
	struct prefix p;
	int r = 0;

	for (size_t i = 0; i < list->n && !r; i++)
		if (prefix_parse(&p, list->v[i]) == 0)
			r = add(&n, &p);
	if (!r)
		*out = n;
	return r;
}

bool networks_have_family(const struct networks *n, uint8_t family)
{
	for (size_t i = 0; i < n->n; i++)
		if (n->v[i].family == family)
			return true;
	return false;
}

const struct prefix *networks_common(const struct networks *a, const struct networks *b)
{
	for (size_t i = 0; i < a->n; i++)
		for (size_t j = 0; j < b->n; j++)
			if (prefix_equal(&a->v[i], &b->v[j]))
				return &a->v[i];
	return NULL;
}
