/* pairingd: keeps the device identity, pairs it with others, and remembers with whom. See pairingd(8). */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "event/loop.h"
#include "service/credential.h"
#include "service/export.h"
#include "service/service.h"

#include "pairingd/config.h"
#include "pairingd/control.h"
#include "pairingd/identity.h"
#include "pairingd/identity_server.h"
#include "pairingd/peers.h"
#include "pairingd/portable.h"
#include "pairingd/probe.h"
#include "pairingd/secret_server.h"
#include "pairingd/session.h"
#include "pairingd/signer.h"

#define SCRUB_AGAIN_MS 60000

static const struct service_option own_options[] = {
	{ "import", NULL, "take state from a backup on standard input, and end" },
	{ "replace", NULL, "with --import: also in place of existing pairings", "import" },
	{ "probe-relay", NULL, "with --check: also try the configured relay, and tell of it in JSON", "check" },
	{ 0 },
};

static const struct service_info info = {
	.name = "pairingd",
	.summary = "device identity and pairing over an untrusted relay",
	.options = own_options,
};

struct pairingd {
	struct pairingd_config *cfg;
	char name[IDENTITY_NAME_MAX + 1];
	struct sign_key *key;
	struct signer signer;
	struct seal_key *seal; /* of secrets at rest; NULL: they are not sealed */
	struct peers *peers;
	struct sessions *sessions;
	struct identity_server *identity;
	struct secret_server *secrets;
	struct export_server *export;
	struct control control;
	int lock_fd; /* of the state folder: no import meanwhile */
	struct loop_timer *scrub; /* runs while deleted roots may still be on disk */
};

static void pairingd_done(struct pairingd *d)
{
	export_server_free(d->export);
	secret_server_free(d->secrets);
	sessions_free(d->sessions);
	identity_server_free(d->identity);
	loop_timer_free(d->scrub);
	peers_free(d->peers);
	sign_key_free(d->key);
	seal_key_free(d->seal);
	pairingd_config_free(d->cfg);
	closep(&d->lock_fd);
}

static void choose_name(struct pairingd *d)
{
	char host[256] = "";

	if (d->cfg->device_name) {
		snprintf(d->name, sizeof(d->name), "%s", d->cfg->device_name);
		return;
	}
	(void)gethostname(host, sizeof(host) - 1);
	identity_name(d->name, host);
}

/* On any error the running configuration stays in force, whole. */
static int reload(struct service *svc, void *arg, struct config_error *err)
{
	_cleanup_(pairingd_config_freep) struct pairingd_config *next = NULL;
	struct pairingd *d = arg;

	if (pairingd_config_load(&next, service_config_path(svc), service_config_is_default(svc), err))
		return -1;
	pairingd_config_free(d->cfg);
	d->cfg = steal(&next);
	choose_name(d);
	identity_server_set_users(d->identity, &d->cfg->identity_users);
	secret_server_find_group(d->secrets);
	return 0;
}

static void on_stop(void *arg)
{
	struct pairingd *d = arg;

	sessions_stop(d->sessions);
}

static void on_root(const struct peer *peer, void *arg)
{
	struct pairingd *d = arg;

	identity_server_tell_root(d->identity, peer->id, peer->tunnel_id);
	if (peer->active)
		identity_server_tell_pairings(d->identity);
}

static void on_forgotten(const struct peer *peer, void *arg)
{
	struct pairingd *d = arg;

	identity_server_tell_forgotten(d->identity, peer->id, peer->tunnel_id);
}

static void scrub_again(void *arg)
{
	struct pairingd *d = arg;

	if (peers_scrub(d->peers) == 0)
		log_debug("deleted roots are gone from the disk now");
}

static void on_unscrubbed(int r, void *arg)
{
	struct pairingd *d = arg;

	log_event(LOG_ERR, &MSG_ROOT_NOT_ERASED, LOG_NO_FIELDS,
		  "what was deleted cannot be overwritten on disk yet, and is tried again: %s",
		  r > 0 ? peers_outcome_text(r) : strerror(-r));
	loop_timer_start(d->scrub, SCRUB_AGAIN_MS);
}

static void tell_sealed(const char *what)
{
	log_event(LOG_NOTICE, &MSG_STATE_SEALED, LOG_NO_FIELDS, "%s sealed under the state key now", what);
}

static int load_identity(struct service *svc, struct pairingd *d)
{
	enum identity_news news;
	int r;

	r = identity_load(&d->key, service_state_dir(svc), d->seal, &news);
	if (r == IDENTITY_E_SEALED)
		return service_fail_config(svc, "identity.key is sealed under the credential handfast.state-key, which is "
						"missing: put it back (handfast-security(7)); nothing was changed");
	if (r == IDENTITY_E_OTHER_KEY)
		return service_fail_config(svc, "identity.key is sealed under another credential handfast.state-key than "
						"this one: put the right one back (handfast-security(7)); nothing was changed");
	if (r == -EBADMSG)
		return service_fail_config(svc, "identity.key is damaged: it must hold 32 bytes, or 84 when it is sealed");
	if (r == -EPERM)
		return service_fail_config(svc, "identity.key can be read by others: it must have mode 0600");
	if (r)
		return service_fail(svc, r, "cannot load the device identity");
	signer_init(&d->signer, d->key);
	if (news == IDENTITY_MADE)
		log_event(LOG_NOTICE, &MSG_IDENTITY_MADE, LOG_NO_FIELDS, "made a new device identity");
	if (news == IDENTITY_SEALED)
		tell_sealed("the device's identity key is");
	return 0;
}

static int load_state_key(struct service *svc, struct pairingd *d)
{
	char why[256] = "";

	return credential_state_key(&d->seal, "pairingd", why, sizeof(why)) ? service_fail_config(svc, why) : 0;
}

static int export(struct export *e, void *arg)
{
	struct pairingd *d = arg;

	return portable_export(e, d->peers, d->key);
}

static int lock_state(struct service *svc, struct pairingd *d)
{
	d->lock_fd = state_lock(service_state_dir(svc), false);
	if (d->lock_fd == -EWOULDBLOCK)
		return service_fail_text(svc, "a backup is being restored into the state folder");
	return d->lock_fd < 0 ? service_fail(svc, d->lock_fd, "cannot lock the state folder") : 0;
}

static int open_peers(struct service *svc, struct pairingd *d)
{
	unsigned int cut_off = 0;
	char why[512] = "";
	size_t n_sealed;
	int r;

	r = peers_open_sealed(&d->peers, service_state_dir(svc), d->seal, &n_sealed, why, sizeof(why));
	if (r > 0)
		return service_fail_config(svc, why);
	if (!r && n_sealed > 0)
		tell_sealed("roots that wait for pskd are");
	if (!r)
		r = loop_timer_new(&d->scrub, service_loop(svc), scrub_again, d);
	if (!r)
		peers_on_unscrubbed(d->peers, on_unscrubbed, d);
	if (!r)
		r = portable_finish_import(service_state_dir(svc), d->peers);
	if (!r)
		r = peers_take_cut_off(d->peers, &cut_off);
	if (r)
		return service_fail(svc, r, "cannot open the store of pairings");
	if (cut_off)
		log_event(LOG_WARNING, &MSG_PAIRING_CUT_OFF, LOG_NO_FIELDS,
			  "a pairing was cut off by the last stop; its code and PIN are dead");
	return 0;
}

static int open_sockets(struct service *svc, struct pairingd *d)
{
	_cleanup_free_ char *relay = path_join(service_runtime_dir(svc), "relayd.sock");
	_cleanup_free_ char *identity = path_join(service_runtime_dir(svc), "identity.sock");
	_cleanup_free_ char *secret = path_join(service_runtime_dir(svc), "pairing-secret.sock");
	struct sessions_options so = {
		.loop = service_loop(svc),
		.peers = d->peers,
		.signer = &d->signer,
		.config = &d->cfg,
		.relay_socket = relay,
		.on_root = on_root,
		.on_forgotten = on_forgotten,
		.arg = d,
	};
	struct identity_server_options io = {
		.loop = service_loop(svc),
		.path = identity,
		.peers = d->peers,
		.signer = &d->signer,
		.name = d->name,
	};
	int r;

	if (!relay || !identity || !secret)
		return -ENOMEM;
	io.users = &d->cfg->identity_users;
	r = sessions_new(&d->sessions, &so);
	if (!r)
		r = identity_server_new(&d->identity, &io);
	if (!r)
		r = secret_server_new(&d->secrets, service_loop(svc), secret,
				      service_admin_group(svc), d->sessions);
	if (!r)
		r = export_server_new(&d->export, service_loop(svc), service_runtime_dir(svc), -1, "pairingd",
				      export, d);
	return r;
}

static int run(struct service *svc)
{
	_cleanup_(pairingd_done) struct pairingd d = { .lock_fd = -1 };
	struct config_error err = { "" };
	int r;

	if (service_option(svc, "import"))
		return portable_import(svc);
	r = pairingd_config_load(&d.cfg, service_config_path(svc), service_config_is_default(svc), &err);
	if (r)
		return service_fail_config(svc, err.text);
	if (service_check_only(svc)) {
		if (service_option(svc, "probe-relay") && d.cfg->relay)
			probe_relay(d.cfg->relay, d.cfg->relay_ca);
		return 0;
	}

	choose_name(&d);
	r = lock_state(svc, &d);
	if (!r)
		r = load_state_key(svc, &d);
	if (!r)
		r = open_peers(svc, &d);
	if (!r)
		r = load_identity(svc, &d);
	if (r)
		return r;
	r = open_sockets(svc, &d);
	if (r)
		return service_fail(svc, r, "cannot open the sockets for daemons and secrets");

	d.control = (struct control){ d.peers, d.sessions, d.identity, &d.signer, d.name };
	r = control_start(svc, &d.control);
	if (r)
		return service_fail(svc, r, "cannot answer control calls");

	r = service_confine(svc);
	if (r)
		return service_fail(svc, r, "cannot confine the process");

	service_on_reload(svc, reload, &d);
	service_on_stop(svc, on_stop, &d);
	return service_run(svc);
}

int main(int argc, char **argv)
{
	return service_main(&info, argc, argv, run);
}
