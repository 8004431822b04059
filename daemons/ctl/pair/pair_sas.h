/*
 * The pick among three numbers, by a person on the terminal or from a file. One
 * pick is all there is: a slip that is no pick is asked about again, a wrong
 * pick is not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/failure.h"

enum { SAS_PICK_DIGITS = 6, SAS_PICK_CHOICES = 3 };

struct sas_choices {
	char digits[SAS_PICK_CHOICES][SAS_PICK_DIGITS + 1];
};

struct json_t;
/* From the event's array of strings. False when it is not three numbers. */
bool sas_choices_read(struct sas_choices *c, const struct json_t *array);

enum sas_answer { SAS_NO_ANSWER, SAS_PICKED, SAS_NONE_OF_THESE };

/*
 * What a person typed: 1, 2 or 3, the digits themselves, 0 or "none". picked
 * points into c.
 */
enum sas_answer sas_answer_parse(const char *line, const struct sas_choices *c,
				 const char **picked);

/*
 * What a file says: six digits, whether among the choices or not, or "none".
 * digits gets them.
 */
enum sas_answer sas_file_parse(char digits[static SAS_PICK_DIGITS + 1], const char *line);

/* ---- the file: a FIFO, standard input ("-"), or a file that is written later ---- */
struct sas_file;
int sas_file_open(struct sas_file **out, const char *path, struct failure *f);
/* To poll for reading, or -1 when only sas_file_read() now and then can tell. */
int sas_file_fd(const struct sas_file *s);
/*
 * 0 with the first line, -EAGAIN while it is not whole, -ENODATA at an end
 * without one, or another negative errno.
 */
int sas_file_read(struct sas_file *s, char *line, size_t cap);
struct sas_file *sas_file_close(struct sas_file *s);
