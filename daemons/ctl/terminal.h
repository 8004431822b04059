/*
 * Asking the person, on /dev/tty: standard input and output may be a script's.
 * A signal that ends the wait leaves the terminal as it was.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/failure.h"

/* Outcomes. */
enum {
	TERMINAL_E_NONE = 1,	/* no terminal */
	TERMINAL_E_DECLINED,	/* anything but yes */
	TERMINAL_E_INTERRUPTED, /* SIGINT, SIGTERM or SIGHUP; or the terminal's end */
	TERMINAL_E_OTHER,	/* other_fd became readable first */
	TERMINAL_E_TOO_LONG,
};

/* SIGINT, SIGTERM and SIGHUP from now on interrupt waits instead of ending the process. */
void interrupt_arm(void);
/*
 * Armed or not, for a while: false, and they end the process (one that came already does so now); true, and it is as
 * before. Nothing happens where they are not armed.
 */
void interrupt_hold(bool hold);
/* For what must be done whole: they wait until it is over, and interrupt no call meanwhile. */
void interrupt_block(bool block);
/* The signal that came, or 0. */
int interrupt_seen(void);
/* What the process exits with after it: 130 after Ctrl-C (or the terminal's end). */
enum exit_code interrupt_exit(void);
/* Readable when one came. */
int interrupt_fd(void);

/* Whether there is a terminal to ask on. */
bool terminal_is_there(void);

/* 0 for yes; an outcome above. */
int terminal_confirm(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * A line-wise question in steps, so that the caller can wait for other things,
 * too: open, write, poll terminal_fd(), read, close.
 */
struct terminal;
/* echo false: what is typed is not shown. 0, TERMINAL_E_NONE or negative errno. */
int terminal_open(struct terminal **out, bool echo);
int terminal_fd(const struct terminal *t);
void terminal_write(struct terminal *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/*
 * After fd is readable: 0 with a line (no newline), which the caller wipes
 * when it is secret; -EAGAIN: not yet whole; or an outcome.
 */
int terminal_read(struct terminal *t, char *line, size_t cap);
/* Restores the settings; typed characters of a secret are wiped. */
struct terminal *terminal_close(struct terminal *t);
