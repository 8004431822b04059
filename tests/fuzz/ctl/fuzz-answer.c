/* A daemon's answer of any shape becomes text without harm: no member can be relied upon. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "base/json.h"
#include "ctl/ctl.h"
#include "ctl/pair/pair_sas.h"
#include "ctl/pair/peer_text.h"
#include "ctl/tunnel/tunnel_text.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return freopen("/dev/null", "w", stdout) ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct json_limits limits = { 1 << 20, 20, 1000 };
	struct ctl c = { .program = "handfast" };
	struct sas_choices choices;
	json_t *answer = NULL;

	c.style.width = size ? 20 + data[size - 1] : 80;
	c.style.color = true;
	c.style.tty = true;
	if (json_parse(&answer, (const char *)data, size, &limits) != 0)
		return 0;
	tunnel_text(&c, json_object_get(answer, "tunnel"));
	tunnels_table(&c, json_object_get(answer, "tunnels"));
	peer_text(&c, json_object_get(answer, "peer"));
	sas_choices_read(&choices, json_object_get(answer, "choices"));
	json_decref(answer);
	return 0;
}
