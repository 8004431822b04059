/* pskd: carries IP packets through UDP tunnels keyed from pairings and key files. See pskd(8). */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "crypto/bulk.h"
#include "service/credential.h"
#include "service/export.h"
#include "service/service.h"

#include "pskd/config.h"
#include "pskd/control.h"
#include "pskd/keys/ledger.h"
#include "pskd/metrics.h"
#include "pskd/packet/offload.h"
#include "pskd/packet/packets.h"
#include "pskd/portable/portable.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnels.h"

static const struct service_option own_options[] = {
	{ "import", NULL, "take state from a backup on standard input, and end" },
	{ "replace", NULL, "with --import: also in place of existing tunnels", "import" },
	{ 0 },
};

static const struct service_info info = {
	.name = "pskd",
	.summary = "encrypted tunnels keyed from pairings and key files",
	.options = own_options,
};

/* The configuration, with what depends on where things are. */
struct settings {
	struct pskd_config cfg;
	struct tunnels *tunnels;
	struct seal_key *key; /* of secrets at rest; NULL: they are not sealed */
	struct export_server *export;
	int lock_fd; /* of the state folder: no import meanwhile */
};

static void settings_done(struct settings *s)
{
	export_server_free(s->export);
	tunnels_free(s->tunnels);
	ledger_use_key(NULL);
	seal_key_free(s->key);
	closep(&s->lock_fd);
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
	if (now->aead != next->aead)
		return "aead";
	if (strcmp(now->tund_socket, next->tund_socket) != 0)
		return "tund_socket";
	if (strcmp(now->offload, next->offload) != 0)
		return "offload";
	if (strcmp(now->workers, next->workers) != 0)
		return "workers";
	return strcmp(now->identity_socket, next->identity_socket) != 0 ? "identity_socket" : NULL;
}

/* On any error the running configuration stays in force, whole. */
static int reload(struct service *svc, void *arg, struct config_error *err)
{
	struct settings *s = arg;
	struct pskd_config next = { 0 };
	struct label_list revoked = { 0 };
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
	if (label_list_set(&revoked, &next.revoked) != 0 ||
	    tunnels_declare(s->tunnels, next.tunnels_dir, false, err) != 0) {
		label_list_done(&revoked);
		config_done(&pskd_schema, &next);
		return -1;
	}
	config_done(&pskd_schema, &s->cfg);
	s->cfg = next;
	tunnels_set_start_paired(s->tunnels, s->cfg.start_paired);
	tunnels_set_policy(s->tunnels, &s->cfg.label_sources, &revoked);
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
	const struct bulk_info *aead = bulk_info();
	json_int_t up = 0;

	list_for_each (it, tunnels_list(s->tunnels))
		up += tunnel_is_up(tunnel_of_node(it));
	json_object_set_new(details, "tunnels", json_integer((json_int_t)tunnels_count(s->tunnels)));
	json_object_set_new(details, "up", json_integer(up));
	json_object_set_new(details, "aead", json_string(aead->name));
	json_object_set_new(details, "aead_note", json_string(aead->note));
	if (aead->hint)
		json_object_set_new(details, "aead_hint", json_string(aead->hint));
}

static int export(struct export *e, void *arg)
{
	return portable_export(e, service_state_dir(arg));
}

static int refuse_state(struct service *svc, int r, const char *why)
{
	return r > 0 ? service_fail_config(svc, why) : service_fail(svc, r, "cannot open the state");
}

/* Before anything of it is used: what is newer, or sealed for others, is left alone. Returns an exit code. */
static int prepare_state(struct service *svc, struct settings *s)
{
	_cleanup_(tunnel_store_done) struct tunnel_store store = { 0 };
	char why[512] = "";
	size_t sealed = 0;
	int r;

	s->lock_fd = state_lock(service_state_dir(svc), false);
	if (s->lock_fd == -EWOULDBLOCK)
		return service_fail_text(svc, "a backup is being restored into the state folder");
	if (s->lock_fd < 0)
		return service_fail(svc, s->lock_fd, "cannot open the state");
	if (credential_state_key(&s->key, "pskd", why, sizeof(why)))
		return service_fail_config(svc, why);
	ledger_use_key(s->key);
	r = portable_finish_import(service_state_dir(svc));
	if (!r)
		r = tunnel_store_init(&store, service_state_dir(svc));
	if (!r)
		r = tunnel_store_check(&store, why, sizeof(why));
	if (!r)
		r = ledgers_prepare(store.ledgers_dir, &sealed, why, sizeof(why));
	if (r)
		return refuse_state(svc, r, why);
	if (sealed > 0)
		log_event(LOG_NOTICE, &MSG_STATE_SEALED, LOG_NO_FIELDS,
			  "the secrets of %zu ledgers are sealed under the state key now", sealed);
	return 0;
}

/* Returns an exit code. */
static int choose_aead(struct service *svc, const struct pskd_config *cfg)
{
	const struct bulk_info *aead = bulk_info();
	char text[512];
	int r;

	r = bulk_choose((enum bulk_choice)cfg->aead);
	if (!r)
		return 0;
	if (cfg->aead == BULK_AUTO) {
		log_event(LOG_WARNING, &MSG_AEAD_WRONG, LOG_NO_FIELDS, "%s", aead->note);
		return 0;
	}
	snprintf(text, sizeof(text), "%s: aead: ipsec-mb cannot be had: %s. %s%sOr set aead to auto.",
		 service_config_path(svc), aead->note, aead->hint ? aead->hint : "", aead->hint ? " " : "");
	return service_fail_config(svc, text);
}

/* The tunnels as the configuration and what is in the state folder tell, none of them started. Returns an exit code. */
static int open_tunnels(struct service *svc, struct settings *s)
{
	const struct pskd_config *cfg = &s->cfg;
	struct config_error err = { "" };
	struct label_list revoked = { 0 };
	struct tunnels_options o = {
		.loop = service_loop(svc), .state_dir = service_state_dir(svc), .runtime_dir = service_runtime_dir(svc),
		.tund_socket = cfg->tund_socket, .identity_socket = cfg->identity_socket,
		.max_tunnels = cfg->max_tunnels, .start_paired = cfg->start_paired,
		.workers = (unsigned int)packets_parse(cfg->workers), .fds = service_fds(svc),
	};
	int r;

	/* Checked when it was read. */
	(void)offload_parse(&o.offload, cfg->offload);
	r = tunnels_new(&s->tunnels, &o);
	if (r)
		return service_fail(svc, r, "cannot open the state");
	r = label_list_set(&revoked, &cfg->revoked);
	if (r)
		return service_fail(svc, r, "cannot read the list of revoked identities");
	tunnels_set_policy(s->tunnels, &cfg->label_sources, &revoked);
	r = tunnels_declare(s->tunnels, cfg->tunnels_dir, true, &err);
	return r ? service_fail_config(svc, err.text) : 0;
}

static int run(struct service *svc)
{
	_cleanup_(settings_done) struct settings s = { .lock_fd = -1 };
	_cleanup_(control_freep) struct control *control = NULL;
	struct config_error err = { "" };
	int r;

	if (service_option(svc, "import"))
		return portable_import(svc);
	r = load(&s.cfg, svc, &err);
	if (r)
		return service_fail_config(svc, err.text);
	r = choose_aead(svc, &s.cfg);
	if (r)
		return r;
	if (service_check_only(svc))
		return tunnels_check_dir(s.cfg.tunnels_dir, &err) ? service_fail_config(svc, err.text) : 0;

	r = prepare_state(svc, &s);
	if (r)
		return r;
	r = open_tunnels(svc, &s);
	if (r)
		return r;
	r = export_server_new(&s.export, service_loop(svc), service_runtime_dir(svc), -1, "pskd", export, svc);
	if (r)
		return service_fail(svc, r, "cannot open the socket for backups");
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
