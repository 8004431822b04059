/*
 * The end of a key file whose place another has taken: its ledger says for ever that nothing of it is
 * left, and its bytes are erased as the tunnel asks. Goes on after a crash where it was.
 */
#pragma once

struct tunnel;

/* Finish what the spec has retired, in steps in a worker; nothing while one is under way. */
void retire_begin(struct tunnel *t);
/* The tunnel's object goes; what is under way ends by itself. */
void retire_end(struct tunnel *t);
