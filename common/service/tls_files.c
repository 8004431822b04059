/* PEM files by path or credential; the key's text is wiped when it goes. */
#include "service/tls_files.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "config/config.h"
#include "http/certificate.h"
#include "service/credential.h"

enum { PEM_MAX = 256 * 1024 };

static int __attribute__((format(printf, 3, 4)))
refuse(struct config_error *err, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return r;
}

const char *tls_files_accepts(const char *value)
{
	size_t n = strlen(CREDENTIAL_PREFIX);

	if (value[0] == '/' || (strncmp(value, CREDENTIAL_PREFIX, n) == 0 && credential_name_is_good(value + n)))
		return NULL;
	return "a path from the root on, or credential:NAME";
}

static int read_file(char **out, const char *path, struct config_error *err)
{
	size_t len;
	int r;

	r = file_read(out, &len, path, PEM_MAX);
	return r ? refuse(err, r, "%s: %s", path, strerror(-r)) : 0;
}

/* A file, or what systemd passed; outside of the service nothing is passed, and that is no mistake of the file. */
static int read_pem(char **out, const char *daemon, const char *from, struct config_error *err)
{
	_cleanup_free_ char *path = NULL;
	int r;

	if (strncmp(from, CREDENTIAL_PREFIX, strlen(CREDENTIAL_PREFIX)) != 0)
		return read_file(out, from, err);
	if (!getenv("CREDENTIALS_DIRECTORY"))
		return 0;
	path = credential_path(from + strlen(CREDENTIAL_PREFIX));
	if (!path)
		return refuse(err, -ENOMEM, "%s: no memory", from);
	r = read_file(out, path, err);
	if (r == -ENOENT)
		return refuse(err, r, "%s: %s.service passes no such credential (LoadCredential=)", from, daemon);
	return r;
}

const char *tls_files_missing(const struct tls_files *t, const char *certificate, const char *key)
{
	if (certificate && !t->certificate_pem)
		return certificate;
	return key && !t->key_pem ? key : NULL;
}

static int check(struct tls_files *t, const char *certificate, const char *key, struct config_error *err)
{
	char text[120];
	int r = certificate_check(t->certificate_pem, t->key_pem, text, sizeof(text));

	if (r < 0)
		return refuse(err, r, "%s: %s", certificate, strerror(-r));
	if (r == CERTIFICATE_E_TIME)
		snprintf(t->warning, sizeof(t->warning), "the certificate %s", text);
	else if (r)
		return refuse(err, -EINVAL, "%s %s", r == CERTIFICATE_E_KEY ? key : certificate, text);
	return 0;
}

int tls_files_load(struct tls_files *out, const char *daemon, const char *config_path, const char *certificate,
		   const char *key, struct config_error *err)
{
	int r;

	if (!certificate != !key)
		return refuse(err, -EINVAL, "%s: tls needs both certificate and key", config_path);
	if (!certificate)
		return 0;
	r = read_pem(&out->certificate_pem, daemon, certificate, err);
	if (!r)
		r = read_pem(&out->key_pem, daemon, key, err);
	return r || tls_files_missing(out, certificate, key) ? r : check(out, certificate, key, err);
}

void tls_files_done(struct tls_files *t)
{
	if (t->key_pem)
		explicit_bzero(t->key_pem, strlen(t->key_pem));
	free(t->key_pem);
	free(t->certificate_pem);
	*t = (struct tls_files){ 0 };
}
