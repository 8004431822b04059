/* Lists of networks, as a tunnel's file has them. */
#include "pskd/network/networks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "unit/lib/test.h"

static struct config_list list_of(const char **v)
{
	/* Which is only read. */
	struct config_list l = { .v = (char **)(uintptr_t)v };

	while (v[l.n])
		l.n++;
	return l;
}

static void check_is(const struct networks *n, size_t at, const char *text)
{
	char shown[PREFIX_TEXT_MAX];

	CHECK(at < n->n);
	prefix_format(shown, &n->v[at]);
	CHECK_STR(shown, text);
}

TEST(routes_are_networks_or_the_word_default)
{
	static const char *const good[] = { "10.1.0.0/16", "fd00:1::/48", "0.0.0.0/0", "::/0", "default", "203.0.113.0/24" };
	static const char *const bad[] = { "", "Default", "10.1.0.1/16", "127.0.0.0/8", "127.1.0.0/16", "224.0.0.0/4",
					   "169.254.0.0/16", "169.254.7.0/24", "0.0.0.0/8", "fe80::/10", "fe80::1/128",
					   "ff00::/8", "::1/128", "::ffff:10.0.0.0/104" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		CHECK(networks_check_route(good[i]) == NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(networks_check_route(bad[i]) != NULL);
}

TEST(sources_are_networks_and_the_world_is_one)
{
	CHECK(networks_check_allowed("::/0") == NULL);
	CHECK(networks_check_allowed("0.0.0.0/0") == NULL);
	CHECK(networks_check_allowed("10.1.0.0/16") == NULL);
	CHECK(networks_check_allowed("default") != NULL);
	CHECK(networks_check_allowed("fe80::/64") != NULL);
}

TEST(the_default_route_is_two_halves)
{
	const char *both[] = { "default", NULL }, *one[] = { "10.1.0.0/16", "0.0.0.0/0", NULL }, *six[] = { "::/0", NULL };
	struct config_list l = list_of(both);
	struct networks n;

	CHECK_EQ(networks_routes(&n, &l), 0);
	CHECK_EQ(n.n, 4);
	check_is(&n, 0, "0.0.0.0/1");
	check_is(&n, 1, "128.0.0.0/1");
	check_is(&n, 2, "::/1");
	check_is(&n, 3, "8000::/1");
	l = list_of(one);
	CHECK_EQ(networks_routes(&n, &l), 0);
	CHECK_EQ(n.n, 3);
	check_is(&n, 0, "10.1.0.0/16");
	check_is(&n, 2, "128.0.0.0/1");
	CHECK(networks_have_family(&n, 4) && !networks_have_family(&n, 6));
	l = list_of(six);
	CHECK_EQ(networks_routes(&n, &l), 0);
	CHECK_EQ(n.n, 2);
	CHECK_EQ(networks_allowed(&n, &l), 0);
	CHECK_EQ(n.n, 1);
	check_is(&n, 0, "::/0");
}

TEST(what_two_have_is_found)
{
	const char *a[] = { "10.1.0.0/16", "default", NULL }, *b[] = { "10.1.0.0/24", "::/0", NULL }, *c[] = { "10.1.0.0/24", NULL };
	struct config_list la = list_of(a), lb = list_of(b), lc = list_of(c);
	struct networks na, nb, nc;
	char text[PREFIX_TEXT_MAX];

	CHECK_EQ(networks_routes(&na, &la), 0);
	CHECK_EQ(networks_routes(&nb, &lb), 0);
	CHECK_EQ(networks_routes(&nc, &lc), 0);
	CHECK(networks_common(&na, &nc) == NULL);
	CHECK(networks_common(&na, &nb) != NULL);
	prefix_format(text, networks_common(&na, &nb));
	CHECK_STR(text, "::/1");
}

TEST(the_same_network_counts_once_and_too_many_are_refused)
{
	static char text[NETWORKS_MAX + 1][PREFIX_TEXT_MAX];
	const char *v[NETWORKS_MAX + 3] = { NULL };
	struct config_list l;
	struct networks n = { .n = 7 };

	for (size_t i = 0; i <= NETWORKS_MAX; i++) {
		snprintf(text[i], sizeof(text[i]), "10.%zu.0.0/16", i);
		v[i] = text[i];
	}
	l = list_of(v);
	CHECK_EQ(networks_routes(&n, &l), -E2BIG);
	CHECK_EQ(networks_allowed(&n, &l), -E2BIG);
	CHECK_EQ(n.n, 7);
	v[NETWORKS_MAX] = text[0];
	CHECK_EQ(networks_routes(&n, &l), 0);
	CHECK_EQ(n.n, NETWORKS_MAX);
	v[NETWORKS_MAX] = "default";
	CHECK_EQ(networks_routes(&n, &l), -E2BIG);
}
