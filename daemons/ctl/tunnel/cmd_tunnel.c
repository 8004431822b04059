/* handfast tunnel list, show, down, remove, burn: short questions to pskd. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/terminal.h"
#include "ctl/tunnel/tunnel_text.h"

static void list_text(const struct ctl *c, const json_t *result)
{
	const json_t *tunnels = json_object_get(result, "tunnels");

	if (json_array_size(tunnels) == 0)
		printf("There is no tunnel. “handfast tunnel up PEER” makes one to a paired device, "
		       "“handfast tunnel add” one with a key file.\n");
	else
		tunnels_table(c, tunnels);
}

int cmd_tunnel_list(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, PSKD, "Tunnel.List", NULL, &reply);

	return r ? r : ctl_result(c, reply, list_text);
}

static void show_text(const struct ctl *c, const json_t *result)
{
	tunnel_text(c, json_object_get(result, "tunnel"));
}

/* A call whose only parameter is the tunnel's name. */
static int call_by_name(struct ctl *c, const char *method, ctl_text_fn text)
{
	json_t *reply = NULL;
	int r = daemon_call(c, PSKD, method, json_pack("{s:s}", "name", ctl_argument(c, 0)), &reply);

	return r ? r : ctl_result(c, reply, text);
}

int cmd_tunnel_show(struct ctl *c)
{
	_cleanup_json_ json_t *one = NULL;
	json_t *reply = NULL;
	int r;

	if (!ctl_flag(c, "check-fuel"))
		return call_by_name(c, "Tunnel.Show", show_text);
	r = daemon_call(c, PSKD, "Tunnel.Show", json_pack("{s:s}", "name", ctl_argument(c, 0)), &reply);
	if (r)
		return r;
	one = json_pack("[O]", json_object_get(reply, "tunnel"));
	return tunnel_fuel_result(c, reply, one, show_text);
}

static void address_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	printf("%s\n", clean_member(result, "address"));
}

/* The first of the wanted family, without its prefix length; IPv4 goes first where both are wanted. */
static json_t *pick_address(const json_t *addresses, bool v4, bool v6)
{
	const json_t *a, *found = NULL;
	const char *text;
	size_t i;

	json_array_foreach(addresses, i, a) {
		bool is_v6 = strchr(json_string_value(a) ? json_string_value(a) : "", ':') != NULL;

		if (is_v6 ? v6 && !found : v4)
			found = a;
		if (found && !is_v6)
			break;
	}
	text = json_string_value(found);
	return text ? json_stringn(text, strcspn(text, "/")) : NULL;
}

int cmd_tunnel_address(struct ctl *c)
{
	bool v4 = ctl_flag(c, "ipv4"), v6 = ctl_flag(c, "ipv6"), own = ctl_flag(c, "own");
	_cleanup_json_ json_t *reply = NULL;
	json_t *address;
	int r = daemon_call(c, PSKD, "Tunnel.Show", json_pack("{s:s}", "name", ctl_argument(c, 0)), &reply);

	if (r)
		return r;
	address = pick_address(json_object_get(json_object_get(reply, "tunnel"), own ? "local_addresses" : "peer_addresses"),
			       v4 || !v6, v6 || !v4);
	if (!address)
		return ctl_fail(c, EXIT_NO_SUCH, ERROR_NO_ADDRESS, "“handfast tunnel show” has all that is known.",
				"%s has no such address of %s", clean_text(ctl_argument(c, 0)),
				own ? "this machine" : "its peer");
	return ctl_result(c, json_pack("{s:o}", "address", address), address_text);
}

static void down_text(const struct ctl *c, const json_t *result)
{
	const char *warning = clean_member(result, "warning");

	printf("%s is down.\n", clean_text(ctl_argument(c, 0)));
	if (*warning)
		printf("Warning: %s.\n", warning);
}

int cmd_tunnel_down(struct ctl *c)
{
	return call_by_name(c, "Tunnel.Down", down_text);
}

static void remove_text(const struct ctl *c, const json_t *result)
{
	const json_t *left = json_object_get(result, "left");

	printf("%s is removed.\n", clean_text(ctl_argument(c, 0)));
	for (size_t i = 0; i < json_array_size(left); i++) {
		const char *file = json_string_value(json_array_get(left, i));

		printf("Not erased: %s, an earlier key file. Erase it by hand.\n", clean_text(file ? file : "?"));
	}
}

/* What is lost with a pairing's tunnel no command brings back. EXIT_DONE: go on. */
static int ask_to_remove(struct ctl *c)
{
	const char *name = ctl_argument(c, 0);
	_cleanup_json_ json_t *reply = NULL;
	int r = daemon_call(c, PSKD, "Tunnel.Show", json_pack("{s:s}", "name", name), &reply);

	if (r || strcmp(clean_member(json_object_get(reply, "tunnel"), "source"), "pairing") != 0)
		return r;
	r = terminal_confirm("Remove the tunnel of %s? Its keys go with it: it takes another pairing to have it again.",
			     clean_text(name));
	if (r == TERMINAL_E_NONE)
		return ctl_fail(c, EXIT_USAGE, ERROR_NO_TERMINAL, "Say --yes; or “handfast tunnel down”, which keeps the keys.",
				"there is no terminal to ask on whether to remove the keys of %s", clean_text(name));
	if (r == TERMINAL_E_INTERRUPTED)
		return ctl_fail(c, EXIT_INTERRUPTED, ERROR_INTERRUPTED, NULL, "interrupted");
	if (r)
		return ctl_fail(c, EXIT_FAILED, ERROR_DECLINED, NULL, "%s is kept", clean_text(name));
	return EXIT_DONE;
}

int cmd_tunnel_remove(struct ctl *c)
{
	int r = ctl_flag(c, "yes") ? EXIT_DONE : ask_to_remove(c);

	return r ? r : call_by_name(c, "Tunnel.Remove", remove_text);
}

static void burn_text(const struct ctl *c, const json_t *result)
{
	int64_t burned = json_get_int(result, "burned_packets", 0);
	char packets[40];

	count_format(packets, sizeof(packets), burned < 0 ? 0 : (uint64_t)burned);
	if (burned > 0)
		printf("Gave up the keys of %s packets; they will never be used. The other side may ask for the same.\n", packets);
	else
		printf("Gave up keys to receive with, or of a tunnel from a backup; they will never be used.\n");
	tunnel_text(c, json_object_get(result, "tunnel"));
}

int cmd_tunnel_burn(struct ctl *c)
{
	const char *to_slot = ctl_option(c, "to-slot");
	json_t *params = json_pack("{s:s}", "name", ctl_argument(c, 0)), *reply = NULL;
	int r;

	if (to_slot)
		json_object_set_new(params, "to_slot", json_integer(strtoll(to_slot, NULL, 10)));
	r = daemon_call(c, PSKD, "Tunnel.Burn", params, &reply);
	return r ? r : ctl_result(c, reply, burn_text);
}
