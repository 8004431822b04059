/*
 * The next generation of a tunnel's key file. Staged on both sides, it is keyed and
 * counted by itself: its own struct keys, its own ledger, its own handshake. A session of that
 * handshake that has proven itself makes it the current file; the one before is heard for a
 * while, and then finished (retire.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pskd/tunnel/tunnel_internal.h"

/* The tunnel looks for its peer: open what is staged, and look for one who has it, too. */
void stage_begin(struct tunnel *t);
/* The tunnel goes down. */
void stage_end(struct tunnel *t);
/* The peer is somewhere. */
void stage_on_candidates(struct tunnel *t);
/* The peer was proven to be there: if it has the staged file, too, it may know now. */
void stage_on_up(struct tunnel *t);
/* The peer is not heard: it may have gone over to the staged file. */
void stage_hurry(struct tunnel *t);
/* True when it was for the staged file's handshake, or for that of the file before. */
bool stage_on_message(struct tunnel *t, const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high);
/* The staged file's session has proven itself. */
void stage_on_switched(struct tunnel *t);
/* A tunnel that began with its staged file, since the current one was of no use, is up. */
void stage_on_taken_over(struct tunnel *t);
/* Its part of the tunnel's timer. */
void stage_on_timer(struct tunnel *t);
/* Something of it is not durable and tried again. */
static inline bool stage_is_unsaved(const struct tunnel *t)
{
	return t->switch_unsaved;
}

/* What stage.c and stage_file.c share: an event that names a file; and: no more of what is open. */
struct log_id;
void stage_say(const struct tunnel *t, int level, const struct log_id *id, const char *code, const char *file,
	       const char *text);
void stage_close(struct tunnel *t);

/* stage_file.c */
/* How far a file is read that is to be staged; false when none is. */
bool stage_progress(const struct tunnel *t, uint64_t *done, uint64_t *total);
/* "staged" and "retired" of the tunnel's JSON. */
void stage_to_json(const struct tunnel *t, struct json_t *j);
