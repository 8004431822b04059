/*
 * A pairing while it runs: the state machine with its relay, its clock, its
 * worker, its person and its disk around it. One at a time, so that one code and
 * one PIN are on the screen at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "pairingd/config.h"
#include "pairingd/peers.h"
#include "pairingd/sas.h"
#include "proto/secret_msg.h"

struct json_t;
struct loop;
struct signer;
struct varlink_call;
struct sessions;

struct sessions_options {
	struct loop *loop;
	struct peers *peers;		    /* outlives */
	const struct signer *signer;	    /* outlives */
	struct pairingd_config *const *config; /* what it points to may change between pairings */
	const char *relay_socket; /* relayd's; copied */
	/* A pairing was stored, or taken back: tell the other daemons. */
	void (*on_root)(const struct peer *peer, void *arg);
	/* What was stored of this one pairing is taken back; an earlier one with the peer stays. */
	void (*on_forgotten)(const struct peer *peer, void *arg);
	void *arg;
};

int sessions_new(struct sessions **out, const struct sessions_options *o);
struct sessions *sessions_free(struct sessions *s);
DEFINE_CLEANUP(struct sessions *, sessions_free);

/* The Varlink method Pair: answers call, now or when the pairing ends. */
void sessions_pair(struct sessions *s, struct varlink_call *call, const struct json_t *params);

/* Outcomes of sessions_compare(). */
enum { SESSIONS_E_NO_SUCH = 1, SESSIONS_E_MISMATCH };
/* The person's pick for the pairing of this id; NULL: none of them. */
int sessions_compare(struct sessions *s, const char *id, const char *digits);

/* The PIN or secret for the ticket; taken when SECRET_OK. */
enum secret_status sessions_take_secret(struct sessions *s, const struct secret_msg *m);

/* End what runs, telling the peer. */
void sessions_stop(struct sessions *s);
/* The phase of what runs, or NULL. */
const char *sessions_phase(const struct sessions *s);

/* Since the start; borrowed. */
struct pairing_counters;
const struct pairing_counters *sessions_counters(const struct sessions *s);

/* A peer as Varlink's type Peer: a new reference, NULL without memory. */
struct json_t *peer_json(const struct peer *peer);
