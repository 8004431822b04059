/* pairingd.yaml of any content. */
#include "pairingd/config.h"

#include "fuzz/lib/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pairingd_config c = { 0 };

	if (fuzz_conf(&pairingd_config_schema, &c, data, size))
		config_done(&pairingd_config_schema, &c);
	return 0;
}
