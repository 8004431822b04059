/* The pick among three numbers. */
#include "ctl/pair/pair_sas.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/*
 * Copies the digits of text, spaces and hyphens left out. Their number, or 0
 * when something else is there.
 */
static size_t digits_of(char out[static SAS_PICK_DIGITS + 1], const char *text)
{
	size_t n = 0;

	for (; *text; text++) {
		if (strchr(" -\t\r\n", *text))
			continue;
		if (*text < '0' || *text > '9' || n == SAS_PICK_DIGITS)
			return 0;
		out[n++] = *text;
	}
	out[n] = '\0';
	return n;
}

bool sas_choices_read(struct sas_choices *c, const json_t *array)
{
	if (json_array_size(array) != SAS_PICK_CHOICES)
		return false;
	for (size_t i = 0; i < SAS_PICK_CHOICES; i++) {
		const char *text = json_string_value(json_array_get(array, i));

		if (!text || digits_of(c->digits[i], text) != SAS_PICK_DIGITS)
			return false;
	}
	return true;
}

static bool is_none(const char *line)
{
	line += strspn(line, " \t");
	return strncmp(line, "none", 4) == 0 && line[4 + strspn(line + 4, " \t\r\n")] == '\0';
}

enum sas_answer sas_answer_parse(const char *line, const struct sas_choices *c, const char **picked)
{
	char digits[SAS_PICK_DIGITS + 1];
	size_t n = digits_of(digits, line);

	if (is_none(line) || (n == 1 && digits[0] == '0'))
		return SAS_NONE_OF_THESE;
	if (n == 1 && digits[0] >= '1' && digits[0] < '1' + SAS_PICK_CHOICES) {
		*picked = c->digits[digits[0] - '1'];
		return SAS_PICKED;
	}
	for (size_t i = 0; n == SAS_PICK_DIGITS && i < SAS_PICK_CHOICES; i++) {
		if (strcmp(digits, c->digits[i]) == 0) {
			*picked = c->digits[i];
			return SAS_PICKED;
		}
	}
	return SAS_NO_ANSWER;
}

enum sas_answer sas_file_parse(char digits[static SAS_PICK_DIGITS + 1], const char *line)
{
	if (is_none(line))
		return SAS_NONE_OF_THESE;
	return digits_of(digits, line) == SAS_PICK_DIGITS ? SAS_PICKED : SAS_NO_ANSWER;
}

/* ---- the file ---- */

struct sas_file {
	int fd;
	bool own, regular;
	char text[64];
	size_t len;
};

int sas_file_open(struct sas_file **out, const char *path, struct failure *f)
{
	struct sas_file *s = calloc(1, sizeof(*s));
	struct stat st;

	if (!s)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	s->own = strcmp(path, "-") != 0;
	/* Non-blocking: a FIFO without a writer yet must not hold up the pairing. */
	s->fd = s->own ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : STDIN_FILENO;
	if (s->fd < 0 || fstat(s->fd, &st) != 0) {
		int e = errno;

		sas_file_close(s);
		if (e == ENOENT || e == ENOTDIR)
			return failure_set(f, EXIT_NO_SUCH, ERROR_NO_SUCH_FILE,
					   "“mkfifo FILE” makes one to write the number to.",
					   "there is no file %s", path);
		return failure_set(f, e == EACCES ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE, NULL,
				   "cannot read %s: %s", path, strerror(e));
	}
	s->regular = S_ISREG(st.st_mode);
	*out = s;
	return EXIT_DONE;
}

int sas_file_fd(const struct sas_file *s)
{
	return s->regular ? -1 : s->fd;
}

int sas_file_read(struct sas_file *s, char *line, size_t cap)
{
	char *end;
	ssize_t n;
	size_t len;

	n = read(s->fd, s->text + s->len, sizeof(s->text) - 1 - s->len);
	if (n < 0)
		return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
	s->len += (size_t)n;
	s->text[s->len] = '\0';
	end = strchr(s->text, '\n');
	if (!end && n == 0) {
		/* A file may be written later; a FIFO's or pipe's last writer has gone. */
		if (s->regular)
			return -EAGAIN;
		if (s->len == 0)
			return -ENODATA;
		end = s->text + s->len;
	}
	if (!end)
		return s->len + 1 < sizeof(s->text) ? -EAGAIN : -ENODATA;
	len = (size_t)(end - s->text);
	snprintf(line, cap, "%.*s", (int)len, s->text);
	return 0;
}

struct sas_file *sas_file_close(struct sas_file *s)
{
	if (s && s->own && s->fd >= 0)
		close(s->fd);
	free(s);
	return NULL;
}
