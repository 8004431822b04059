/* Units over sd-bus. Every wait is bounded: a bus that does not answer is as good as none. */
#include "ctl/systemd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <systemd/sd-bus.h>

#include "base/cleanup.h"

#include "ctl/ctl.h"
#include "ctl/daemon.h"

#define MANAGER "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
#define ANSWER_US (2 * 1000 * 1000)

const char *const awake_names[AWAKE_MAX] = { RELAYD, PAIRINGD, PSKD, AUTHD };

bool systemd_is_here(void)
{
	struct stat st;

	/* sd_booted(3). */
	return lstat("/run/systemd/system", &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- the bus ---- */

static int open_private(sd_bus **out)
{
	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);

	if (r >= 0)
		r = sd_bus_set_address(bus, "unix:path=/run/systemd/private");
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		sd_bus_unref(bus);
		return r;
	}
	*out = bus;
	return 0;
}

static int open_bus(sd_bus **out)
{
	int r = sd_bus_open_system(out);

	if (r < 0 && geteuid() == 0)
		r = open_private(out);
	if (r < 0)
		return r;
	sd_bus_set_method_call_timeout(*out, ANSWER_US);
	return 0;
}

static void copy(char *out, size_t cap, const char *text)
{
	snprintf(out, cap, "%s", text ? text : "");
}

#define COPY(member, text) copy(member, sizeof(member), text)

/* One of ListUnitsByNames' answers, into the unit of that name. */
static int read_listed(sd_bus_message *m, struct unit *units, size_t n)
{
	const char *name, *about, *load, *active, *sub, *following, *path, *job, *job_path;
	uint32_t job_id;
	int r = sd_bus_message_read(m, "(ssssssouso)", &name, &about, &load, &active, &sub, &following, &path,
				    &job_id, &job, &job_path);

	for (size_t i = 0; r > 0 && i < n; i++) {
		if (strcmp(units[i].name, name) != 0)
			continue;
		COPY(units[i].load, load);
		COPY(units[i].active, active);
		COPY(units[i].sub, sub);
	}
	return r;
}

static int list_units(sd_bus *bus, struct unit *units, size_t n)
{
	sd_bus_message *ask = NULL, *answer = NULL;
	int r = sd_bus_message_new_method_call(bus, &ask, MANAGER, "ListUnitsByNames");

	if (r >= 0)
		r = sd_bus_message_open_container(ask, 'a', "s");
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = sd_bus_message_append(ask, "s", units[i].name);
	if (r >= 0)
		r = sd_bus_message_close_container(ask);
	if (r >= 0)
		r = sd_bus_call(bus, ask, ANSWER_US, NULL, &answer);
	if (r >= 0)
		r = sd_bus_message_enter_container(answer, 'a', "(ssssssouso)");
	while (r > 0)
		r = read_listed(answer, units, n);
	sd_bus_message_unref(ask);
	sd_bus_message_unref(answer);
	return r < 0 ? r : 0;
}

static void file_state(sd_bus *bus, struct unit *u)
{
	sd_bus_message *answer = NULL;
	const char *state;

	if (sd_bus_call_method(bus, MANAGER, "GetUnitFileState", NULL, &answer, "s", u->name) >= 0 &&
	    sd_bus_message_read(answer, "s", &state) >= 0)
		COPY(u->file, state);
	sd_bus_message_unref(answer);
}

/* systemd's clock, which does not count while the machine is suspended. */
static uint64_t monotonic_ms(void)
{
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void properties(sd_bus *bus, struct unit *u)
{
	static const char unit_iface[] = "org.freedesktop.systemd1.Unit";
	static const char service_iface[] = "org.freedesktop.systemd1.Service";
	static const char systemd[] = "org.freedesktop.systemd1";
	const char *own_iface = strstr(u->name, ".socket") ? "org.freedesktop.systemd1.Socket" : service_iface;
	uint64_t since_us = 0, now_ms = monotonic_ms();
	char *path = NULL, *text = NULL;
	uint32_t number = 0;
	int flag = 0;

	if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", u->name, &path) < 0)
		return;
	if (sd_bus_get_property_trivial(bus, systemd, path, unit_iface, "NeedDaemonReload", NULL, 'b', &flag) >= 0)
		u->need_reload = flag;
	if (strcmp(u->active, "active") == 0 &&
	    sd_bus_get_property_trivial(bus, systemd, path, unit_iface, "ActiveEnterTimestampMonotonic", NULL, 't',
					&since_us) >= 0 &&
	    now_ms > since_us / 1000)
		u->active_ms = now_ms - since_us / 1000;
	/* A target has no result. */
	if (!strstr(u->name, ".target") &&
	    sd_bus_get_property_string(bus, systemd, path, own_iface, "Result", NULL, &text) >= 0)
		COPY(u->result, text);
	if (strstr(u->name, ".service")) {
		if (sd_bus_get_property_trivial(bus, systemd, path, service_iface, "MainPID", NULL, 'u',
						&number) >= 0)
			u->main_pid = number;
		if (sd_bus_get_property_trivial(bus, systemd, path, service_iface, "NRestarts", NULL, 'u',
						&number) >= 0)
			u->restarts = number;
	}
	free(text);
	free(path);
}

int systemd_units(struct unit *units, size_t n)
{
	sd_bus *bus = NULL;
	int r = systemd_is_here() ? open_bus(&bus) : -ENOENT;

	if (r >= 0)
		r = list_units(bus, units, n);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (strcmp(units[i].load, "not-found") == 0)
			continue;
		file_state(bus, &units[i]);
		properties(bus, &units[i]);
	}
	sd_bus_flush_close_unref(bus);
	return r < 0 ? r : 0;
}

bool unit_is_looping(const struct unit *u)
{
	/* While it waits for its next start, or in one that comes after others. */
	return strcmp(u->active, "activating") == 0 && (strncmp(u->sub, "auto-restart", 12) == 0 || u->restarts > 0);
}

/* ---- who is awake ---- */

/* Where there is no bus: a service that runs has a control group. */
static bool has_cgroup(const char *daemon)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/system.slice/%s.service", daemon);
	return access(path, F_OK) == 0;
}

static bool would_wake(const struct awake *a, size_t i)
{
	const char *active = a->service[i].active;

	if (!a->units)
		return !has_cgroup(awake_names[i]);
	if (strcmp(a->socket[i].active, "active") != 0)
		return false; /* nobody listens for it but itself */
	return strcmp(active, "inactive") == 0 || strcmp(active, "failed") == 0 || !*active;
}

void awake_look(struct awake *a, const struct ctl *c)
{
	struct unit all[2 * AWAKE_MAX + 2] = { 0 };

	*a = (struct awake){ 0 };
	if (strcmp(c->runtime_dir, "/run/handfast") != 0 || !systemd_is_here())
		return;
	for (size_t i = 0; i < AWAKE_MAX; i++) {
		snprintf(all[i].name, sizeof(all[i].name), "%s.service", awake_names[i]);
		snprintf(all[AWAKE_MAX + i].name, sizeof(all[i].name), "%s.socket", awake_names[i]);
	}
	snprintf(all[2 * AWAKE_MAX].name, sizeof(all[0].name), "tund.service");
	snprintf(all[2 * AWAKE_MAX + 1].name, sizeof(all[0].name), "tund.socket");
	a->units = systemd_units(all, ARRAY_SIZE(all)) == 0;
	memcpy(a->service, all, sizeof(a->service));
	memcpy(a->socket, all + AWAKE_MAX, sizeof(a->socket));
	a->tund_service = all[2 * AWAKE_MAX];
	a->tund_socket = all[2 * AWAKE_MAX + 1];
	for (size_t i = 0; i < AWAKE_MAX; i++)
		a->asleep[i] = would_wake(a, i);
}

int awake_ask(const struct awake *a, const struct ctl *c, size_t which, const char *method, json_t **reply,
	      struct failure *f)
{
	if (a->asleep[which])
		return failure_set(f, EXIT_NOT_RUNNING, ERROR_NOT_RUNNING, "It starts when it is needed.",
				   "%s is not running", awake_names[which]);
	return daemon_try(c, awake_names[which], method, NULL, NULL, NULL, reply, f);
}
