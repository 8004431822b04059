/* Text for people. Relies on text_clean() for whatever came from elsewhere. */
#include "ctl/output_text.h"

#include <assert.h>
#include <jansson.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

enum { WIDTH_DEFAULT = 80, WIDTH_MIN = 20, WIDTH_MAX = 200, COLUMNS_MAX = 12, CELL_MAX = 256 };

void style_init(struct style *s, FILE *stream, bool want_color)
{
	const char *term = getenv("TERM");
	struct winsize size = { 0 };
	int fd = fileno(stream);

	*s = (struct style){ .width = WIDTH_DEFAULT };
	s->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	s->tty = isatty(fd) == 1;
	if (!s->tty)
		return;
	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		s->width = size.ws_col < WIDTH_MIN ? WIDTH_MIN : size.ws_col;
	s->color = want_color && term && *term && strcmp(term, "dumb") != 0;
}

const char *paint_begin(const struct style *s, enum paint p)
{
	static const char *const codes[] = {
		[PAINT_PLAIN] = "",	   [PAINT_BOLD] = "\033[1m",   [PAINT_DIM] = "\033[2m",
		[PAINT_GREEN] = "\033[32m", [PAINT_YELLOW] = "\033[33m", [PAINT_RED] = "\033[31m",
	};

	return s->color ? codes[p] : "";
}

const char *paint_end(const struct style *s, enum paint p)
{
	return s->color && p != PAINT_PLAIN ? "\033[0m" : "";
}

/* ---- measuring ---- */

/* Bytes of the character at text, and the columns it takes. */
static size_t character(const char *text, size_t *columns)
{
	mbstate_t state = { 0 };
	wchar_t wc;
	size_t n = mbrtowc(&wc, text, strlen(text), &state);
	int w;

	*columns = 1;
	if (n == 0 || n == (size_t)-1 || n == (size_t)-2)
		return 1;
	w = wcwidth(wc);
	if (w >= 0)
		*columns = (size_t)w;
	return n;
}

size_t text_columns(const char *text)
{
	size_t sum = 0, one;

	while (*text) {
		text += character(text, &one);
		sum += one;
	}
	return sum;
}

/* Bytes of the longest beginning that takes at most max columns. */
static size_t fitting(const char *text, size_t max)
{
	size_t sum = 0, one, at = 0;

	while (text[at]) {
		size_t n = character(text + at, &one);

		if (sum + one > max)
			break;
		sum += one;
		at += n;
	}
	return at;
}

void text_wrap(FILE *f, const struct style *s, const char *text, unsigned int indent,
	       unsigned int at)
{
	/* Long lines are hard to read; nothing gains by using a very wide screen whole. */
	size_t width = s->width > 100 ? 100 : s->width, used = at;
	bool begin = at <= indent;

	for (; used < indent; used++)
		fputc(' ', f);
	while (*text) {
		size_t len = strcspn(text, " \n"), columns;
		char word[CELL_MAX];

		snprintf(word, sizeof(word), "%.*s", (int)len, text);
		columns = text_columns(word);
		if (!begin && used + 1 + columns > width) {
			fprintf(f, "\n%*s", (int)indent, "");
			used = indent;
			begin = true;
		}
		fprintf(f, "%s%.*s", begin || len == 0 ? "" : " ", (int)len, text);
		used += columns + !begin;
		begin = begin && len == 0;
		text += len;
		if (*text == '\n') {
			fprintf(f, "\n%*s", (int)indent, "");
			used = indent;
			begin = true;
		}
		text += *text != '\0';
	}
	fputc('\n', f);
}

/* ---- tables ---- */

struct cell {
	char *text;
	enum paint paint;
};

struct table {
	size_t columns;
	const char *headings[COLUMNS_MAX];
	struct cell *cells;
	size_t n, cap;
};

struct table *table_new(const char *const *headings)
{
	struct table *t = calloc(1, sizeof(*t));

	for (; t && headings[t->columns] && t->columns < COLUMNS_MAX; t->columns++)
		t->headings[t->columns] = headings[t->columns];
	return t;
}

void table_cell(struct table *t, enum paint p, const char *fmt, ...)
{
	char raw[CELL_MAX], clean[CELL_MAX];
	va_list ap;

	if (!t)
		return;
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;
		struct cell *more = reallocarray(t->cells, cap, sizeof(*more));

		if (!more)
			return;
		t->cells = more;
		t->cap = cap;
	}
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(clean, sizeof(clean), raw, strlen(raw));
	t->cells[t->n++] = (struct cell){ strdup(*clean ? clean : "-"), p };
}

static void table_row(const struct table *t, FILE *f, const struct style *s, const size_t *widths,
		      const struct cell *row)
{
	size_t used = 0;

	for (size_t i = 0; i < t->columns; i++) {
		const char *text = row[i].text ? row[i].text : "";
		size_t columns = text_columns(text), bytes = strlen(text);
		bool last = i + 1 == t->columns;

		if (last && s->tty && used + columns > s->width)
			bytes = fitting(text, s->width > used ? s->width - used : 1);
		fprintf(f, "%s%.*s%s", paint_begin(s, row[i].paint), (int)bytes, text,
			paint_end(s, row[i].paint));
		if (!last)
			fprintf(f, "%*s", (int)(widths[i] - columns + 2), "");
		used += widths[i] + 2;
	}
	fputc('\n', f);
}

/* Where the terminal is too narrow for columns: a row is a paragraph, its first cell the heading. */
static void table_stacked(const struct table *t, FILE *f, const struct style *s)
{
	enum { INDENT = 2 };

	for (size_t i = 0; i + t->columns <= t->n; i += t->columns)
		for (size_t k = 0; k < t->columns; k++) {
			const struct cell *c = &t->cells[i + k];
			const char *text = c->text ? c->text : "";
			size_t label = text_columns(t->headings[k]) + 1;

			/* An empty cell says nothing here. */
			if (k && strcmp(text, "-") == 0)
				continue;
			if (k)
				fprintf(f, "%*s%s:", INDENT, "", t->headings[k]);
			fputs(paint_begin(s, c->paint), f);
			text_wrap(f, s, text, k ? 2 * INDENT : INDENT, k ? (unsigned int)(INDENT + label) : INDENT);
			fputs(paint_end(s, c->paint), f);
		}
}

/* Columns that the last one gets on a terminal, and whether that is too few to read what is in it. */
static bool is_too_narrow(const struct table *t, const struct style *s, const size_t *widths)
{
	enum { LAST_MIN = 16 };
	size_t last = widths[t->columns - 1], used = 0;

	for (size_t i = 0; i + 1 < t->columns; i++)
		used += widths[i] + 2;
	return s->tty && used + (last < LAST_MIN ? last : LAST_MIN) > s->width;
}

void table_print(struct table *t, FILE *f, const struct style *s)
{
	struct cell head[COLUMNS_MAX];
	size_t widths[COLUMNS_MAX];

	if (!t)
		return;
	assert(t->columns > 0);
	for (size_t i = 0; i < t->columns; i++) {
		widths[i] = text_columns(t->headings[i]);
		head[i].text = (char *)(uintptr_t)t->headings[i];
		head[i].paint = PAINT_BOLD;
	}
	for (size_t i = 0; i < t->n; i++) {
		size_t w = t->cells[i].text ? text_columns(t->cells[i].text) : 0;

		if (w > widths[i % t->columns])
			widths[i % t->columns] = w;
	}
	if (is_too_narrow(t, s, widths)) {
		table_stacked(t, f, s);
	} else {
		table_row(t, f, s, widths, head);
		for (size_t i = 0; i + t->columns <= t->n; i += t->columns)
			table_row(t, f, s, widths, &t->cells[i]);
	}
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t);
}

/* ---- facts ---- */

void fact(FILE *f, const struct style *s, const char *label, const char *fmt, ...)
{
	enum { LABEL = 14 };
	char raw[1024], clean[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(clean, sizeof(clean), raw, strlen(raw));
	fprintf(f, "  %s%-*s%s ", paint_begin(s, PAINT_DIM), LABEL - 1, label,
		paint_end(s, PAINT_DIM));
	text_wrap(f, s, clean, LABEL + 2, LABEL + 2);
}

void bar_format(char *out, size_t cap, const struct style *s, double fraction, unsigned int cells)
{
	unsigned int full;
	size_t len = 1;

	if (!(fraction > 0))
		fraction = 0;
	if (fraction > 1)
		fraction = 1;
	full = (unsigned int)(fraction * cells + 0.5);
	snprintf(out, cap, "[");
	for (unsigned int i = 0; i < cells && len + 5 < cap; i++)
		len += (size_t)snprintf(out + len, cap - len, "%s",
					i < full ? (s->utf8 ? "█" : "#") : (s->utf8 ? "·" : "."));
	snprintf(out + len, cap - len, "]");
}

void big_digits(FILE *f, const struct style *s, const char *digits, unsigned int indent)
{
	static const char *const rows[3][10] = {
		{ " _ ", "   ", " _ ", " _ ", "   ", " _ ", " _ ", " _ ", " _ ", " _ " },
		{ "| |", "  |", " _|", " _|", "|_|", "|_ ", "|_ ", "  |", "|_|", "|_|" },
		{ "|_|", "  |", "|_ ", " _|", "  |", " _|", "|_|", "  |", "|_|", " _|" },
	};

	for (size_t row = 0; row < 3; row++) {
		fprintf(f, "%*s%s", (int)indent, "", paint_begin(s, PAINT_BOLD));
		for (const char *d = digits; *d; d++)
			fprintf(f, "%s ", *d >= '0' && *d <= '9' ? rows[row][*d - '0'] : " ");
		fprintf(f, "%s\n", paint_end(s, PAINT_BOLD));
	}
}

void count_format(char *out, size_t cap, uint64_t n)
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	size_t at = 0;

	for (size_t i = 0; i < len && at + 2 < cap; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ' ';
		out[at++] = digits[i];
	}
	if (cap)
		out[at] = '\0';
}

const char *clean_text(const char *text)
{
	static char buffers[8][1024];
	static size_t next;
	char *out = buffers[next++ % ARRAY_SIZE(buffers)];

	text_clean(out, sizeof(buffers[0]), text ? text : "", text ? strlen(text) : 0);
	return out;
}

const char *clean_member(const json_t *obj, const char *key)
{
	return clean_text(json_get_str(obj, key));
}

/* ---- progress ---- */

void progress_init(struct progress *p, bool want_color)
{
	*p = (struct progress){ 0 };
	style_init(&p->style, stderr, want_color);
}

/* Rewrites the line where there is a terminal that can. */
static bool can_rewrite(const struct progress *p)
{
	const char *term = getenv("TERM");

	return p->style.tty && term && *term && strcmp(term, "dumb") != 0;
}

void progress_clear(struct progress *p)
{
	if (p->open && can_rewrite(p))
		fprintf(stderr, "\r\033[K");
	p->open = false;
	fflush(stderr);
}

static void rewrite(struct progress *p, const char *text)
{
	/* One column stays free: a full line would wrap and could not be taken back. */
	fprintf(stderr, "\r\033[K%.*s", (int)fitting(text, p->style.width - 1), text);
	fflush(stderr);
	p->open = true;
}

void progress_show(struct progress *p, const char *fmt, ...)
{
	char raw[sizeof(p->last)], text[sizeof(p->last)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(text, sizeof(text), raw, strlen(raw));
	if (can_rewrite(p)) {
		rewrite(p, text);
	} else if (strcmp(text, p->last) != 0) {
		fprintf(stderr, "%s\n", text);
		fflush(stderr);
	}
	memcpy(p->last, text, sizeof(p->last));
}

void progress_tick(struct progress *p, const char *fmt, ...)
{
	char raw[2 * sizeof(p->last)], text[2 * sizeof(p->last)];
	va_list ap;

	if (!can_rewrite(p))
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(text, sizeof(text), raw, strlen(raw));
	rewrite(p, text);
}
