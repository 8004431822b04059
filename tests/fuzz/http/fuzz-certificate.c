/* PEM files of any content: fit, or not with one sentence why. The first NUL or '|' ends the certificate, the rest is the key. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "http/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(int r, const char *text)
{
	char clean[256];

	assert(r == 0 || *text);
	assert(text_clean(clean, sizeof(clean), text, strlen(text)) == strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *cert = malloc(size + 1);
	char text[256] = "", *key;

	assert(cert);
	memcpy(cert, data, size);
	cert[size] = '\0';
	key = memchr(cert, '|', size);
	if (key)
		*key++ = '\0';
	check_text(certificate_check(cert, key ? key : "", text, sizeof(text)), text);
	*text = '\0';
	check_text(certificate_check_authorities(cert, text, sizeof(text)), text);
	return 0;
}
