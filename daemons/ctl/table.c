/*
 * The one table of commands. Order is that of `handfast help`: what a person
 * does first comes first.
 */
#include "ctl/command.h"

#include "base/cleanup.h"

#include "ctl/commands.h"

const struct option global_options[] = {
	{ "json", 0, NULL, VALUE_TEXT, NULL, "answer in JSON, one object a line (handfast-json(7))" },
	{ "runtime-dir", 0, "DIR", VALUE_FILE, NULL,
	  "where the daemons' sockets are ($HANDFAST_RUNTIME_DIR, /run/handfast)" },
	{ "no-color", 0, NULL, VALUE_TEXT, NULL, "no colours, also on a terminal" },
	{ "help", 'h', NULL, VALUE_TEXT, NULL, "say how to use this command" },
	{ "version", 0, NULL, VALUE_TEXT, NULL, "print the version" },
	{ .name = NULL },
};

static const char *const roles[] = { "initiator", "responder", NULL };
static const char *const erasers[] = { "none", "zero", "punch", NULL };
static const char *const peer_kinds[] = { "handfast", "prototype", NULL };
static const char *const daemon_names[] = { "relayd", "pairingd", "pskd", "authd", NULL };
static const char *const link_roles[] = { "laptop", "pi", NULL };
static const char *const link_managers[] = { "NetworkManager", "networkd", NULL };
static const char *const shells[] = { "bash", "zsh", "fish", NULL };
static const char *const word_kinds[] = { "peers", "tunnels", "sessions", "interfaces", NULL };

static const struct option pair_options[] = {
	{ "relay", 0, "URL", VALUE_TEXT, NULL,
	  "meet at this relay: HOST:PORT, ws://HOST:PORT or wss://HOST" },
	{ "relay-ca", 0, "FILE", VALUE_FILE, NULL,
	  "trust this CA certificate for wss:// instead of the system's" },
	{ "name", 0, "NAME", VALUE_TEXT, NULL, "call the other device NAME here" },
	{ "note", 0, "TEXT", VALUE_TEXT, NULL, "a short note that the other person sees" },
	{ "pin-file", 0, "FILE", VALUE_FILE, NULL, "read the PIN from FILE instead of asking" },
	{ "pin-fd", 0, "N", VALUE_NUMBER, NULL, "read the PIN from file descriptor N" },
	{ "secret-file", 0, "FILE", VALUE_FILE, NULL,
	  "use the bytes of FILE (16 to 1024, the same on both sides) instead of a PIN" },
	{ "sas-file", 0, "FILE", VALUE_FILE, NULL,
	  "read the picked number from FILE, or - for standard input" },
	{ "no-sas", 0, NULL, VALUE_TEXT, NULL, "do not compare a number (only with --secret-file)" },
	{ .name = NULL },
};

static const struct option yes_options[] = {
	{ "yes", 'y', NULL, VALUE_TEXT, NULL, "do not ask" },
	{ .name = NULL },
};

static const struct option up_options[] = {
	{ "no-wait", 0, NULL, VALUE_TEXT, NULL, "do not wait for the handshake" },
	{ "timeout", 0, "TIME", VALUE_TEXT, NULL, "wait at most this long (default 30s)" },
	{ .name = NULL },
};

/* What “tunnel add” and “tunnel set” have in common. */
#define SETTING_OPTIONS \
	{ "endpoint", 0, "HOST:PORT", VALUE_TEXT, NULL, "where the other side listens" }, \
	{ "listen", 0, "ADDRESS:PORT", VALUE_TEXT, NULL, "where to listen for the other side" }, \
	{ "local-address", 0, "ADDRESS/PREFIX", VALUE_TEXT, NULL, \
	  "own address inside the tunnel (default: made from the keys)" }, \
	{ "peer-address", 0, "ADDRESS", VALUE_TEXT, NULL, "the other side's address inside" }, \
	{ "route", 0, "NETWORK", VALUE_TEXT, NULL, "a network behind the other side, or default; may be repeated", \
	  .many = true }, \
	{ "allow", 0, "NETWORK", VALUE_TEXT, NULL, \
	  "a network that its packets may come from (default: what is routed there); may be repeated", .many = true }, \
	{ "mtu", 0, "BYTES", VALUE_NUMBER, NULL, "of the device (default 1400)" }, \
	{ "keepalive", 0, "TIME", VALUE_TEXT, NULL, "an empty packet after so long without one; 0: none (default 25s)" }, \
	{ "dscp", 0, "DSCP", VALUE_TEXT, NULL, "urgency of the outer packets: none (default), copy, or a number" }, \
	{ "salt", 0, "TEXT", VALUE_TEXT, NULL, \
	  "of this machine's label, the same on both sides (default: made from the key file)" }, \
	{ "erase", 0, "HOW", VALUE_CHOICE, erasers, "erase spent key material: none, zero or punch" }

static const char *const setting_names[] = { "endpoint", "listen", "local-address", "peer-address", "route", "allow",
					     "mtu", "keepalive", "dscp", "salt", "erase", NULL };

static const struct option add_options[] = {
	{ "key-file", 0, "FILE", VALUE_FILE, NULL, "the key file; required" },
	{ "role", 0, "ROLE", VALUE_CHOICE, roles,
	  "initiator on one side, responder on the other; required" },
	{ "peer", 0, "KIND", VALUE_CHOICE, peer_kinds,
	  "what answers: handfast (default), or prototype, which knows no handshake" },
	{ "pin", 0, "PEER", VALUE_PEER, NULL,
	  "accept only this device's signature: a paired device, or a public key" },
	SETTING_OPTIONS,
	{ .name = NULL },
};

static const struct option set_options[] = {
	SETTING_OPTIONS,
	{ "default", 0, "OPTION", VALUE_CHOICE, setting_names, "have what this option has when nobody gives it; may be repeated",
	  .many = true },
	{ .name = NULL },
};

static const struct option address_options[] = {
	{ "ipv4", '4', NULL, VALUE_TEXT, NULL, "the IPv4 address" },
	{ "ipv6", '6', NULL, VALUE_TEXT, NULL, "the IPv6 address" },
	{ "own", 0, NULL, VALUE_TEXT, NULL, "this machine's address, not the peer's" },
	{ NULL },
};
static const struct option burn_options[] = {
	{ "to-slot", 0, "N", VALUE_NUMBER, NULL,
	  "go forward to slot N (default: to what the other side asked for)" },
	{ .name = NULL },
};

static const struct option pin_options[] = {
	{ "from-peer", 0, "PEER", VALUE_PEER, NULL, "pin the key of this paired device" },
	{ "none", 0, NULL, VALUE_TEXT, NULL, "pin nobody: whoever has the key file may be the other side" },
	{ .name = NULL },
};

static const struct option allow_options[] = {
	{ "any", 0, NULL, VALUE_TEXT, NULL, "allow every label" },
	{ .name = NULL },
};

static const struct option revoke_options[] = {
	{ "undo", 0, NULL, VALUE_TEXT, NULL, "revoke them no more" },
	{ "from-peer", 0, "PEER", VALUE_PEER, NULL, "the key of this paired device" },
	{ .name = NULL },
};

static const struct option link_options[] = {
	{ "role", 0, "ROLE", VALUE_CHOICE, link_roles,
	  "which end of the cable this is: laptop or pi; required" },
	{ "address", 0, "ADDRESS/PREFIX", VALUE_TEXT, NULL,
	  "own address (default: the role's), or none for IPv6 link-local alone" },
	{ "peer-address", 0, "ADDRESS", VALUE_TEXT, NULL,
	  "the other end's address, to ask whether it answers (default: the role's)" },
	{ "mtu", 0, "N", VALUE_NUMBER, NULL, "largest packet, the same on both ends (default: as it is)" },
	{ "manager", 0, "NAME", VALUE_CHOICE, link_managers,
	  "write for NetworkManager or networkd (default: whoever manages the interface)" },
	{ "dry-run", 'n', NULL, VALUE_TEXT, NULL, "show the file and change nothing" },
	{ "force", 0, NULL, VALUE_TEXT, NULL,
	  "also where this machine would be cut off, or addresses overlap" },
	{ "yes", 'y', NULL, VALUE_TEXT, NULL, "do not ask" },
	{ .name = NULL },
};

/* Of every command that talks to an authd. */
#define AUTH_SERVER_OPTIONS                                                                        \
	{ "ca", 0, "FILE", VALUE_FILE, NULL, "trust this CA certificate instead of the system's" }, \
	{ "unix-socket", 0, "FILE", VALUE_FILE, NULL, "connect to this Unix socket" },             \
	{ "plain-http", 0, NULL, VALUE_TEXT, NULL,                                                 \
	  "take http:// to another machine: the way is protected by a tunnel" }
#define AUTH_ORIGIN_OPTION                                                                         \
	{ "origin", 0, "ORIGIN", VALUE_TEXT, NULL, "what the server calls itself, where the URL is another" }
#define AUTH_PASSWORD_OPTIONS                                                                      \
	{ "password-file", 0, "FILE", VALUE_FILE, NULL,                                            \
	  "take the first line of FILE, or - for standard input, instead of asking" },             \
	{ "password-fd", 0, "N", VALUE_NUMBER, NULL, "read the password from file descriptor N" }

static const char *const key_stores[] = { "keyring", "file", NULL };

static const struct option auth_register_options[] = {
	{ "invite", 0, "TOKEN", VALUE_TEXT, NULL, "the invitation; every user of this machine can see it here" },
	{ "invite-file", 0, "FILE", VALUE_FILE, NULL, "the same, in FILE or on standard input (-), instead of asking" },
	AUTH_PASSWORD_OPTIONS,
	AUTH_ORIGIN_OPTION,
	AUTH_SERVER_OPTIONS,
	{ .name = NULL },
};

static const struct option auth_login_options[] = {
	AUTH_PASSWORD_OPTIONS,
	{ "key-store", 0, "WHERE", VALUE_CHOICE, key_stores,
	  "keep the key in the kernel's keyring (default, where there is one) or in a file" },
	AUTH_ORIGIN_OPTION,
	AUTH_SERVER_OPTIONS,
	{ .name = NULL },
};

static const struct option auth_password_options[] = {
	AUTH_PASSWORD_OPTIONS,
	AUTH_SERVER_OPTIONS,
	{ .name = NULL },
};

static const struct option auth_logout_options[] = {
	{ "local", 0, NULL, VALUE_TEXT, NULL, "forget the login here without telling the server" },
	AUTH_SERVER_OPTIONS,
	{ .name = NULL },
};

static const struct option auth_status_options[] = {
	AUTH_SERVER_OPTIONS,
	{ .name = NULL },
};

static const struct option auth_request_options[] = {
	{ "method", 'X', "METHOD", VALUE_TEXT, NULL, "GET, or POST with --data, where it is not said" },
	{ "header", 'H', "LINE", VALUE_TEXT, NULL, "a further header line; may be repeated", .many = true },
	{ "data", 'd', "BODY", VALUE_TEXT, NULL, "send this, or what is in @FILE, or on standard input (@-)" },
	{ "include", 'i', NULL, VALUE_TEXT, NULL, "print the answer's header lines, too" },
	{ "output", 'o', "FILE", VALUE_FILE, NULL, "write the answer to FILE, in place of what is in it" },
	{ "user", 0, "USER", VALUE_TEXT, NULL, "whose login, where there are several" },
	{ "login", 0, "URL", VALUE_TEXT, NULL, "the authd whose login to use, where URL is another server's" },
	{ "timeout", 0, "TIME", VALUE_TEXT, NULL, "wait at most this long (default: while something comes every 30s)" },
	AUTH_SERVER_OPTIONS,
	{ .name = NULL },
};

static const struct option auth_selftest_options[] = {
	{ "invite", 0, "TOKEN", VALUE_TEXT, NULL, "an invitation for the throw-away user" },
	{ "invite-file", 0, "FILE", VALUE_FILE, NULL, "the same, in FILE or on standard input (-)" },
	AUTH_ORIGIN_OPTION,
	AUTH_SERVER_OPTIONS,
	{ .name = NULL },
};

static const char *const user_actions[] = { "list", "disable", "enable", "delete", NULL };
static const char *const session_actions[] = { "list", "revoke", NULL };
static const char *const key_actions[] = { "list", "rotate", "retire", NULL };
static const char *const ban_actions[] = { "list", "lift", NULL };

static const struct option auth_invite_options[] = {
	{ "lifetime", 0, "TIME", VALUE_TEXT, NULL, "how long it is good (default: as authd.yaml says)" },
	{ "list", 0, NULL, VALUE_TEXT, NULL, "make none, but list those that nobody has used" },
	{ "withdraw", 0, "ID", VALUE_NUMBER, NULL, "make none, but take this one back" },
	{ .name = NULL },
};

static const struct option auth_sessions_options[] = {
	{ "user", 0, "USER", VALUE_TEXT, NULL, "this user's: list them alone, or end all of them" },
	{ .name = NULL },
};

static const struct option auth_keys_options[] = {
	{ "force", 0, NULL, VALUE_TEXT, NULL, "retire also what users still need: they must be invited anew" },
	{ "yes", 'y', NULL, VALUE_TEXT, NULL, "do not ask" },
	{ .name = NULL },
};

static const struct option auth_bans_options[] = {
	{ "user", 0, NULL, VALUE_TEXT, NULL, "WHO is a user's name, though it looks like an address" },
	{ .name = NULL },
};

static const struct option check_options[] = {
	{ "daemon", 0, "NAME", VALUE_CHOICE, daemon_names,
	  "the files are NAME's (default: by the file's name)" },
	{ .name = NULL },
};

static const struct option backup_options[] = {
	{ "passphrase-file", 0, "FILE", VALUE_FILE, NULL,
	  "take the first line of FILE, or - for standard input, instead of asking" },
	{ "force", 0, NULL, VALUE_TEXT, NULL, "overwrite FILE" },
	{ "list", 0, NULL, VALUE_TEXT, NULL, "do not make FILE, but show what it holds" },
	{ "config-dir", 0, "DIR", VALUE_FILE, NULL, "where the configuration is (/etc/handfast)" },
	{ .name = NULL },
};

static const struct option restore_options[] = {
	{ "passphrase-file", 0, "FILE", VALUE_FILE, NULL,
	  "take the first line of FILE, or - for standard input, instead of asking" },
	{ "yes", 'y', NULL, VALUE_TEXT, NULL, "do not ask" },
	{ "dry-run", 0, NULL, VALUE_TEXT, NULL, "check everything, show what FILE holds, and change nothing" },
	{ "replace", 0, NULL, VALUE_TEXT, NULL, "also in place of existing pairings and tunnels" },
	{ "config-dir", 0, "DIR", VALUE_FILE, NULL, "where the configuration goes (/etc/handfast)" },
	{ "state-dir", 0, "DIR", VALUE_FILE, NULL, "above the daemons' state folders (/var/lib/handfast)" },
	{ .name = NULL },
};

static const struct option show_options[] = {
	{ "check-fuel", 0, NULL, VALUE_TEXT, NULL, "exit as “tunnel fuel” does when its key file runs low" },
	{ .name = NULL },
};

static const struct option generate_options[] = {
	{ "mix", 0, "DEVICE", VALUE_FILE, NULL,
	  "XOR what a hardware random generator gives (/dev/hwrng) into what the kernel gives" },
	{ .name = NULL },
};

static const struct option doctor_options[] = {
	{ "only", 0, "CHECK,...", VALUE_TEXT, NULL, "run these checks alone" },
	{ "list", 0, NULL, VALUE_TEXT, NULL, "list the checks and run none" },
	{ .name = NULL },
};

#define AUTH_URL_ARGUMENT { "URL", VALUE_TEXT, NULL, false, false, "the authd: https://HOST[:PORT][/PREFIX]" }
#define AUTH_USER_ARGUMENT { "USER", VALUE_TEXT, NULL, true, false, "the user's name (default: yours on this machine)" }
#define PEER_ARGUMENT { "PEER", VALUE_PEER, NULL, false, false, "a paired device's name" }
#define TUNNEL_ARGUMENT { "TUNNEL", VALUE_TUNNEL, NULL, false, false, "a tunnel's name" }

const struct command commands[] = {
	{
		"pair",
		"pair this device with another",
		"Without INVITATION: make a PIN and an invitation, show them, and wait for the other "
		"device. With it: join, and be asked for the PIN. Both then show three numbers; pick "
		"the one that is on both screens.",
		{ { "INVITATION", VALUE_TEXT, NULL, true, false,
		    "what the other device shows: CODE@HOST:PORT" } },
		pair_options,
		cmd_pair,
	},
	{ "peers", "list the paired devices", NULL, { { NULL } }, NULL, cmd_peers },
	{ "peer show", "show one paired device", NULL, { PEER_ARGUMENT }, NULL, cmd_peer_show },
	{
		"peer rename",
		"call a paired device something else",
		NULL,
		{ PEER_ARGUMENT,
		  { "NAME", VALUE_TEXT, NULL, false, false, "its new name: a-z A-Z 0-9 . _ -" } },
		NULL,
		cmd_peer_rename,
	},
	{
		"peer forget",
		"remove a pairing and what was made from it",
		"The tunnel from this pairing is removed, too. The other device keeps its own record "
		"until it is forgotten there.",
		{ PEER_ARGUMENT },
		yes_options,
		cmd_peer_forget,
	},
	{ "identity", "show this device's own name and identity", NULL, { { NULL } }, NULL,
	  cmd_identity },
	{ "tunnel list", "list the tunnels", NULL, { { NULL } }, NULL, cmd_tunnel_list },
	{ "tunnel show", "show one tunnel: peer, traffic, drops, fuel", NULL, { TUNNEL_ARGUMENT },
	  show_options, cmd_tunnel_show },
	{
		"tunnel fuel",
		"show what is left of key files, and how long it lasts",
		"Exits with 10, 11 or 12 when less than 20, 5 or 1 percent is left, with 13 when nothing is.",
		{ { "TUNNEL", VALUE_TUNNEL, NULL, true, false, "a tunnel's name (default: all of them)" } },
		NULL,
		cmd_tunnel_fuel,
	},
	{
		"tunnel address",
		"print the peer's address inside a tunnel, or this machine's",
		"One line, for scripts: ssh $(handfast tunnel address pi).",
		{ TUNNEL_ARGUMENT },
		address_options,
		cmd_tunnel_address,
	},
	{
		"tunnel up",
		"bring a tunnel up and keep it so over restarts",
		"Waits for the first handshake and tells each step.",
		{ { "TUNNEL", VALUE_TUNNEL, NULL, false, false,
		    "a tunnel's name, or that of a paired device" } },
		up_options,
		cmd_tunnel_up,
	},
	{ "tunnel down", "take a tunnel down and keep it so", NULL, { TUNNEL_ARGUMENT }, NULL,
	  cmd_tunnel_down },
	{
		"tunnel add",
		"add a tunnel that uses a key file",
		"The same file must be on both sides, carried by hand.",
		{ { "NAME", VALUE_TEXT, NULL, false, false, "a name for the new tunnel" } },
		add_options,
		cmd_tunnel_add,
	},
	{
		"tunnel set",
		"show or change what a tunnel is set to",
		"Without options it shows them. What is given takes the place of what was, a list whole; the rest stays. "
		"A tunnel that runs begins again on the same device. Declared tunnels are changed in their files.",
		{ TUNNEL_ARGUMENT },
		set_options,
		cmd_tunnel_set,
	},
	{ "tunnel remove", "remove a tunnel",
	  "A key file is left alone. The keys of a pairing are removed with their tunnel, after asking.",
	  { TUNNEL_ARGUMENT }, yes_options, cmd_tunnel_remove },
	{
		"tunnel burn",
		"give up key material so that both sides agree again",
		"After a restored disk a tunnel may stop and ask for this. What is given up is never "
		"used.",
		{ TUNNEL_ARGUMENT },
		burn_options,
		cmd_tunnel_burn,
	},
	{
		"tunnel pin",
		"show or set which device a tunnel's key file is to be used by",
		"Without KEY and options it shows this device's key, and the one that is pinned. With a pin both "
		"sides sign their handshakes, so each pins the other's key; until both have, the tunnel stays "
		"down. Tunnels from a pairing are pinned by it.",
		{ TUNNEL_ARGUMENT,
		  { "KEY", VALUE_TEXT, NULL, true, false, "the other device's public key, as this command shows it there" } },
		pin_options,
		cmd_tunnel_pin,
	},
	{
		"tunnel allow",
		"show or set which labels the other end of a key file's tunnel may have",
		"A label tells machines apart and proves nothing: whoever has the key file can say any. A pin "
		"does prove it. The labels given take the place of those before.",
		{ TUNNEL_ARGUMENT,
		  { "LABEL", VALUE_TEXT, NULL, true, true, "what the other side's “tunnel show” has as its identity" } },
		allow_options,
		cmd_tunnel_allow,
	},
	{
		"tunnel revoke",
		"show or set whom a tunnel no longer hears",
		"Who has a revoked identity is refused whatever key material it has, and a session with it ends at once. "
		"A key is proven by its owner; a label is only what its owner says.",
		{ TUNNEL_ARGUMENT,
		  { "IDENTITY", VALUE_TEXT, NULL, true, true, "a public key, or an identity as “tunnel show” has it" } },
		revoke_options,
		cmd_tunnel_revoke,
	},
	{
		"tunnel stage",
		"name the key file that a tunnel uses next",
		"Stage the same file on both sides: they find out by themselves, switch to it without "
		"losing a packet, and never use the one before again.",
		{ TUNNEL_ARGUMENT,
		  { "FILE", VALUE_FILE, NULL, false, false, "the key file, the same on both sides" } },
		NULL,
		cmd_tunnel_stage,
	},
	{ "tunnel unstage", "take a staged key file back", "The tunnel stays with the one in use.",
	  { TUNNEL_ARGUMENT }, NULL, cmd_tunnel_unstage },
	{
		"tunnel generate",
		"make a key file",
		"Writes FILE, readable by you alone, and FILE.sha256 beside it. Refuses to overwrite.",
		{ { "FILE", VALUE_FILE, NULL, false, false, "the key file to make" },
		  { "SIZE", VALUE_TEXT, NULL, false, false,
		    "how large: 10M, 1G …; a multiple of 120 bytes is made of it" } },
		generate_options,
		cmd_tunnel_generate,
	},
	{
		"tunnel verify",
		"check a key file against its checksum",
		NULL,
		{ { "FILE", VALUE_FILE, NULL, false, false, "the key file" } },
		NULL,
		cmd_tunnel_verify,
	},
	{ "relay status", "show the local relay", NULL, { { NULL } }, NULL, cmd_relay_status },
	{ "relay sessions", "list the relay's open sessions", NULL, { { NULL } }, NULL,
	  cmd_relay_sessions },
	{
		"relay drop",
		"end one of the relay's sessions",
		NULL,
		{ { "CODE", VALUE_SESSION, NULL, false, false, "the session's code" } },
		NULL,
		cmd_relay_drop,
	},
	{
		"link setup",
		"set up the direct cable to the other machine",
		"Writes one file for NetworkManager or systemd-networkd, whichever manages the "
		"interface; shows it first, and takes it back when it does not work. "
		"See handfast-link(7).",
		{ { "IFACE", VALUE_INTERFACE, NULL, false, false, "the interface the cable is in" } },
		link_options,
		cmd_link_setup,
	},
	{ "link undo", "remove what link setup wrote", "Nothing else is touched.",
	  { { "IFACE", VALUE_INTERFACE, NULL, false, false, "the interface that was set up" } }, NULL,
	  cmd_link_undo },
	{
		"link show",
		"show cables: speed, addresses, who manages them, offloads",
		"With IFACE, and where one was set up, the other end is asked to answer.",
		{ { "IFACE", VALUE_INTERFACE, NULL, true, false, "one interface, of any kind" } },
		NULL,
		cmd_link_show,
	},
	{
		"auth register",
		"register a user with an authd",
		"The password is asked for twice, and the invitation where the server wants one. The password never "
		"leaves this machine, not even hashed.",
		{ AUTH_URL_ARGUMENT, AUTH_USER_ARGUMENT },
		auth_register_options,
		cmd_auth_register,
	},
	{
		"auth login",
		"log in at an authd, for “handfast auth request”",
		"The login is kept for this user alone until it expires, or until “handfast auth logout”.",
		{ AUTH_URL_ARGUMENT, AUTH_USER_ARGUMENT },
		auth_login_options,
		cmd_auth_login,
	},
	{
		"auth password",
		"change the password of a user who is logged in",
		"All other logins of the user end.",
		{ AUTH_URL_ARGUMENT, { "USER", VALUE_TEXT, NULL, true, false, "whose login, where there are several" } },
		auth_password_options,
		cmd_auth_password,
	},
	{
		"auth logout",
		"end a login, there and here",
		NULL,
		{ AUTH_URL_ARGUMENT, { "USER", VALUE_TEXT, NULL, true, false, "whose login, where there are several" } },
		auth_logout_options,
		cmd_auth_logout,
	},
	{
		"auth status",
		"list this user's logins; with URL, ask the server about one",
		NULL,
		{ { "URL", VALUE_TEXT, NULL, true, false, "the authd" },
		  { "USER", VALUE_TEXT, NULL, true, false, "whose login, where there are several" } },
		auth_status_options,
		cmd_auth_status,
	},
	{
		"auth request",
		"make one HTTP request, signed with a login",
		"Like curl, for services behind an authd: the session and a proof that only this request can use go "
		"along. No redirect is followed. Exits 1 or 4 when the answer's status is 400 or more.",
		{ { "URL", VALUE_TEXT, NULL, false, false, "what to ask for" } },
		auth_request_options,
		cmd_auth_request,
	},
	{
		"auth selftest",
		"attack an authd with a throw-away user of its own",
		"Shows that replayed, stolen and changed requests are refused, each beside the right one, which is "
		"taken. The user is deleted afterwards.",
		{ AUTH_URL_ARGUMENT },
		auth_selftest_options,
		cmd_auth_selftest,
	},
	{
		"auth invite",
		"invite somebody to register with the local authd",
		"Prints a token that is good once. With USER, it is for this name alone, which may exist: whoever "
		"forgot the password registers anew with it.",
		{ { "USER", VALUE_TEXT, NULL, true, false, "for this name alone" } },
		auth_invite_options,
		cmd_auth_invite,
	},
	{
		"auth users",
		"list, disable, enable or delete the local authd's users",
		"A disabled user's sessions end, and no login succeeds until it is enabled again.",
		{ { "ACTION", VALUE_CHOICE, user_actions, true, false, "list (default), disable, enable or delete" },
		  { "USER", VALUE_TEXT, NULL, true, false, "whom; not with list" } },
		yes_options,
		cmd_auth_users,
	},
	{
		"auth sessions",
		"list or revoke the local authd's sessions",
		NULL,
		{ { "ACTION", VALUE_CHOICE, session_actions, true, false, "list (default) or revoke" },
		  { "ID", VALUE_NUMBER, NULL, true, false, "which, by its number in the list" } },
		auth_sessions_options,
		cmd_auth_sessions,
	},
	{
		"auth keys",
		"list, rotate or retire the local authd's keys",
		"After rotate there are two generations; users move to the newest at their next login. Retire the "
		"other one when all have moved.",
		{ { "ACTION", VALUE_CHOICE, key_actions, true, false, "list (default), rotate or retire" },
		  { "ID", VALUE_NUMBER, NULL, true, false, "which generation to retire" } },
		auth_keys_options,
		cmd_auth_keys,
	},
	{
		"auth bans",
		"list or lift the local authd's bans",
		"Bans end by themselves. A user's bans show only for names that there are.",
		{ { "ACTION", VALUE_CHOICE, ban_actions, true, false, "list (default) or lift" },
		  { "WHO", VALUE_TEXT, NULL, true, false, "a user or an address" } },
		auth_bans_options,
		cmd_auth_bans,
	},
	{ "status", "show all daemons on one screen", NULL, { { NULL } }, NULL, cmd_status },
	{
		"doctor",
		"look for what is wrong with this installation, and say what to do",
		"Checks units, sockets, groups, configuration, disk, clock, relay and the way to each peer; "
		"changes nothing. As root it sees more. Exits 1 when something is a failure.",
		{ { NULL } },
		doctor_options,
		cmd_doctor,
	},
	{
		"metrics",
		"print what every daemon counts, for Prometheus",
		"In Prometheus' text format, for its node_exporter's textfile collector "
		"(handfast-metrics(7)). A daemon that is down has handfast_up 0, and is not started.",
		{ { NULL } },
		NULL,
		cmd_metrics,
	},
	{ "selfcheck", "check every cryptographic primitive against known answers",
	  "Runs inside this command; no daemon is needed.", { { NULL } }, NULL, cmd_selfcheck },
	{
		"check",
		"check configuration files without starting anything",
		"Without FILE: all of /etc/handfast. A file in a folder named tunnels is checked with "
		"the others there and the pskd.yaml beside that folder.",
		{ { "FILE", VALUE_FILE, NULL, true, true, "a configuration file" } },
		check_options,
		cmd_check,
	},
	{
		"reload",
		"make a daemon read its configuration again",
		"On an error the running configuration stays in force.",
		{ { "DAEMON", VALUE_CHOICE, daemon_names, false, false,
		    "relayd, pairingd, pskd or authd" } },
		NULL,
		cmd_reload,
	},
	{
		"backup",
		"put identity, pairings, tunnels and configuration into one sealed file",
		"Asks for a passphrase. The keys of tunnels from pairings are not inside: after a restore "
		"each device is paired again. Needs root.",
		{ { "FILE", VALUE_FILE, NULL, false, false, "the file to make, or - for standard output" } },
		backup_options,
		cmd_backup,
	},
	{
		"restore",
		"bring back what a backup holds",
		"Checks all of FILE before anything changes, and says what must be done afterwards. The "
		"machine that FILE came from must not go on with the same identity. Needs root.",
		{ { "FILE", VALUE_FILE, NULL, false, false, "a backup, or - for standard input" } },
		restore_options,
		cmd_restore,
	},
	{
		"completion",
		"print a completion script for a shell",
		NULL,
		{ { "SHELL", VALUE_CHOICE, shells, false, false, "bash, zsh or fish" } },
		NULL,
		cmd_completion,
	},
	{ "version", "print the version", NULL, { { NULL } }, NULL, cmd_version },
	{
		"help",
		"say how to use a command",
		NULL,
		{ { "COMMAND", VALUE_COMMAND, NULL, true, true, "a command or a group of them" } },
		NULL,
		cmd_help,
	},
	{
		"complete",
		"words for completion scripts",
		NULL,
		{ { "KIND", VALUE_CHOICE, word_kinds, false, false,
		    "peers, tunnels, sessions or interfaces" } },
		NULL,
		cmd_complete,
		.hidden = true,
	},
};
const size_t n_commands = ARRAY_SIZE(commands);
