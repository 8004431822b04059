/*
 * Whether a firewall may keep the peers' packets out. What can be seen are rules, not what they
 * amount to: these are hints, and a tunnel that hears its peer is believed more.
 */
#include "ctl/doctor.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"

enum { RULES_MAX = 1 << 20, HEARD_MS = 5 * 60 * 1000 };

/* "UDP port 7200", "[::]:7200": what the tunnel listens on is at the end; 0: not known. */
static unsigned int port_of(const json_t *t)
{
	const char *listen = json_get_str(t, "listen");
	size_t len = listen ? strlen(listen) : 0;

	while (len && listen[len - 1] >= '0' && listen[len - 1] <= '9')
		len--;
	return listen ? (unsigned int)strtoul(listen + len, NULL, 10) : 0;
}

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += len) {
		char before = at > text ? at[-1] : ' ', after = at[len];

		if (!(before >= '0' && before <= '9') && !(after >= '0' && after <= '9'))
			return true;
	}
	return false;
}

/* ufw, by its configuration, which everybody may read. */
static bool ufw_is_on(void)
{
	char text[4096];

	return doctor_read("/etc/ufw/ufw.conf", text, sizeof(text)) && strstr(text, "\nENABLED=yes");
}

static bool firewalld_is_on(void)
{
	struct unit u = { .name = "firewalld.service" };

	return systemd_units(&u, 1) == 0 && strcmp(u.active, "active") == 0;
}

/* A line of nft's that drops whatever comes to it: with no condition before. */
static bool is_wall(const char *line)
{
	unsigned long long packets, bytes;
	int at = 0;

	line += strspn(line, " \t");
	if (sscanf(line, "counter packets %llu bytes %llu %n", &packets, &bytes, &at) == 2)
		line += at;
	return strncmp(line, "drop", 4) == 0 || strncmp(line, "reject", 6) == 0;
}

/* nft's own words: does a chain with a hook into input drop what no rule of it names? */
static bool chain_drops(const char *rules)
{
	for (const char *at = rules; (at = strstr(at, "hook input")); at++) {
		const char *end = strstr(at, "\n\t}");
		_cleanup_free_ char *chain = strndup(at, end ? (size_t)(end - at) : strlen(at));
		char *rest = NULL;

		if (chain && strstr(chain, "policy drop"))
			return true;
		for (char *line = chain ? strtok_r(chain, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
			if (is_wall(line))
				return true;
	}
	return false;
}

/* Lines of iptables-save. */
static bool table_drops(const char *rules)
{
	return strstr(rules, ":INPUT DROP") || strstr(rules, ":INPUT REJECT") ||
	       strstr(rules, "-A INPUT -j DROP") || strstr(rules, "-A INPUT -j REJECT");
}

/* What the rules say as root sees them; false when they cannot be seen. *drops: input is dropped by some rule. */
static bool read_rules(char *rules, bool *drops)
{
	static const struct source {
		char *const argv[5];
		bool (*drops)(const char *rules);
	} sources[] = {
		{ { (char *)"nft", (char *)"list", (char *)"ruleset", NULL }, chain_drops },
		{ { (char *)"iptables-legacy-save", NULL }, table_drops },
		{ { (char *)"iptables-save", NULL }, table_drops },
	};
	bool seen = false;

	*drops = false;
	for (size_t i = 0; i < ARRAY_SIZE(sources) && !*drops; i++) {
		if (doctor_run(sources[i].argv, rules, RULES_MAX, 2000) != 0)
			continue;
		seen = true;
		*drops = sources[i].drops(rules);
	}
	return seen;
}

/* The peer's packets come in, or a rule names the port. */
static bool is_open(const json_t *t, unsigned int port, const char *rules)
{
	int64_t last = json_get_int(t, "last_received_ms", -1);
	char text[16];

	snprintf(text, sizeof(text), "%u", port);
	return (last >= 0 && last < HEARD_MS) || (rules && port && has_word(rules, text));
}

enum wall { UFW, FIREWALLD, RULES };
static const char *const walls[] = { "ufw", "firewalld", "a firewall" };

/* In the words of whatever keeps the rules. */
static const char *how_to_open(enum wall wall, unsigned int port)
{
	switch (wall) {
	case UFW:
		return doctor_text("“sudo ufw allow %u/udp”.", port);
	case FIREWALLD:
		return doctor_text("“sudo firewall-cmd --permanent --add-port=%u/udp && sudo firewall-cmd --reload”.", port);
	default:
		return doctor_text("“sudo nft insert rule inet filter input udp dport %u accept” (with your table's and chain's names), and the same where your rules are kept.",
				   port);
	}
}

static void tell_port(struct doctor *d, const json_t *t, enum wall wall, const char *rules)
{
	const char *name = json_get_str(t, "name");
	unsigned int port = port_of(t);

	if (!json_is_true(json_object_get(t, "enabled")) || !name)
		return;
	if (is_open(t, port, rules))
		doctor_tell(d, DOCTOR_OK, name, NULL, "%s is on, and lets it through", walls[wall]);
	else if (port)
		doctor_tell(d, DOCTOR_WARNING, name, how_to_open(wall, port),
			    "%s is on and no rule names UDP port %u, where it listens: a peer that begins may not come through",
			    walls[wall], port);
}

static void tell_ports(struct doctor *d, enum wall wall, const char *rules)
{
	const json_t *t;
	size_t i;

	if (json_array_size(d->tunnels) == 0)
		doctor_tell(d, DOCTOR_OK, "", NULL, "%s is on, and there is no tunnel whose port it must let in", walls[wall]);
	json_array_foreach(d->tunnels, i, t)
		tell_port(d, t, wall, rules);
}

void doctor_firewall(struct doctor *d)
{
	char *rules = calloc(1, RULES_MAX);
	bool drops = false, seen = d->root && rules && read_rules(rules, &drops);

	if (ufw_is_on())
		tell_ports(d, UFW, seen ? rules : NULL);
	else if (firewalld_is_on())
		tell_ports(d, FIREWALLD, seen ? rules : NULL);
	else if (drops)
		tell_ports(d, RULES, rules);
	else if (seen)
		doctor_tell(d, DOCTOR_OK, "", NULL, "no rule keeps packets out");
	else
		doctor_tell(d, DOCTOR_NOTE, "", NULL, d->root ? "neither nft nor iptables is here to show rules" : "only root can see the rules; neither ufw nor firewalld is on");
	free(rules);
}
