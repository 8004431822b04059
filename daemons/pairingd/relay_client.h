/*
 * The way to the peer: a session on a relay, made or joined, and the WebSocket
 * into it. What comes out are packets that nobody vouches for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "proto/pairing_msg.h"
#include "proto/relay_frame.h"

struct loop;
struct relay_client;

enum relay_client_outcome {
	RELAY_CLIENT_E_UNREACHABLE = 1,
	RELAY_CLIENT_E_REFUSED,
	RELAY_CLIENT_E_NO_SESSION, /* unknown, expired, full: relays do not say which */
	RELAY_CLIENT_E_TAMPERED,   /* what came is no relay's talk */
	RELAY_CLIENT_E_LOST,	   /* the connection ended */
};

struct relay_client_handlers {
	/* A session was made: what the other person types. */
	void (*on_invitation)(const char *invitation, void *arg);
	/* Connected. code and session_id name the session; it lives for expires_in_s more. */
	void (*on_open)(const char *code, const uint8_t session_id[static RELAY_SESSION_ID_LEN],
			uint64_t expires_in_s, void *arg);
	void (*on_peer_joined)(void *arg);
	void (*on_peer_left)(void *arg);
	void (*on_packet)(const struct pairing_packet *packet, void *arg);
	/* Something came that is no packet. */
	void (*on_garbage)(void *arg);
	/* Once, at the end unless relay_client_close() came first; detail is a part of a sentence. */
	void (*on_failed)(enum relay_client_outcome outcome, const char *detail, void *arg);
	void *arg;
};

struct relay_client_options {
	const char *url;	  /* "ws://…" or "wss://…"; NULL: open the local relayd on the LAN */
	const char *ca_file;	  /* NULL: the system's */
	const char *token;	  /* NULL, or shown to the relay at url; copied */
	const char *code;	  /* join this session; NULL: make one */
	const char *relay_socket; /* relayd's control socket, for the LAN */
	uint64_t timeout_ms;
	/* Clients that were closed and still send what they had: relay_clients_done() ends them. */
	struct list *lingering;
};

/* Begin. Handlers are called from the loop, never from here. 0 or a negative errno. */
int relay_client_new(struct relay_client **out, struct loop *l, const struct relay_client_options *o,
		     const struct relay_client_handlers *h);
/* 0, or a negative errno when the line is gone. */
int relay_client_send(struct relay_client *c, const struct pairing_packet *packet);
/* No handler is called any more; what was sent still goes out. Returns NULL. NULL is fine. */
struct relay_client *relay_client_close(struct relay_client *c);
/* End the lingering ones, at once. */
void relay_clients_done(struct list *lingering);
