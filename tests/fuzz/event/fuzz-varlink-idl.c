/* Interface descriptions, which a Varlink client might read from a stranger; and the walk over a value. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/json.h"
#include "event/varlink_idl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(varlink_idl_freep) struct varlink_idl *idl = NULL;
	_cleanup_json_ json_t *value = json_loads("{\"name\":\"x\",\"n\":1,\"list\":[{\"a\":null}],\"map\":{\"k\":[1]}}",
						  0, NULL);
	struct varlink_idl_error err;
	const char *method;
	char where[64];

	if (varlink_idl_parse(&idl, (const char *)data, size, &err))
		return 0;
	for (size_t i = 0; (method = varlink_idl_method(idl, i)); i++) {
		varlink_idl_check_call(idl, method, value, where, sizeof(where));
		varlink_idl_check_reply(idl, method, NULL, where, sizeof(where));
	}
	return 0;
}
