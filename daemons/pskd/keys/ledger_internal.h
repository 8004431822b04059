/* What the parts of ledger.h's implementation share. */
#pragma once

#include <pthread.h>

#include "pskd/keys/ledger.h"

enum phase { IDLE, SUBMITTED, WRITTEN };

struct ledger {
	int fd;
	unsigned int newest_at;
	uint64_t generation;
	uint64_t writes;
	struct secret *block_secret, *records_secret;
	uint8_t *block; /* for encoding */
	/* What the thread writes, and what done is told, which may submit the next. */
	struct ledger_record *flying, *told;

	struct loop *loop;
	struct loop_io *io;
	ledger_done_fn done;
	void *done_arg;
	int wake_fd;

	bool has_thread;
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	enum phase phase;
	int error;
	bool stop;
};

/* ---- ledger.c ---- */

/* What is there, up to two blocks; a short file gives less. */
int ledger_read_blocks(int fd, uint8_t *data, size_t *len);
/* r, with the generation that is due, over the older block: durable when it returns 0. */
int ledger_write_block(struct ledger *l, struct ledger_record *r);

/* ---- ledger_thread.c ---- */

void ledger_thread_init(struct ledger *l);
/* Waits for the one in flight (done is not called), and ends the thread if there is one. */
void ledger_thread_done(struct ledger *l);
