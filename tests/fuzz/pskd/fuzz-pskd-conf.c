/* pskd.yaml of any content. */
#include "pskd/config.h"

#include "fuzz/lib/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pskd_config c = { 0 };

	if (fuzz_conf(&pskd_schema, &c, data, size))
		config_done(&pskd_schema, &c);
	return 0;
}
