/*
 * Text for people: tables, lists of facts, wrapped paragraphs, bars. Knows the
 * width of the terminal and whether colour is wanted; without a terminal
 * there are no escape codes. Everything that came from elsewhere is cleaned.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_t;

struct style {
	bool color; /* escape codes may be written */
	bool utf8;
	unsigned int width; /* columns */
	bool tty;
};

enum paint { PAINT_PLAIN, PAINT_BOLD, PAINT_DIM, PAINT_GREEN, PAINT_YELLOW, PAINT_RED };

/* Look at a stream: a terminal or not, how wide; want_color false forbids colour. */
void style_init(struct style *s, FILE *stream, bool want_color);

/* The escape code, or "" without colour. paint_end() undoes it. */
const char *paint_begin(const struct style *s, enum paint p);
const char *paint_end(const struct style *s, enum paint p);

/* Columns that text takes. */
size_t text_columns(const char *text);

/* Words of text, broken at the width, each line indented; the first line begins at column `at`. */
void text_wrap(FILE *f, const struct style *s, const char *text, unsigned int indent,
	       unsigned int at);

/* ---- a table: add the cells row by row, then print ---- */
struct table;
/* headings ends with NULL. NULL without memory. */
struct table *table_new(const char *const *headings);
void table_cell(struct table *t, enum paint p, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * Writes it and frees it. On a terminal the last column is cut to the width; where that leaves too
 * little of it, each row is a paragraph instead.
 */
void table_print(struct table *t, FILE *f, const struct style *s);

/* "  label          value", the value cleaned. */
void fact(FILE *f, const struct style *s, const char *label, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* "[######....]": cells columns wide inside the brackets. */
void bar_format(char *out, size_t cap, const struct style *s, double fraction, unsigned int cells);

/* Digits (and spaces) three lines high, each line indented: to be read from across a desk. */
void big_digits(FILE *f, const struct style *s, const char *digits, unsigned int indent);

/* 1234567 as "1 234 567". */
void count_format(char *out, size_t cap, uint64_t n);

/*
 * A string member, cleaned for the terminal, valid until the program ends or
 * eight further calls; "" when absent.
 */
const char *clean_member(const struct json_t *obj, const char *key);
const char *clean_text(const char *text);

/*
 * Progress on standard error: one line that is rewritten on a terminal, else
 * a line a step.
 */
struct progress {
	struct style style;
	bool open; /* a line without its end is on the screen */
	char last[512];
};
void progress_init(struct progress *p, bool want_color);
/* Show a state that lasts. Repeating it prints nothing where there is no terminal. */
void progress_show(struct progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Rewrite the line with a changing tail ("29:12 left"); nothing where there is no terminal. */
void progress_tick(struct progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Take the line off the screen, before other text is written. */
void progress_clear(struct progress *p);
