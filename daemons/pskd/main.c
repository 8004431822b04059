/* pskd: carries IP packets through UDP tunnels keyed from pairings and key files. See pskd(8). */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "service/service.h"

#include "pskd/config.h"
#include "pskd/control.h"
#include "pskd/metrics.h"
#include "pskd/tunnels.h"

static const struct service_info info = {
	.name = "pskd",
	.summary = "encrypted tunnels keyed from pairings and key files",
};

/* The configuration, with what depends on where things are. */
struct settings {
	struct pskd_config cfg;
	struct tunnels *tunnels;
};

static void settings_done(struct settings *s)
{
	tunnels_free(s->tunnels);
	config_done(&pskd_schema, &s->cfg);
}

static int set_default(char **path, const char *dir, const char *name)
{
	if (*path)
		return 0;
	*path = path_join(dir, name);
	return *path ? 0 : -ENOMEM;
}

static int load(struct pskd_config *cfg, const struct service *svc, struct config_error *err)
{
	_cleanup_free_ char *dir = strdup(service_config_path(svc));
	char *slash = dir ? strrchr(dir, '/') : NULL;
	int r;

	r = config_load(&pskd_schema, cfg, service_config_path(svc), service_config_is_default(svc), err);
	if (r)
		return r;
	if (slash)
		*slash = '\0';
	r = dir ? set_default(&cfg->tunnels_dir, slash ? dir : ".", "tunnels") : -ENOMEM;
	if (!r)
		r = set_default(&cfg->tund_socket, service_runtime_dir(svc), "tund.sock");
	if (!r)
		r = set_default(&cfg->identity_socket, service_runtime_dir(svc), "identity.sock");
	return r;
}

/* What the tunnels hold on to for their life; NULL, or the key that only a restart can change. */
static const char *needs_restart(const struct pskd_config *now, const struct pskd_config *next)
{
	if (now->max_tunnels != next->max_tunnels)
		return "max_tunnels";
	if (strcmp(now->tund_socket, next->tund_socket) != 0)
		return "tund_socket";
	return strcmp(now->identity_socket, next->identity_socket) != 0 ? "identity_socket" : NULL;
}

/* On any error the running configuration stays in force, whole. */
static int reload(struct service *svc, void *arg, struct config_error *err)
{
	struct settings *s = arg;
	struct pskd_config next = { 0 };
	const char *fixed;

	if (load(&next, svc, err) != 0)
		return -1;
	fixed = needs_restart(&s->cfg, &next);
	if (fixed) {
		snprintf(err->text, sizeof(err->text), "%s: a change of %s needs a restart of pskd",
			 service_config_path(svc), fixed);
		config_done(&pskd_schema, &next);
		return -1;
	}
	if (tunnels_declare(s->tunnels, next.tunnels_dir, err) != 0) {
		config_done(&pskd_schema, &next);
		return -1;
	}
	config_done(&pskd_schema, &s->cfg);
	s->cfg = next;
	tunnels_set_start_paired(s->tunnels, s->cfg.start_paired);
	tunnels_start_enabled(s->tunnels);
	return 0;
}

static void on_stop(void *arg)
{
	struct settings *s = arg;

	tunnels_stop_all(s->tunnels);
}

static void on_status(json_t *details, void *arg)
{
	struct settings *s = arg;
	json_int_t up = 0;

	list_for_each (it, tunnels_list(s->tunnels))
		up += tunnel_is_up(tunnel_of_node(it));
	json_object_set_new(details, "tunnels", json_integer((json_int_t)tunnels_count(s->tunnels)));
	json_object_set_new(details, "up", json_integer(up));
}

static int run(struct service *svc)
{
	_cleanup_(settings_done) struct settings s = { 0 };
	_cleanup_(control_freep) struct control *control = NULL;
	struct config_error err = { "" };
	struct tunnels_options o;
	int r;

	r = load(&s.cfg, svc, &err);
	if (r)
		return service_fail_config(svc, err.text);
	if (service_check_only(svc))
		return tunnels_check_dir(s.cfg.tunnels_dir, &err) ? service_fail_config(svc, err.text) : 0;

	o = (struct tunnels_options){ .loop = service_loop(svc), .state_dir = service_state_dir(svc),
				      .tund_socket = s.cfg.tund_socket,
				      .identity_socket = s.cfg.identity_socket,
				      .max_tunnels = s.cfg.max_tunnels,
				      .start_paired = s.cfg.start_paired };
	r = tunnels_new(&s.tunnels, &o);
	if (r)
		return service_fail(svc, r, "cannot open the state");
	r = tunnels_declare(s.tunnels, s.cfg.tunnels_dir, &err);
	if (r)
		return service_fail_config(svc, err.text);
	r = control_new(&control, svc, s.tunnels);
	if (r)
		return service_fail(svc, r, "cannot serve the control interface");
	r = service_confine(svc);
	if (r)
		return service_fail(svc, r, "cannot confine process");

	service_on_reload(svc, reload, &s);
	service_on_stop(svc, on_stop, &s);
	service_on_status(svc, on_status, &s);
	service_on_metrics(svc, pskd_metrics, s.tunnels);
	tunnels_start_enabled(s.tunnels);
	return service_run(svc);
}

int main(int argc, char **argv)
{
	return service_main(&info, argc, argv, run);
}
