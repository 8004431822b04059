/*
 * The threads that carry packets beside the control loop. A tunnel joins the
 * one that has the fewest; its path then lives in that thread's loop, and the
 * control thread reaches it through hold.h.
 */
#pragma once

#include "base/cleanup.h"

#define PACKETS_THREADS_MAX 16

struct hold;
struct loop;
struct packets;
struct packet_thread;

/* "auto", or a number up to PACKETS_THREADS_MAX; 0: the control loop carries packets. -1: neither. */
int packets_parse(const char *text);

/* n threads, each of which begins with its first tunnel. 0 or -ENOMEM. */
int packets_new(struct packets **out, unsigned int n);
/* All have left. Waits for the threads to end. */
struct packets *packets_free(struct packets *p);
DEFINE_CLEANUP(struct packets *, packets_free);

/* 0 and the thread, NULL when there are to be none; or a negative errno. */
int packets_join(struct packet_thread **out, struct packets *p);
/* NULL is fine. */
void packets_leave(struct packet_thread *t);

struct loop *packet_thread_loop(const struct packet_thread *t);
/* Of NULL: NULL. */
struct hold *packet_thread_hold(struct packet_thread *t);
/* "packets-1" …, as the kernel's list of threads has it. */
const char *packet_thread_name(const struct packet_thread *t);
