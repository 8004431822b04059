/* relayd.yaml of any content. */
#include "relayd/config.h"

#include "fuzz/lib/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relayd_config c = { 0 };

	if (fuzz_conf(&relayd_schema, &c, data, size))
		config_done(&relayd_schema, &c);
	return 0;
}
