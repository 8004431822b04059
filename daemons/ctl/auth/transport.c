/* libcurl behind one function. */
#include "ctl/auth/transport.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

#include "ctl/terminal.h"

enum { CONNECT_MS = 10000, HEAD_MAX = 65536 };

/* What is used of it, by its own names. */
static struct {
	CURLcode (*global_init)(long flags);
	CURL *(*easy_init)(void);
	CURLcode (*setopt)(CURL *handle, CURLoption option, ...);
	CURLcode (*perform)(CURL *handle);
	void (*reset)(CURL *handle);
	void (*cleanup)(CURL *handle);
	struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
	void (*slist_free)(struct curl_slist *list);
	const char *(*strerror)(CURLcode code);
} lib;

static const struct {
	const char *name;
	void *at; /* a function pointer's place */
} symbols[] = {
	{ "curl_global_init", &lib.global_init },   { "curl_easy_init", &lib.easy_init },
	{ "curl_easy_setopt", &lib.setopt },	    { "curl_easy_perform", &lib.perform },
	{ "curl_easy_reset", &lib.reset },	    { "curl_easy_cleanup", &lib.cleanup },
	{ "curl_slist_append", &lib.slist_append }, { "curl_slist_free_all", &lib.slist_free },
	{ "curl_easy_strerror", &lib.strerror },
};

struct transport {
	CURL *curl;
	struct transport_options o;
	char error[CURL_ERROR_SIZE];
};

static int load(struct failure *f)
{
	/* The name with which programs that are linked to it ask for it. */
	void *h = lib.perform ? NULL : dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	const char *missing = NULL;

	if (lib.perform)
		return EXIT_DONE;
	for (size_t i = 0; h && i < ARRAY_SIZE(symbols); i++) {
		void *symbol = dlsym(h, symbols[i].name);

		if (!symbol)
			missing = symbols[i].name;
		memcpy(symbols[i].at, &symbol, sizeof(symbol));
	}
	if (h && !missing && lib.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		return EXIT_DONE;
	lib.perform = NULL;
	return failure_set(f, EXIT_FAILED, ERROR_NO_LIBRARY, "Install it: “sudo apt install libcurl4”.",
			   "libcurl cannot be loaded: %s", missing ? missing : h ? "it does not start" : dlerror());
}

int transport_new(struct transport **out, const struct transport_options *o, struct failure *f)
{
	_cleanup_(transport_freep) struct transport *t = calloc(1, sizeof(*t));
	int r = load(f);

	if (r)
		return r;
	if (t)
		t->curl = lib.easy_init();
	if (!t || !t->curl)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	t->o = *o;
	*out = steal(&t);
	return EXIT_DONE;
}

void transport_set_limits(struct transport *t, unsigned int timeout_ms, unsigned int stall_s, bool to_the_end)
{
	t->o.timeout_ms = timeout_ms;
	t->o.stall_s = stall_s;
	t->o.to_the_end = to_the_end;
}

struct transport *transport_free(struct transport *t)
{
	if (!t)
		return NULL;
	if (t->curl)
		lib.cleanup(t->curl);
	free(t);
	return NULL;
}

void transport_answer_done(struct transport_answer *a)
{
	free(a->body);
	free(a->head);
	*a = (struct transport_answer){ 0 };
}

/* ---- the answer ---- */

struct receiving {
	const struct transport_request *request;
	struct transport_answer a;
	size_t head_len;
	unsigned int snonces;
	unsigned char last; /* of what was written to a terminal */
	bool began, too_long, no_memory, not_written, interrupted, to_the_end;
};

/* RFC 9110 section 5: "Name: value" of a line, or NULL when it is another. */
static const char *value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	return line + n + 1 + strspn(line + n + 1, " \t");
}

static void take_line(struct receiving *v, char *line)
{
	const char *value;

	line[strcspn(line, "\r\n")] = '\0';
	/* "HTTP/1.1 200 OK": another head begins (after 100 Continue, say). */
	if (strncmp(line, "HTTP/", 5) == 0) {
		v->a.status = (unsigned int)strtoul(line + strcspn(line, " "), NULL, 10);
		v->snonces = 0;
		*v->a.snonce = *v->a.content_type = '\0';
		v->head_len = 0;
		return;
	}
	value = value_of(line, "Content-Type");
	if (value)
		text_clean(v->a.content_type, sizeof(v->a.content_type), value, strlen(value));
	value = value_of(line, "X-SNONCE");
	if (value) {
		size_t len = strlen(value);

		while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
			len--;
		v->snonces++;
		*v->a.snonce = '\0';
		if (v->snonces == 1 && len < sizeof(v->a.snonce))
			snprintf(v->a.snonce, sizeof(v->a.snonce), "%.*s", (int)len, value);
	}
}

static size_t on_head(char *data, size_t size, size_t n, void *arg)
{
	struct receiving *v = arg;
	size_t len = size * n;
	char line[1024];
	char *more;

	snprintf(line, sizeof(line), "%.*s", (int)(len < sizeof(line) ? len : sizeof(line) - 1), data);
	/* A line that is longer is none of those we look at, and must not be one cut. */
	if (len < sizeof(line) || strncmp(line, "HTTP/", 5) == 0)
		take_line(v, line);
	if (v->head_len + len <= HEAD_MAX) {
		more = realloc(v->a.head, v->head_len + len + 1);
		if (!more) {
			v->no_memory = true;
			return 0;
		}
		memcpy(more + v->head_len, data, len);
		v->head_len += len;
		more[v->head_len] = '\0';
		v->a.head = more;
	}
	return len;
}

static bool shows(const struct receiving *v)
{
	return v->request->to && !(v->request->keep_401 && v->a.status == 401 && *v->a.snonce);
}

bool transport_write_clean(FILE *to, const char *data, size_t len, unsigned char *last)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)data[i];
		/* U+0080 to U+009F in UTF-8: a terminal takes them for escapes, too. */
		bool steers = (c < ' ' && c != '\n' && c != '\t') || c == 127 || (*last == 0xc2 && c >= 0x80 && c <= 0x9f);

		*last = c;
		/* Carriage returns end header lines, and are no use before a newline. */
		if (c == '\r' && i + 1 < len && data[i + 1] == '\n')
			continue;
		if (putc(steers ? '?' : c, to) == EOF)
			return false;
	}
	return true;
}

static bool write_answer(struct receiving *v, const char *data, size_t len)
{
	FILE *to = v->request->to;

	return v->request->clean ? transport_write_clean(to, data, len, &v->last) : fwrite(data, 1, len, to) == len;
}

static bool begin_to_show(struct receiving *v)
{
	if (v->began || !v->request->with_head || !v->a.head)
		return true;
	v->began = true;
	return write_answer(v, v->a.head, strlen(v->a.head));
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct receiving *v = arg;
	size_t len = size * n;
	char *more;

	if (shows(v)) {
		if (begin_to_show(v) && write_answer(v, data, len))
			return len;
		v->not_written = true;
		return 0;
	}
	if (v->a.len + len > v->request->answer_max) {
		v->too_long = true;
		return 0;
	}
	more = realloc(v->a.body, v->a.len + len + 1);
	if (!more) {
		v->no_memory = true;
		return 0;
	}
	memcpy(more + v->a.len, data, len);
	v->a.len += len;
	more[v->a.len] = '\0';
	v->a.body = more;
	return len;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct receiving *v = arg;

	(void)a;
	(void)b;
	(void)c;
	(void)d;
	v->interrupted = !v->to_the_end && interrupt_seen() != 0;
	return v->interrupted;
}

/* ---- the request ---- */

bool transport_field_is_right(const char *line)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t n = strspn(line, token);

	if (n == 0 || line[n] != ':')
		return false;
	for (const unsigned char *p = (const unsigned char *)line + n + 1; *p; p++)
		if ((*p < ' ' && *p != '\t') || *p == 127)
			return false;
	return true;
}

static int add_fields(struct curl_slist **list, const struct transport_request *r)
{
	/* "Name;" is libcurl's way to send an empty one; "Expect:" takes its own away. */
	struct curl_slist *all = lib.slist_append(NULL, "Expect:"), *more = all;

	for (size_t i = 0; more && i < r->n_fields; i++) {
		char *line = NULL;
		int n = asprintf(&line, *r->fields[i].value ? "%s: %s" : "%s;%s", r->fields[i].name, r->fields[i].value);

		more = n < 0 ? NULL : lib.slist_append(all, line);
		free(n < 0 ? NULL : line);
	}
	*list = all;
	return more ? 0 : -ENOMEM;
}

#define SET(option, value) (ok = ok && lib.setopt(c, (option), (value)) == CURLE_OK)

static bool prepare(struct transport *t, const struct transport_request *r, const char *url, struct curl_slist *fields,
		    struct receiving *v)
{
	CURL *c = t->curl;
	bool ok = true;

	lib.reset(c);
	SET(CURLOPT_ERRORBUFFER, t->error);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_URL, url);
	/* What is signed is what is sent: no dot segment or character of it is touched. */
	SET(CURLOPT_REQUEST_TARGET, r->target);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	SET(CURLOPT_TIMEOUT_MS, (long)t->o.timeout_ms);
	SET(CURLOPT_LOW_SPEED_LIMIT, t->o.stall_s ? 1L : 0L);
	SET(CURLOPT_LOW_SPEED_TIME, (long)t->o.stall_s);
	SET(CURLOPT_HTTPHEADER, fields);
	SET(CURLOPT_USERAGENT, "handfast/" HANDFAST_VERSION);
	if (t->o.ca_file) {
		SET(CURLOPT_CAINFO, t->o.ca_file);
		SET(CURLOPT_CAPATH, NULL);
	}
	if (t->o.unix_socket)
		SET(CURLOPT_UNIX_SOCKET_PATH, t->o.unix_socket);
	/* Over http:// a proxy would read what a tunnel was to protect. */
	if (r->loopback || t->o.unix_socket || strcmp(r->scheme, "http") == 0)
		SET(CURLOPT_NOPROXY, "*");
	if (strcmp(r->method, "HEAD") == 0) {
		SET(CURLOPT_NOBODY, 1L);
	} else {
		if (r->body || strcmp(r->method, "POST") == 0 || strcmp(r->method, "PUT") == 0) {
			SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
			SET(CURLOPT_POSTFIELDS, r->body ? r->body : "");
		}
		SET(CURLOPT_CUSTOMREQUEST, r->method);
	}
	SET(CURLOPT_HEADERFUNCTION, on_head);
	SET(CURLOPT_HEADERDATA, v);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, v);
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, v);
	SET(CURLOPT_NOPROGRESS, 0L);
	return ok;
}

static int failed(const struct transport *t, const struct transport_request *r, CURLcode code, const struct receiving *v,
		  struct failure *f)
{
	const char *why = *t->error ? t->error : lib.strerror(code);
	bool plain = strcmp(r->scheme, "http") == 0;

	if (v->interrupted)
		return failure_set(f, interrupt_exit(), ERROR_INTERRUPTED, NULL, "interrupted");
	if (v->no_memory || code == CURLE_OUT_OF_MEMORY)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	if (v->not_written)
		return failure_set(f, EXIT_FAILED, ERROR_FILE, NULL, "cannot write the answer");
	if (v->too_long)
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL, "%s answers with more than %zu bytes",
				   r->authority, r->answer_max);
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return failure_set(f, EXIT_FAILED, ERROR_UNREACHABLE, "Is the name right, and the network up?",
				   "cannot find %s: %s", r->authority, why);
	case CURLE_COULDNT_CONNECT:
		return failure_set(f, EXIT_NOT_RUNNING, ERROR_UNREACHABLE, "Does it run there, at this port?",
				   "cannot connect to %s: %s", t->o.unix_socket ? t->o.unix_socket : r->authority, why);
	case CURLE_OPERATION_TIMEDOUT:
		return failure_set(f, EXIT_TIMED_OUT, ERROR_TIMED_OUT, NULL, "%s does not answer: %s", r->authority, why);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return failure_set(f, EXIT_VERIFICATION, ERROR_CERTIFICATE,
				   "With a certificate authority of your own: --ca FILE.",
				   "the certificate of %s is not to be trusted: %s", r->authority, why);
	case CURLE_SSL_CONNECT_ERROR:
		return failure_set(f, EXIT_FAILED, ERROR_UNREACHABLE, "Is it http:// there?", "no TLS with %s: %s",
				   r->authority, why);
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, plain ? "Is it https:// there?" : NULL,
				   "no answer of HTTP from %s: %s", r->authority, why);
	default:
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL, "no whole answer of %s: %s", r->authority,
				   why);
	}
}

int transport_do(struct transport *t, const struct transport_request *r, struct transport_answer *out, struct failure *f)
{
	struct receiving v = { .request = r, .to_the_end = t->o.to_the_end };
	struct curl_slist *fields = NULL;
	char url[POP_AUTHORITY_SPACE + 16];
	CURLcode code;
	int result = EXIT_DONE;

	snprintf(url, sizeof(url), "%s://%s/", r->scheme, r->authority);
	*t->error = '\0';
	if (add_fields(&fields, r) || !prepare(t, r, url, fields, &v)) {
		result = failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "libcurl does not take the request: %s",
				     *t->error ? t->error : "no memory");
	} else {
		code = lib.perform(t->curl);
		if (code == CURLE_OK && shows(&v) && !begin_to_show(&v)) {
			v.not_written = true;
			code = CURLE_WRITE_ERROR;
		}
		if (code != CURLE_OK)
			result = failed(t, r, code, &v, f);
	}
	lib.slist_free(fields);
	if (result) {
		transport_answer_done(&v.a);
		return result;
	}
	*out = v.a;
	return EXIT_DONE;
}
