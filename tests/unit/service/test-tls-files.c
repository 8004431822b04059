/* Certificates and keys that a configuration names: files and credentials, missing, wrong and right. */
#include "service/tls_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/file.h"
#include "config/config.h"
#include "unit/lib/test.h"

#define CONF "/etc/handfast/authd.yaml"
#define DAY (24L * 3600)

static char *path_of(const char *name)
{
	return path_join(test_tmpdir(), name);
}

static char *put(const char *name, const char *text, size_t len)
{
	char *path = path_of(name);

	CHECK_EQ(file_write_atomic(path, text, len, 0600), 0);
	return path;
}

static char *put_bio(const char *name, BIO *out)
{
	char *data, *path;
	long len = BIO_get_mem_data(out, &data);

	path = put(name, data, (size_t)len);
	BIO_free(out);
	return path;
}

/* A new key and its self-signed certificate, good for so many days. */
static void make(char **cert, char **key, const char *name, long days)
{
	EVP_PKEY *k = EVP_EC_gen("P-256");
	BIO *cert_out = BIO_new(BIO_s_mem()), *key_out = BIO_new(BIO_s_mem());
	X509 *c = X509_new();
	char file[64];

	X509_set_version(c, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
	X509_gmtime_adj(X509_getm_notBefore(c), -DAY);
	X509_gmtime_adj(X509_getm_notAfter(c), days * DAY);
	X509_set_pubkey(c, k);
	CHECK(X509_sign(c, k, EVP_sha256()) > 0);
	CHECK_EQ(PEM_write_bio_X509(cert_out, c), 1);
	CHECK_EQ(PEM_write_bio_PrivateKey(key_out, k, NULL, NULL, 0, NULL, NULL), 1);
	snprintf(file, sizeof(file), "%s.pem", name);
	*cert = put_bio(file, cert_out);
	snprintf(file, sizeof(file), "%s.key", name);
	*key = put_bio(file, key_out);
	X509_free(c);
	EVP_PKEY_free(k);
}

static void refused(const char *cert, const char *key, const char *because)
{
	struct config_error err = { "" };
	struct tls_files t = { 0 };

	CHECK(tls_files_load(&t, "authd", CONF, cert, key, &err) < 0);
	if (!strstr(err.text, because))
		test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", err.text, because);
	tls_files_done(&t);
}

static void taken(const char *cert, const char *key, const char *warning)
{
	struct config_error err = { "" };
	struct tls_files t = { 0 };

	if (tls_files_load(&t, "authd", CONF, cert, key, &err))
		test_fail(__FILE__, __LINE__, "%s", err.text);
	CHECK(strstr(t.warning, warning));
	CHECK((*warning != '\0') == (t.warning[0] != '\0'));
	CHECK(tls_files_missing(&t, cert, key) == NULL);
	CHECK(strstr(t.certificate_pem, "BEGIN CERTIFICATE") && strstr(t.key_pem, "PRIVATE KEY"));
	tls_files_done(&t);
	CHECK(!t.certificate_pem && !t.key_pem);
}

TEST(paths_from_the_root_and_credentials_are_names)
{
	CHECK(!tls_files_accepts("/etc/ssl/a.pem"));
	CHECK(!tls_files_accepts("credential:tls.pem"));
	CHECK(tls_files_accepts("a.pem"));
	CHECK(tls_files_accepts(""));
	CHECK(tls_files_accepts("credential:"));
	CHECK(tls_files_accepts("credential:../a"));
	CHECK(tls_files_accepts("credential:/etc/ssl/a.pem"));
}

TEST(neither_is_no_tls_and_one_alone_is_refused)
{
	struct config_error err = { "" };
	struct tls_files t = { 0 };

	CHECK_EQ(tls_files_load(&t, "authd", CONF, NULL, NULL, &err), 0);
	CHECK(!t.certificate_pem && !t.key_pem && !t.warning[0]);
	CHECK(tls_files_missing(&t, NULL, NULL) == NULL);
	refused("/a.pem", NULL, CONF ": tls needs both");
	refused(NULL, "/a.key", CONF ": tls needs both");
}

TEST(a_certificate_with_its_key_is_taken)
{
	char *cert, *key;

	make(&cert, &key, "good", 90);
	taken(cert, key, "");
	free(cert);
	free(key);
	make(&cert, &key, "soon", 3);
	taken(cert, key, "the certificate is valid until");
	free(cert);
	free(key);
}

TEST(what_is_wrong_is_said_of_its_file)
{
	char *cert, *key, *other, *other_key, *text = put("text", "hello\n", 6), *none = path_of("none");
	char *big = calloc(1, 300 * 1024), *long_one;

	memset(big, 'x', 300 * 1024);
	long_one = put("long", big, 300 * 1024);
	free(big);
	make(&cert, &key, "one", 90);
	make(&other, &other_key, "other", 90);
	refused(cert, other_key, "other.key is the key of another certificate");
	refused(cert, text, "text holds no private key");
	refused(text, key, "text holds no certificate");
	refused(none, key, "none: No such file");
	refused(cert, none, "none: No such file");
	refused(cert, test_tmpdir(), "directory");
	refused(long_one, key, "long: ");
	free(cert);
	free(key);
	free(other);
	free(other_key);
	free(text);
	free(none);
	free(long_one);
}

TEST(credentials_are_read_from_where_systemd_puts_them)
{
	char *cert, *key;

	make(&cert, &key, "tls", 90);
	setenv("CREDENTIALS_DIRECTORY", test_tmpdir(), 1);
	taken("credential:tls.pem", "credential:tls.key", "");
	taken(cert, "credential:tls.key", "");
	refused("credential:nothing", "credential:tls.key", "authd.service passes no such credential");
	refused("credential:tls.key", "credential:tls.pem", "credential:tls.key holds no certificate");
	free(cert);
	free(key);
}

/* As in authd --check by hand: nothing of the file is wrong. */
TEST(outside_of_the_service_credentials_are_missing_and_no_error)
{
	struct config_error err = { "" };
	struct tls_files t = { 0 };
	char *cert, *key;

	make(&cert, &key, "tls", 90);
	unsetenv("CREDENTIALS_DIRECTORY");
	CHECK_EQ(tls_files_load(&t, "authd", CONF, "credential:tls.pem", "credential:tls.key", &err), 0);
	CHECK_STR(tls_files_missing(&t, "credential:tls.pem", "credential:tls.key"), "credential:tls.pem");
	tls_files_done(&t);
	CHECK_EQ(tls_files_load(&t, "authd", CONF, cert, "credential:tls.key", &err), 0);
	CHECK_STR(tls_files_missing(&t, cert, "credential:tls.key"), "credential:tls.key");
	tls_files_done(&t);
	free(cert);
	free(key);
}
