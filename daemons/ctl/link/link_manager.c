/*
 * Every call says that no service is to be started for it, so that asking
 * networkd does not make it run. A manager that runs but does not answer counts
 * as one that has nothing to do with the interface.
 */
#include "ctl/link/link_manager.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#include "ctl/terminal.h"

enum {
	CALL_US = 5 * 1000 * 1000,
	POLL_MS = 100,
	NETWORKD_WAIT_MS = 10 * 1000,
	NETWORKMANAGER_WAIT_MS = 30 * 1000,
	FORGET_WAIT_MS = 10 * 1000,
	INTERFACES_MAX = 256 * 1024,
	DESCRIPTION_MAX = 1024 * 1024,
};

#define NM "org.freedesktop.NetworkManager"
#define NM_PATH "/org/freedesktop/NetworkManager"
#define ND "org.freedesktop.network1"
#define ND_PATH "/org/freedesktop/network1"

/* org.freedesktop.NetworkManager: NMActiveConnectionState, NMDeviceState. */
enum { ACTIVE_IS_UP = 2, ACTIVE_IS_GOING = 3, DEVICE_UNMANAGED = 10, DEVICE_UNAVAILABLE = 20 };

struct link_bus {
	sd_bus *bus; /* NULL: there is none */
};

static void message_unrefp(sd_bus_message **m)
{
	sd_bus_message_unref(*m);
}
#define _cleanup_message_ _cleanup_(message_unrefp)

int link_bus_open(struct link_bus **out)
{
	struct link_bus *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	if (sd_bus_open_system(&b->bus) < 0)
		b->bus = NULL;
	else
		sd_bus_set_method_call_timeout(b->bus, CALL_US);
	*out = b;
	return 0;
}

struct link_bus *link_bus_close(struct link_bus *b)
{
	if (b) {
		sd_bus_flush_close_unref(b->bus);
		free(b);
	}
	return NULL;
}

/* ---- calls ---- */

/* A method with arguments as types says; *reply may be NULL. 0 or negative errno with why filled. */
static int call(const struct link_bus *b, const char *service, const char *path,
		const char *interface, const char *method, char *why, size_t cap,
		sd_bus_message **reply, const char *types, ...)
{
	_cleanup_message_ sd_bus_message *m = NULL, *answer = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	va_list ap;
	int r;

	if (why)
		snprintf(why, cap, "%s is not there", service);
	if (!b->bus)
		return -ENOTCONN;
	r = sd_bus_message_new_method_call(b->bus, &m, service, path, interface, method);
	if (r < 0)
		return r;
	sd_bus_message_set_auto_start(m, false);
	if (*types) {
		va_start(ap, types);
		r = sd_bus_message_appendv(m, types, ap);
		va_end(ap);
		if (r < 0)
			return r;
	}
	r = sd_bus_call(b->bus, m, 0, &error, &answer);
	if (r < 0 && why)
		text_clean(why, cap, error.message ? error.message : strerror(-r),
			   strlen(error.message ? error.message : strerror(-r)));
	sd_bus_error_free(&error);
	if (r < 0)
		return r;
	if (reply)
		*reply = steal(&answer);
	return 0;
}

/* A property that is one value of type; into out, cleaned and cut to cap. */
static bool get_text(const struct link_bus *b, const char *service, const char *path,
		     const char *interface, const char *name, const char *type, char *out, size_t cap)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	const char *text;

	if (call(b, service, path, "org.freedesktop.DBus.Properties", "Get", NULL, 0, &m, "ss",
		 interface, name) < 0)
		return false;
	if (sd_bus_message_enter_container(m, 'v', type) < 0 ||
	    sd_bus_message_read_basic(m, *type, (void *)&text) < 0)
		return false;
	text_clean(out, cap, text, strlen(text));
	return true;
}

static bool get_u32(const struct link_bus *b, const char *path, const char *interface,
		    const char *name, uint32_t *out)
{
	_cleanup_message_ sd_bus_message *m = NULL;

	return call(b, NM, path, "org.freedesktop.DBus.Properties", "Get", NULL, 0, &m, "ss",
		    interface, name) == 0 &&
	       sd_bus_message_enter_container(m, 'v', "u") >= 0 &&
	       sd_bus_message_read_basic(m, 'u', out) >= 0;
}

static bool is_running(const struct link_bus *b, const char *service)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	int has = 0;

	return call(b, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
		    "NameHasOwner", NULL, 0, &m, "s", service) == 0 &&
	       sd_bus_message_read_basic(m, 'b', &has) >= 0 && has;
}

/* ---- NetworkManager ---- */

static bool nm_device(const struct link_bus *b, const char *name, char *out, size_t cap)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	const char *path;

	if (call(b, NM, NM_PATH, NM, "GetDeviceByIpIface", NULL, 0, &m, "s", name) < 0 ||
	    sd_bus_message_read_basic(m, 'o', (void *)&path) < 0)
		return false;
	snprintf(out, cap, "%s", path);
	return true;
}

/* The active connection of a device; "" for none. */
static void nm_active(const struct link_bus *b, const char *device, char *out, size_t cap)
{
	if (!get_text(b, NM, device, NM ".Device", "ActiveConnection", "o", out, cap) ||
	    strcmp(out, "/") == 0)
		snprintf(out, cap, "%s", "");
}

static bool nm_has(const struct link_bus *b, const struct link_state *l, char *profile, size_t cap)
{
	char device[LINK_TEXT_MAX], active[LINK_TEXT_MAX];
	uint32_t state;

	if (!nm_device(b, l->name, device, sizeof(device)) ||
	    !get_u32(b, device, NM ".Device", "State", &state) || state <= DEVICE_UNMANAGED)
		return false;
	nm_active(b, device, active, sizeof(active));
	if (*active)
		get_text(b, NM, active, NM ".Connection.Active", "Id", "s", profile, cap);
	return true;
}

/* ---- networkd ---- */

/* What it says of an interface; a new reference, or NULL. */
static json_t *nd_describe(const struct link_bus *b, int index)
{
	static const struct json_limits limits = { .max_bytes = DESCRIPTION_MAX,
						   .max_depth = 16,
						   .max_keys = 20000 };
	_cleanup_message_ sd_bus_message *m = NULL;
	json_t *out = NULL;
	const char *text;

	if (call(b, ND, ND_PATH, ND ".Manager", "DescribeLink", NULL, 0, &m, "i", index) < 0 ||
	    sd_bus_message_read_basic(m, 's', (void *)&text) < 0 ||
	    json_parse(&out, text, strlen(text), &limits) != 0)
		return NULL;
	return out;
}

static bool nd_has(const struct link_bus *b, const struct link_state *l, char *profile, size_t cap)
{
	_cleanup_json_ json_t *link = nd_describe(b, l->index);
	const char *state = json_get_str(link, "AdministrativeState");
	const char *file = json_get_str(link, "NetworkFile");

	if (!state || strcmp(state, "unmanaged") == 0 || strcmp(state, "initialized") == 0)
		return false;
	text_clean(profile, cap, file ? file : "", file ? strlen(file) : 0);
	return true;
}

/* ---- the others ---- */

/* "iface eth0 …", "auto … eth0", "allow-hotplug … eth0" */
static bool line_names(const char *line, size_t len, const char *name)
{
	static const char *const words[] = { "iface", "auto", "allow-hotplug", "allow-auto", "mapping" };
	size_t at = strspn(line, " \t"), word = strcspn(line + at, " \t\n");
	bool wanted = false;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		wanted = wanted || (strlen(words[i]) == word && memcmp(line + at, words[i], word) == 0);
	while (wanted && at + word < len) {
		at += word;
		at += strspn(line + at, " \t");
		word = strcspn(line + at, " \t\n");
		if (word == 0)
			return false;
		if (strlen(name) == word && memcmp(line + at, name, word) == 0)
			return true;
	}
	return false;
}

static bool file_names(const char *path, const char *name, char *where, size_t cap)
{
	_cleanup_free_ char *text = NULL;
	unsigned int number = 1;
	size_t len;

	if (file_read(&text, &len, path, INTERFACES_MAX) != 0)
		return false;
	for (const char *line = text; *line; number++) {
		size_t n = strcspn(line, "\n");

		if (line_names(line, n, name)) {
			snprintf(where, cap, "%s, line %u", path, number);
			return true;
		}
		line += n + (line[n] == '\n');
	}
	return false;
}

static bool ifupdown_has(const char *name, char *where, size_t cap)
{
	static const char folder[] = "/etc/network/interfaces.d";
	struct dirent *e;
	bool found;
	DIR *d;

	if (file_names("/etc/network/interfaces", name, where, cap))
		return true;
	d = opendir(folder);
	found = false;
	while (d && !found && (e = readdir(d))) {
		char path[sizeof(folder) + sizeof(e->d_name) + 1];

		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		found = *e->d_name != '.' && file_names(path, name, where, cap);
	}
	if (d)
		closedir(d);
	return found;
}

/* Raspberry Pi OS before 2023 used it for all interfaces. */
static bool dhcpcd_runs(const char *name)
{
	char own[64 + IF_NAMESIZE];

	snprintf(own, sizeof(own), "/run/dhcpcd/%s.pid", name);
	return access("/run/dhcpcd/pid", F_OK) == 0 || access("/run/dhcpcd.pid", F_OK) == 0 ||
	       access(own, F_OK) == 0;
}

void link_find_manager(struct link_found *out, struct link_bus *b, const struct link_state *l)
{
	struct link_found f = { 0 };
	char nd_profile[LINK_TEXT_MAX] = "", nm_profile[LINK_TEXT_MAX] = "";
	bool nm, nd;

	f.runs[LINK_NETWORKMANAGER] = is_running(b, NM);
	f.runs[LINK_NETWORKD] = is_running(b, ND);
	f.installed[LINK_NETWORKMANAGER] = f.runs[LINK_NETWORKMANAGER] ||
					   access("/usr/sbin/NetworkManager", X_OK) == 0;
	f.installed[LINK_NETWORKD] = f.runs[LINK_NETWORKD] ||
				     access("/usr/lib/systemd/systemd-networkd", X_OK) == 0 ||
				     access("/lib/systemd/systemd-networkd", X_OK) == 0;
	nm = f.runs[LINK_NETWORKMANAGER] && nm_has(b, l, nm_profile, sizeof(nm_profile));
	nd = f.runs[LINK_NETWORKD] && nd_has(b, l, nd_profile, sizeof(nd_profile));
	f.both = nm && nd;
	if (nd) {
		f.manager = LINK_NETWORKD;
		memcpy(f.profile, nd_profile, sizeof(f.profile));
	} else if (nm) {
		f.manager = LINK_NETWORKMANAGER;
		memcpy(f.profile, nm_profile, sizeof(f.profile));
	} else if (ifupdown_has(l->name, f.where, sizeof(f.where))) {
		f.manager = LINK_IFUPDOWN;
	} else if (dhcpcd_runs(l->name)) {
		f.manager = LINK_DHCPCD;
	}
	*out = f;
}

/* ---- does another profile come first ---- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* networkd takes the first that matches, in the order of file names, whatever their folder. */
static bool nd_other_wins(struct link_bus *b, const struct link_state *l, char *why, size_t cap)
{
	char ours[LINK_PATH_MAX], file[LINK_TEXT_MAX] = "";

	link_profile_path(ours, LINK_NETWORKD, l->name);
	if (!nd_has(b, l, file, sizeof(file)) || !*file || strcmp(file, ours) == 0 ||
	    strcmp(base_name(file), base_name(ours)) >= 0)
		return false;
	snprintf(why, cap, "%s matches %s, too, and comes first by its name", file, l->name);
	return true;
}

/* What matters of one of NetworkManager's profiles. */
struct nm_settings {
	char id[64], uuid[64], interface[IF_NAMESIZE], type[32];
	int priority;
	bool autoconnect;
};

/* One entry of the dictionary "connection". */
static int read_setting(sd_bus_message *m, struct nm_settings *s)
{
	const char *key, *text = NULL;
	int r = sd_bus_message_read_basic(m, 's', (void *)&key), flag;
	struct {
		const char *key;
		char *out;
		size_t cap;
	} texts[] = { { "id", s->id, sizeof(s->id) },
		      { "uuid", s->uuid, sizeof(s->uuid) },
		      { "interface-name", s->interface, sizeof(s->interface) },
		      { "type", s->type, sizeof(s->type) } };

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (strcmp(key, texts[i].key) != 0)
			continue;
		r = sd_bus_message_read(m, "v", "s", &text);
		if (r >= 0)
			text_clean(texts[i].out, texts[i].cap, text, strlen(text));
		return r;
	}
	if (strcmp(key, "autoconnect-priority") == 0)
		return sd_bus_message_read(m, "v", "i", &s->priority);
	if (strcmp(key, "autoconnect") != 0)
		return sd_bus_message_skip(m, "v");
	r = sd_bus_message_read(m, "v", "b", &flag);
	s->autoconnect = r >= 0 && flag;
	return r;
}

/* a{sa{sv}} */
static bool nm_settings_of(const struct link_bus *b, const char *path, struct nm_settings *out)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	struct nm_settings s = { .autoconnect = true };
	const char *group;
	int r;

	if (call(b, NM, path, NM ".Settings.Connection", "GetSettings", NULL, 0, &m, "") < 0 ||
	    sd_bus_message_enter_container(m, 'a', "{sa{sv}}") < 0)
		return false;
	while ((r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
		if (sd_bus_message_read_basic(m, 's', (void *)&group) < 0)
			return false;
		if (strcmp(group, "connection") != 0) {
			r = sd_bus_message_skip(m, "a{sv}");
		} else {
			r = sd_bus_message_enter_container(m, 'a', "{sv}");
			while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
				r = read_setting(m, &s);
				if (r >= 0)
					r = sd_bus_message_exit_container(m);
			}
			if (r >= 0)
				r = sd_bus_message_exit_container(m);
		}
		if (r < 0 || sd_bus_message_exit_container(m) < 0)
			return false;
	}
	if (r < 0)
		return false;
	*out = s;
	return true;
}

static bool nm_other_wins(struct link_bus *b, const struct link_state *l, char *why, size_t cap)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	char ours[LINK_UUID_MAX];
	const char *path;

	link_profile_uuid(ours, l->name);
	if (call(b, NM, NM_PATH "/Settings", NM ".Settings", "ListConnections", NULL, 0, &m, "") < 0 ||
	    sd_bus_message_enter_container(m, 'a', "o") < 0)
		return false;
	while (sd_bus_message_read_basic(m, 'o', (void *)&path) > 0) {
		struct nm_settings s;

		if (!nm_settings_of(b, path, &s) || strcmp(s.uuid, ours) == 0 ||
		    strcmp(s.type, "802-3-ethernet") != 0 || !s.autoconnect ||
		    s.priority < LINK_NM_PRIORITY || (*s.interface && strcmp(s.interface, l->name) != 0))
			continue;
		snprintf(why, cap, "NetworkManager's profile \"%s\" fits %s, too, and has the priority %d",
			 s.id, l->name, s.priority);
		return true;
	}
	return false;
}

bool link_other_wins(struct link_bus *b, enum link_manager m, const struct link_state *l, char *why,
		     size_t cap)
{
	return m == LINK_NETWORKMANAGER ? nm_other_wins(b, l, why, cap) :
					  nd_other_wins(b, l, why, cap);
}

/* ---- apply ---- */

static bool wait_a_little(uint64_t since, uint64_t limit_ms)
{
	struct timespec t = { .tv_nsec = POLL_MS * 1000 * 1000 };

	if (clock_now_ms() - since >= limit_ms)
		return false;
	nanosleep(&t, NULL);
	return true;
}

static int nd_reload(struct link_bus *b, char *why, size_t cap)
{
	return call(b, ND, ND_PATH, ND ".Manager", "Reload", why, cap, NULL, "") < 0 ? LINK_E_REFUSED :
										      0;
}

static int nd_apply(struct link_bus *b, const struct link_state *l, const char *path, char *why,
		    size_t cap)
{
	uint64_t since = clock_now_ms();
	char file[LINK_TEXT_MAX] = "", state[32] = "";
	int r = nd_reload(b, why, cap);

	if (r)
		return r;
	/* A file that was there before is followed again only when told so. */
	if (call(b, ND, ND_PATH, ND ".Manager", "ReconfigureLink", why, cap, NULL, "i", l->index) < 0)
		return LINK_E_REFUSED;
	do {
		_cleanup_json_ json_t *link = nd_describe(b, l->index);
		const char *f = json_get_str(link, "NetworkFile");
		const char *s = json_get_str(link, "AdministrativeState");

		text_clean(file, sizeof(file), f ? f : "", f ? strlen(f) : 0);
		text_clean(state, sizeof(state), s ? s : "", s ? strlen(s) : 0);
		if (interrupt_seen())
			return LINK_E_INTERRUPTED;
		if (*file && strcmp(file, path) != 0 && strcmp(state, "configured") == 0) {
			snprintf(why, cap, "networkd took %s", file);
			return LINK_E_OTHER_WINS;
		}
		if (strcmp(state, "failed") == 0) {
			snprintf(why, cap, "networkd could not configure %s", l->name);
			return LINK_E_REFUSED;
		}
		if (strcmp(file, path) == 0 && (strcmp(state, "configured") == 0 ||
						(!l->carrier && l->up && strcmp(state, "configuring") == 0)))
			return 0;
	} while (wait_a_little(since, NETWORKD_WAIT_MS));
	if (*file && strcmp(file, path) != 0) {
		snprintf(why, cap, "networkd took %s", file);
		return LINK_E_OTHER_WINS;
	}
	/* Without a cable nothing more happens. With one, somebody has the address already. */
	if (strcmp(file, path) == 0 && strcmp(state, "configuring") == 0)
		return 0;
	snprintf(why, cap, "networkd says that %s is %s", l->name, *state ? state : "unknown to it");
	return LINK_E_TIMED_OUT;
}

/* 1: it is there; 0: it is not; or a negative errno, with why filled. */
static int nm_connection(const struct link_bus *b, const char *name, char *out, size_t out_cap, char *why,
			 size_t cap)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	char uuid[LINK_UUID_MAX];
	const char *path;
	int r;

	link_profile_uuid(uuid, name);
	r = call(b, NM, NM_PATH "/Settings", NM ".Settings", "GetConnectionByUuid", why, cap, &m, "s", uuid);
	/* An error of its own, and it has no other for this call. */
	if (r == -EIO)
		return 0;
	if (r >= 0)
		r = sd_bus_message_read_basic(m, 'o', (void *)&path);
	if (r < 0)
		return r;
	snprintf(out, out_cap, "%s", path);
	return 1;
}

static int nm_load(struct link_bus *b, const char *path, char *why, size_t cap)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	int ok = 0;

	if (call(b, NM, NM_PATH "/Settings", NM ".Settings", "LoadConnections", why, cap, &m, "as", 1,
		 path) < 0)
		return LINK_E_REFUSED;
	if (sd_bus_message_read_basic(m, 'b', &ok) < 0 || !ok) {
		snprintf(why, cap, "NetworkManager does not take %s", path);
		return LINK_E_REFUSED;
	}
	return 0;
}

static int nm_activate(struct link_bus *b, const char *connection, const char *device, char *active,
		       size_t active_cap, char *why, size_t cap)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	const char *path;

	if (call(b, NM, NM_PATH, NM, "ActivateConnection", why, cap, &m, "ooo", connection, device,
		 "/") < 0 ||
	    sd_bus_message_read_basic(m, 'o', (void *)&path) < 0)
		return LINK_E_REFUSED;
	snprintf(active, active_cap, "%s", path);
	return 0;
}

static int nm_wait(struct link_bus *b, const struct link_state *l, const char *active, char *why,
		   size_t cap)
{
	uint64_t since = clock_now_ms();

	do {
		uint32_t state = 0;

		if (interrupt_seen())
			return LINK_E_INTERRUPTED;
		/* One that failed is gone from the bus. */
		if (!get_u32(b, active, NM ".Connection.Active", "State", &state) ||
		    state >= ACTIVE_IS_GOING) {
			snprintf(why, cap, "NetworkManager could not bring the profile up on %s", l->name);
			return LINK_E_REFUSED;
		}
		if (state == ACTIVE_IS_UP)
			return 0;
	} while (wait_a_little(since, NETWORKMANAGER_WAIT_MS));
	snprintf(why, cap, "NetworkManager is still bringing the profile up on %s", l->name);
	return LINK_E_TIMED_OUT;
}

static int nm_apply(struct link_bus *b, const struct link_state *l, const char *path, char *why,
		    size_t cap)
{
	char connection[LINK_TEXT_MAX], device[LINK_TEXT_MAX], active[LINK_TEXT_MAX];
	uint32_t state = 0;
	int r = nm_load(b, path, why, cap);

	if (r)
		return r;
	if (nm_connection(b, l->name, connection, sizeof(connection), why, cap) <= 0) {
		snprintf(why, cap, "NetworkManager does not take %s", path);
		return LINK_E_REFUSED;
	}
	if (!nm_device(b, l->name, device, sizeof(device))) {
		snprintf(why, cap, "NetworkManager no longer knows %s", l->name);
		return LINK_E_REFUSED;
	}
	/* Without a cable it is taken when there is one. */
	if (get_u32(b, device, NM ".Device", "State", &state) && state == DEVICE_UNAVAILABLE)
		return 0;
	r = nm_activate(b, connection, device, active, sizeof(active), why, cap);
	return r ? r : nm_wait(b, l, active, why, cap);
}

int link_apply(struct link_bus *b, enum link_manager m, const struct link_state *l,
	       const char *path, char *why, size_t cap)
{
	return m == LINK_NETWORKMANAGER ? nm_apply(b, l, path, why, cap) :
					  nd_apply(b, l, path, why, cap);
}

/* ---- back ---- */

void link_remember(struct link_before *out, struct link_bus *b, enum link_manager m,
		   const struct link_state *l)
{
	char device[LINK_TEXT_MAX], active[LINK_TEXT_MAX];

	*out = (struct link_before){ 0 };
	if (m != LINK_NETWORKMANAGER || !nm_device(b, l->name, device, sizeof(device)))
		return;
	nm_active(b, device, active, sizeof(active));
	if (*active)
		get_text(b, NM, active, NM ".Connection.Active", "Connection", "o", out->connection,
			 sizeof(out->connection));
}

/* Until it is seen to be gone: while a profile is being brought up, telling it once may not do. */
static int nm_forget(const struct link_bus *b, const char *name, char *why, size_t cap)
{
	uint64_t since = clock_now_ms();
	char connection[LINK_TEXT_MAX];
	int r;

	do {
		r = nm_connection(b, name, connection, sizeof(connection), why, cap);
		if (r == 0)
			return 0;
		if (r > 0)
			call(b, NM, connection, NM ".Settings.Connection", "Delete", why, cap, NULL, "");
	} while (wait_a_little(since, FORGET_WAIT_MS));
	if (r > 0)
		snprintf(why, cap, "NetworkManager keeps its profile for %s", name);
	return LINK_E_REFUSED;
}

static int nm_withdraw(struct link_bus *b, const char *name, const struct link_state *l,
		       const struct link_before *before, char *why, size_t cap)
{
	char device[LINK_TEXT_MAX], active[LINK_TEXT_MAX], path[LINK_PATH_MAX];
	int r;

	link_profile_path(path, LINK_NETWORKMANAGER, name);
	r = access(path, F_OK) == 0 ? nm_load(b, path, why, cap) : nm_forget(b, name, why, cap);
	if (r || !l || !before || !*before->connection ||
	    !nm_device(b, name, device, sizeof(device)))
		return r;
	return nm_activate(b, before->connection, device, active, sizeof(active), why, cap);
}

static int nd_withdraw(struct link_bus *b, const struct link_state *l, char *why, size_t cap)
{
	int r = nd_reload(b, why, cap);

	if (!r && l)
		call(b, ND, ND_PATH, ND ".Manager", "ReconfigureLink", NULL, 0, NULL, "i", l->index);
	return r;
}

int link_withdraw(struct link_bus *b, enum link_manager m, const char *name,
		  const struct link_state *l, const struct link_before *before, char *why, size_t cap)
{
	/* A manager that does not run has nothing to forget. */
	if (!is_running(b, m == LINK_NETWORKMANAGER ? NM : ND))
		return 0;
	return m == LINK_NETWORKMANAGER ? nm_withdraw(b, name, l, before, why, cap) :
					  nd_withdraw(b, l, why, cap);
}
