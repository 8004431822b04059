/* authd.yaml of any content. */
#include "authd/config.h"

#include "fuzz/lib/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct authd_config c = { 0 };

	if (fuzz_conf(&authd_config_schema, &c, data, size))
		config_done(&authd_config_schema, &c);
	return 0;
}
