/* What is typed: a whole command line (words ended by newlines), answers to comparing numbers, addresses. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl/command.h"
#include "ctl/link/link_kernel.h"
#include "ctl/pair/pair_sas.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS = 40 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct sas_choices choices = { { "123456", "234567", "345678" } };
	_cleanup_free_ char *text = malloc(size + 1), *line = malloc(size + 1);
	char program[] = "handfast", *argv[WORDS + 2] = { program }, digits[SAS_PICK_DIGITS + 1];
	struct failure f = { 0 };
	struct link_cidr cidr, again;
	const char *picked = NULL;
	struct parsed p;
	int argc = 1, r;

	assert(text && line);
	memcpy(text, data, size);
	text[size] = '\0';
	strcpy(line, text);
	for (char *word = strtok(line, "\n"); word && argc <= WORDS; word = strtok(NULL, "\n"))
		argv[argc++] = word;
	r = parse_command_line(&p, argc, argv, &f);
	assert(r == EXIT_DONE || r == EXIT_USAGE);
	if (r == EXIT_DONE && p.command)
		assert(command_find(p.command->name) == p.command);

	if (sas_answer_parse(text, &choices, &picked) == SAS_PICKED)
		assert(picked >= choices.digits[0] && picked <= choices.digits[2]);
	if (sas_file_parse(digits, text) == SAS_PICKED)
		assert(strlen(digits) == SAS_PICK_DIGITS && strspn(digits, "0123456789") == SAS_PICK_DIGITS);
	if (link_cidr_parse(&cidr, text) == 0) {
		char shown[LINK_CIDR_TEXT];

		link_cidr_format(shown, &cidr, true);
		assert(link_cidr_parse(&again, shown) == 0 && link_cidr_holds(&cidr, &again));
	}
	return 0;
}
