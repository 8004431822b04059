/* What tunnel.c (start, stop), tunnel_life.c (time), tunnel_events.c, tunnel_show.c and the like share. */
#pragma once

#include "event/loop.h"
#include "pskd/handshake/hello.h"
#include "pskd/keys/keys.h"
#include "pskd/network/address.h"
#include "pskd/network/way.h"
#include "pskd/network/resolve.h"
#include "pskd/packet/hold.h"
#include "pskd/packet/packets.h"
#include "pskd/packet/path.h"
#include "pskd/packet/pmtu.h"
#include "pskd/tunnel/moves.h"
#include "pskd/tunnel/tunnel.h"

struct json_t;
struct log_id;

#define E(name) "io.handfast.Tunnel." #name

enum tunnel_state {
	TUNNEL_DOWN,
	TUNNEL_STARTING,
	TUNNEL_WAITING, /* no session yet, or none any more */
	TUNNEL_UP,
	TUNNEL_NEEDS_BURN,
	TUNNEL_EXHAUSTED,
	TUNNEL_FAILED,
};

/* What an asynchronous job holds instead of the tunnel, which may go first. */
struct tunnel_link {
	struct tunnel *t;
	bool creates; /* a ledger: tunnel_keys.c's create_job */
	_Atomic bool unwanted; /* what a worker reads for it, which then stops: tunnel_let_go() */
};

/* A staged key file that is open: stage.c. */
struct stage {
	struct keys *keys;
	struct hello *hello;
	struct loop_timer *reopen;
	uint8_t hint[PSKH_HINT_LEN];
	char problem[400];
};

/* Earlier key files that are being finished: retire.c. */
struct retire {
	struct retire_job *job; /* in flight, or NULL */
	size_t at;		/* which one of the spec's */
	unsigned int busy;	/* so often in a row its file was in use */
	struct loop_timer *timer;
	char problems[SPEC_RETIRED_MAX][200];
};

struct tunnel {
	struct list node;
	struct tunnel_context ctx;
	struct spec *spec;
	enum tunnel_state state;
	struct tunnel_error problem; /* code NULL: none */
	char rollback[200];
	struct moves moves; /* of the peer */
	char clone[200]; /* what was told of them */
	bool burn_unwritten; /* was asked for, and the disk did not take it */

	bool prepare_only;
	unsigned int ledger_try;
	bool ledger_lost; /* there was one */
	char earlier_ledger[SPEC_LEDGER_LEN]; /* that the key file has already, not yet the spec's; "": none */
	struct tunnel_link *job, *resolving; /* in flight, or NULL */
	struct loop_timer *retry;
	uint64_t retry_ms;

	struct packet_thread *thread; /* that carries its packets; NULL: the control loop does */
	struct keys *keys;
	struct udp udp; /* until the path takes it */
	struct path *path;
	struct hello *hello;
	struct tunnel_addresses addresses;
	struct sources sources;
	char ifname[16];
	unsigned int ifindex;
	struct tunnel_link *mending; /* in flight, or NULL */
	struct loop_timer *mend_later;
	uint64_t mends_paid_ms; /* until when the times it was mended count */
	bool device_problem; /* the problem is that it could not be mended */
	bool mend_failed; /* and that was told */
	bool kept; /* the manager has our device and socket, or one of them */
	struct resolve_names names;
	enum pmtu_state mtu_told; /* in the log */
	uint16_t mtu_told_size;
	unsigned int offload_told; /* of enum offload: what was in use when it was last looked at */

	struct drops drops_told;   /* of the path's, what the log has */
	struct drops drops_looked; /* and what they were when that was last asked for */
	struct drops drops_before; /* of earlier paths, what it has not */
	struct loop_timer *timer;
	uint64_t armed_ms; /* when the timer fires */
	bool has_way;
	struct way_out way; /* how packets to the peer left at the last handshake */
	uint64_t woke_ms; /* when we last woke from the machine's sleep; 0: never */
	uint64_t resolved_ms; /* when names were last looked up */
	bool is_unfound;      /* and none of them was found */
	uint64_t unanswered_ms; /* since when we send into silence; 0: we do not */
	uint64_t handshakes, last_handshake_ms;
	bool peer_told; /* pairingd has it durably that the peer was seen */
	bool queued;	     /* to be started when there is room */
	bool waits_for_list; /* to know whether its pairing still holds */
	enum tunnel_mark mark;
	unsigned int fuel_warned;  /* level of fuel.h */
	uint64_t fuel_saved_ms, fuel_writes; /* when, and how often the ledger was written by then */
	uint8_t own_identity[PSKH_IDENTITY_LEN]; /* as our handshake says */
	bool has_label;
	char label_source[128]; /* of label_sources: what it was made from */
	uint64_t stranger, stranger_ms; /* who was refused last, and when that was logged; 0: never */
	enum hello_event stranger_is;   /* and why */

	/* generations of the key file */
	uint32_t last_session; /* of all of them */
	struct stage stage;
	struct stage_job *staging; /* a file is being read; or NULL */
	struct keys *earlier_keys; /* of the file before, while its packets may come */
	uint8_t earlier_hint[PSKH_HINT_LEN];
	unsigned int unreadable; /* so often in a row the tunnel's own file, which is there, was not read */
	bool took_over;	     /* keys are the staged file's: the tunnel's own was of no use at the start */
	bool switch_unsaved; /* the staged file is in use, and state does not say so yet */
	struct retire retire;
};

/* tunnel.c */
/* Whoever has the link works for nobody any more; NULL: there is none. */
void tunnel_let_go(struct tunnel_link *link);
void tunnel_tell(struct tunnel *t, const char *event);
void tunnel_set_problem(struct tunnel *t, const char *code, const char *hint, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void tunnel_clear_problem(struct tunnel *t);
/* Take everything down but the spec, and tell why; starts again later when enabled. */
void tunnel_fail(struct tunnel *t, const struct tunnel_error *e);
/* r: a negative errno, else what failed is reading or writing. */
void tunnel_fail_errno(struct tunnel *t, const char *code, int r, const char *what);

/* The steps of a start; each goes on to the next, or fails the tunnel. tunnel_keys.c, tunnel_listen.c */
void tunnel_open(struct tunnel *t);
void tunnel_listen(struct tunnel *t);
/* The addresses of one that is as its spec says, without routes. False: not known before its key file was read. */
bool tunnel_spec_addresses(const struct spec *s, struct tunnel_addresses *out);

/* tunnel_device.c */
void tunnel_on_mend_later(void *arg);
/* It has none any more. */
void tunnel_forget_device(struct tunnel *t);

/* tunnel_life.c */
/* After this long without a word a handshake asks. */
#define TUNNEL_QUIET_MS 60000
/* Keys, path and names are there: begin. 0 or a negative errno. */
int tunnel_begin(struct tunnel *t);
void tunnel_on_timer(void *arg);
/* Set the timer to what is due next. */
void tunnel_arm(struct tunnel *t);
void tunnel_on_keys(int error, void *arg);
/* Log text, with the tunnel's name; from, where it came from, and code may be NULL. */
void tunnel_note(struct tunnel *t, int level, const struct log_id *id, const char *code, const struct sockaddr_in6 *from,
		 const char *text);
static inline bool tunnel_is_initiator(const struct tunnel *t)
{
	return t->spec->f.role == KEYS_INITIATOR;
}

/* tunnel_events.c */
/* Tell pairingd that the peer of a pairing was seen, unless it knows. */
void tunnel_tell_seen(struct tunnel *t);
extern const struct path_events tunnel_path_events;
extern const struct hello_ops tunnel_hello_ops;
/* Its rounds of HELLOs begin anew, with names looked up again. */
void tunnel_hurry(struct tunnel *t);
/* The peer is asked now, with names looked up again: always, or when packets to it leave from elsewhere than before. */
void tunnel_seek(struct tunnel *t, bool always);

/* tunnel_names.c */
/* All that the peer may be at, from its spec. */
void tunnel_collect_names(struct tunnel *t);
/* Whether some of it is no number, which stays what it is. */
bool tunnel_has_names(const struct tunnel *t);
/* Look them up, elsewhere; what is found is used. */
void tunnel_resolve_again(struct tunnel *t);
void tunnel_use_candidates(struct tunnel *t, const struct sockaddr_in6 *v, size_t n);

/* tunnel_fuel.c */
/* Keys were opened. */
void tunnel_fuel_begin(struct tunnel *t);
/* See what was used; costs nothing when nothing was. */
/* From the timer: look, warn of what runs low, keep the history when it is time. */
void tunnel_fuel_tick(struct tunnel *t, uint64_t now_ms);
/* "fuel" and its numbers, of the open keys or of the ledger. */
void tunnel_fuel_to_json(struct tunnel *t, struct json_t *j);
/* tunnel_identity.c */
/* Ours: the device's, where it signs; else a label. */
void tunnel_make_identity(struct tunnel *t);
bool tunnel_pins_itself(const struct tunnel *t);
/* Of a pairing: this device has another key now than the one that was paired. */
bool tunnel_is_somebody_else(const struct tunnel *t);
/* pairingd has told this device's key: what runs with another one begins anew. */
void tunnel_on_own_key(struct tunnel *t);
/* Right key, but not who the peer may be (or no longer): told, each once an hour. identity: the first half. */
void tunnel_on_stranger(struct tunnel *t, enum hello_event e, const struct sockaddr_in6 *from, uint64_t identity);
/* Of an unpinned peer with a session: true when its label is another one than it was, which is told. */
bool tunnel_take_label(struct tunnel *t);
const uint8_t *tunnel_peer_identity(const struct tunnel *t, const struct session *s);

/* outcome of keys.h, of key_file (NULL: the tunnel's own), to an error for people */
void tunnel_keys_error(struct tunnel_error *e, const struct tunnel *t, int r, const char *key_file, const char *detail);
/* What a tunnel's keys are opened or made with; the strings stay the caller's. */
void tunnel_keys_options(const struct tunnel *t, struct keys_options *o, const char *ledger_path, const char *key_file);
