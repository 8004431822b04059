/* The file that handfast link writes: addresses of both ends, text, and knowing it again. */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "ctl/link/link_kernel.h"
#include "ctl/link/link_profile.h"

#include "unit/lib/test.h"

static const enum link_manager managers[] = { LINK_NETWORKMANAGER, LINK_NETWORKD };

static struct link_wish wish_of(const char *role, const char *own, const char *peer)
{
	struct link_wish w = { .name = "eth0", .role = role };

	CHECK(link_wish_addresses(&w, own, peer) == NULL);
	return w;
}

static const char *wrong(const char *own, const char *peer)
{
	struct link_wish w = { .name = "eth0", .role = "pi" };

	return link_wish_addresses(&w, own, peer);
}

static bool is_text(const struct link_cidr *a, const char *text)
{
	char have[LINK_CIDR_TEXT];

	link_cidr_format(have, a, strchr(text, '/') != NULL);
	return strcmp(have, text) == 0;
}

TEST(the_roles_defaults_are_each_others_peers)
{
	struct link_wish laptop = wish_of("laptop", NULL, NULL), pi = wish_of("pi", NULL, NULL);

	CHECK(laptop.n_own == 1 && laptop.n_peer == 1 && pi.n_own == 1 && pi.n_peer == 1);
	CHECK(is_text(&laptop.own[0], "169.254.10.2/24"));
	CHECK(is_text(&pi.own[0], "169.254.10.3/24"));
	CHECK(link_cidr_same_address(&laptop.own[0], &pi.peer[0]));
	CHECK(link_cidr_same_address(&pi.own[0], &laptop.peer[0]));
}

TEST(the_only_other_machine_is_the_peer)
{
	struct link_wish w = wish_of("pi", "10.5.0.2/30", NULL);

	CHECK(w.n_peer == 1 && is_text(&w.peer[0], "10.5.0.1"));
	w = wish_of("pi", "10.5.0.1/30", NULL);
	CHECK(is_text(&w.peer[0], "10.5.0.2"));
	w = wish_of("pi", "10.5.0.4/31", NULL);
	CHECK(is_text(&w.peer[0], "10.5.0.5"));
	w = wish_of("pi", "10.5.0.4/24", NULL);
	CHECK(w.n_peer == 0);
}

TEST(one_address_of_each_family)
{
	struct link_wish w = wish_of("laptop", "10.5.0.1/24, fd00:5::1/64", "fd00:5::2,10.5.0.9");

	CHECK(w.n_own == 2 && w.n_peer == 2 && is_text(&w.own[1], "fd00:5::1/64"));
	CHECK(wrong("10.5.0.1/24,10.6.0.1/24", NULL));
	CHECK(wrong("10.5.0.1/24,fd00::1/64,fd01::1/64", NULL));
}

TEST(none_means_link_local_alone)
{
	struct link_wish w = wish_of("laptop", "none", NULL);

	CHECK(w.n_own == 0 && w.n_peer == 0);
	CHECK(wrong("none", "10.0.0.1"));
}

TEST(what_no_machine_can_have_is_refused)
{
	static const char *const bad[] = {
		"",		    "10.5.0.1",	       "10.5.0.1/",	   "10.5.0.1/33",
		"10.5.0.1/0",	    "10.5.0.0/24",     "10.5.0.255/24",	   "127.0.0.1/8",
		"224.0.0.1/4",	    "255.255.255.255/8", "0.0.0.0/24",	   "0.1.2.3/8",
		"10.5.0.1/-1",	    "10.5.0.1/+24",    "10.5.0.1/ 24",	   "10.5.0.1/24x",
		"10.5.0.1/24,",	    ",10.5.0.1/24",    "010.5.0.1/24",	   "10.5.0/24",
		"fe80::1/64",	    "::1/128",	       "::/64",		   "ff02::1/64",
		"::ffff:1.2.3.4/96", "fd00::1/129",    "fd00::1%eth0/64",  "eth0/24",
		"10.5.0.1/24\nx",   "1.2.3.4/99999999999999999999",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (!wrong(bad[i], NULL))
			test_fail(__FILE__, __LINE__, "“%s” was taken", bad[i]);
	CHECK(wrong("10.5.0.1/24", "10.5.1.2"));
	CHECK(wrong("10.5.0.1/24", "10.5.0.1"));
	CHECK(wrong("10.5.0.1/24", "10.5.0.2/24"));
	CHECK(wrong("10.5.0.1/24", "fd00::1"));
	CHECK(wrong(NULL, "169.254.10.3"));
	CHECK(!wrong(NULL, "169.254.10.9"));
}

TEST(names_that_are_patterns_are_refused)
{
	static const char *const bad[] = { "",	   "eth*",  "eth?", "[ab]", "!eth0", "a b",  "a/b",
					   "../x", ".",	    "..",   "-x",   "ä",     "a%i",  "a\n",
					   "a:b",  "a\\b", "a#",   "a;b",  "abcdefghijklmnop" };
	static const char *const good[] = { "eth0", "enp3s0", "eth0.5", "wlx00c0ca", "end0",
					    "usb_0", "a-b", "abcdefghijklmno" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (link_is_plain_name(bad[i]))
			test_fail(__FILE__, __LINE__, "“%s” was taken", bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		CHECK(link_is_plain_name(good[i]));
}

static struct link_profile looked_at(const char *text, size_t len)
{
	struct link_profile p = { 0 };

	link_profile_parse(&p, text, len);
	return p;
}

TEST(what_was_written_is_known_again)
{
	struct link_wish w = wish_of("laptop", "10.5.0.1/24,fd00:5::1/64", "10.5.0.9");

	for (size_t i = 0; i < ARRAY_SIZE(managers); i++) {
		_cleanup_free_ char *text = link_profile_text(managers[i], &w);
		struct link_profile p = looked_at(text, strlen(text));

		CHECK(p.file == LINK_FILE_OURS && strcmp(p.role, "laptop") == 0);
		CHECK(p.n_peer == 1 && is_text(&p.peer[0], "10.5.0.9"));
		CHECK(strstr(text, "10.5.0.1/24\n") && strstr(text, "fd00:5::1/64\n"));
	}
}

TEST(any_changed_byte_is_noticed)
{
	struct link_wish w = wish_of("pi", NULL, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(managers); i++) {
		_cleanup_free_ char *text = link_profile_text(managers[i], &w);
		size_t len = strlen(text);

		for (size_t k = 0; k < len; k++) {
			char kept = text[k];

			text[k] = (char)(kept == 'x' ? 'y' : 'x');
			if (looked_at(text, len).file == LINK_FILE_OURS)
				test_fail(__FILE__, __LINE__, "byte %zu of %zu", k, len);
			text[k] = kept;
		}
		CHECK(looked_at(text, len - 1).file == LINK_FILE_CHANGED);
		CHECK(looked_at(text, len).file == LINK_FILE_OURS);
	}
}

TEST(hostile_files_are_foreign_or_changed)
{
	static const char *const texts[] = {
		"",
		"\n",
		"[Match]\nName=eth0\n",
		"\n# handfast-link: ",
		"\n# handfast-link: pi\n",
		"\n# handfast-link: pi 0000\n",
		"\n# handfast-link: laptoplaptoplaptoplaptop "
		"0000000000000000000000000000000000000000000000000000000000000000",
		"\n# handfast-link: pi "
		"0000000000000000000000000000000000000000000000000000000000000000\n# the other end: ",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		enum link_file f = looked_at(texts[i], strlen(texts[i])).file;

		CHECK(f == LINK_FILE_FOREIGN || f == LINK_FILE_CHANGED);
	}
	CHECK(looked_at("\n# handfast-link: \0", 19).file == LINK_FILE_FOREIGN);
}

TEST(the_manager_gets_what_was_wished)
{
	struct link_wish w = wish_of("pi", NULL, NULL), none = wish_of("pi", "none", NULL);
	_cleanup_free_ char *nm = NULL, *nd = NULL, *nm_none = NULL, *nd_none = NULL;

	w.mtu = 9000;
	nm = link_profile_text(LINK_NETWORKMANAGER, &w);
	nd = link_profile_text(LINK_NETWORKD, &w);
	nm_none = link_profile_text(LINK_NETWORKMANAGER, &none);
	nd_none = link_profile_text(LINK_NETWORKD, &none);
	CHECK(strstr(nm, "\nmtu=9000\n") && strstr(nd, "\nMTUBytes=9000\n"));
	CHECK(strstr(nm, "\ninterface-name=eth0\n") && strstr(nd, "\nName=eth0\n"));
	CHECK(strstr(nm, "\nmethod=manual\naddress1=169.254.10.3/24\nnever-default=true\n"));
	CHECK(strstr(nd, "\nAddress=169.254.10.3/24\n"));
	CHECK(strstr(nm_none, "[ipv4]\nmethod=disabled\n") && strstr(nm_none, "method=link-local\n"));
	CHECK(!strstr(nm_none, "mtu=") && !strstr(nd_none, "MTUBytes") && !strstr(nd_none, "Address="));
	CHECK(strstr(nd_none, "\nLinkLocalAddressing=ipv6\n"));
}

TEST(networks_that_overlap_are_found)
{
	struct link_cidr wanted, have;
	struct link_state links[2] = {
		{ .name = "eth0", .index = 2 },
		{ .name = "eth1", .index = 3, .addresses = &have, .n_addresses = 1 },
	};
	const struct link_list all = { links, 2 };
	char what[128];

	CHECK(link_cidr_parse(&have, "169.254.0.9/16") == 0);
	CHECK(link_cidr_parse(&wanted, "169.254.10.2/24") == 0);
	CHECK(link_find_conflict(what, sizeof(what), &all, &links[0], &wanted));
	CHECK(strcmp(what, "eth1 has 169.254.0.9/16") == 0);
	/* Its own addresses are replaced. */
	CHECK(!link_find_conflict(what, sizeof(what), &all, &links[1], &wanted));
	CHECK(link_cidr_parse(&wanted, "10.0.0.1/8") == 0);
	CHECK(!link_find_conflict(what, sizeof(what), &all, &links[0], &wanted));
	CHECK(link_cidr_parse(&wanted, "168.0.0.1/7") == 0);
	CHECK(link_find_conflict(what, sizeof(what), &all, &links[0], &wanted));
}
