/*
 * handfast auth request: one HTTP request, signed with a login. The answer's body goes to standard output
 * as it comes. No redirect is followed: the proof is for this request alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/kdf.h"

#include "ctl/auth/auth.h"
#include "ctl/auth/logins.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"

enum { BODY_MAX = 256 << 20, SHOWN_MAX = 16 << 20, OWN_FIELDS_MAX = 50, STALL_S = 30 };

struct asked {
	struct auth_target target;
	struct auth_session *session;
	char authority[POP_AUTHORITY_SPACE];
	char *url_target; /* path and query, raw */
	const char *method;
	char *body;
	size_t len;
	uint8_t digest[POP_DIGEST_LEN];
	const char *output; /* where the answer's body goes; NULL: standard output, or into JSON */
	FILE *to;
	size_t n_fields;
	char *names[OWN_FIELDS_MAX];
	const char *values[OWN_FIELDS_MAX];
};

static void asked_done(struct asked *a)
{
	auth_target_done(&a->target);
	auth_session_free(a->session);
	free(a->url_target);
	free(a->body);
	if (a->to && a->output)
		fclose(a->to);
	for (size_t i = 0; i < a->n_fields; i++)
		free(a->names[i]);
}

/* ---- what the person said ---- */

/* Split into what says which server, for auth_target_open(), and what is asked of it. */
static int split_url(struct asked *a, char **server, const char *url, struct failure *f)
{
	const char *start = strstr(url, "://"), *rest;
	size_t len;

	start = start ? start + 3 : url;
	rest = start + strcspn(start, "/?#");
	*server = strndup(url, (size_t)(rest - url));
	len = strcspn(rest, "#");
	if (asprintf(&a->url_target, "%s%.*s", *rest == '/' ? "" : "/", (int)len, rest) < 0)
		a->url_target = NULL;
	if (!*server || !a->url_target)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	if (strlen(a->url_target) > POP_TARGET_MAX)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "the URL is too long to be signed");
	for (const char *p = a->url_target; *p; p++)
		if (*p <= ' ' || *p >= 127)
			return failure_set(f, EXIT_USAGE, ERROR_USAGE,
					   "Spaces and letters beyond ASCII are written as %20, %C3%A4 …",
					   "the URL has a character that cannot stand in one");
	return EXIT_DONE;
}

static int read_body(struct asked *a, const char *data, struct failure *f)
{
	int r;

	if (!data)
		return EXIT_DONE;
	if (*data != '@') {
		a->body = strdup(data);
		a->len = strlen(data);
		r = a->body ? 0 : -ENOMEM;
	} else if (strcmp(data, "@-") == 0) {
		r = file_read_fd(&a->body, &a->len, STDIN_FILENO, BODY_MAX);
	} else {
		_cleanup_close_ int fd = open(data + 1, O_RDONLY | O_CLOEXEC | O_NOCTTY);

		r = fd < 0 ? -errno : file_read_fd(&a->body, &a->len, fd, BODY_MAX);
	}
	if (r == -ENOENT)
		return failure_set(f, EXIT_NO_SUCH, ERROR_NO_SUCH_FILE, NULL, "there is no file %s", data + 1);
	if (r)
		return failure_set(f, r == -EACCES ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE, NULL, "cannot read %s: %s",
				   *data == '@' ? data + 1 : "the data", strerror(-r));
	return EXIT_DONE;
}

/* Ours may not be said twice: which of two a server believes is its own affair. */
static bool is_ours(const char *name)
{
	static const char *const ours[] = { "Authorization", "X-TS", "X-SNONCE", "X-NONCE", "X-POP", "Content-Digest",
					    "Host", "Content-Length", "Transfer-Encoding" };

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (strcasecmp(ours[i], name) == 0)
			return true;
	return false;
}

static int read_headers(struct asked *a, const struct ctl *c, struct failure *f)
{
	const char *line;
	size_t at = 0;

	while ((line = parsed_option_next(&c->parsed, "header", &at))) {
		char *name;

		if (!transport_field_is_right(line))
			return failure_set(f, EXIT_USAGE, ERROR_USAGE, "For example -H 'Accept: text/plain'.",
					   "“%s” is no header line", line);
		if (a->n_fields == OWN_FIELDS_MAX)
			return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "more than %d header lines", OWN_FIELDS_MAX);
		name = strndup(line, strcspn(line, ":"));
		if (!name)
			return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
		a->names[a->n_fields] = name;
		line += strlen(name) + 1;
		a->values[a->n_fields++] = line + strspn(line, " \t");
		if (is_ours(name))
			return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "%s is for this command to say", name);
	}
	return EXIT_DONE;
}

static int find_session(struct asked *a, const struct ctl *c, struct failure *f)
{
	const char *login = ctl_option(c, "login"), *user = ctl_option(c, "user");
	struct auth_url url = a->target.url;
	char canonical[72];
	int r;

	if (login && auth_url_parse(&url, login))
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "%s is no address of an authd", login);
	r = user ? auth_user(canonical, user, f) : EXIT_DONE;
	if (!r)
		r = logins_find(&a->session, &url, user ? canonical : NULL, f);
	/* A session's name goes nowhere but where its owner said. */
	if (r && !login && strcmp(f->code, ERROR_NOT_LOGGED_IN) == 0)
		snprintf(f->hint + strlen(f->hint), sizeof(f->hint) - strlen(f->hint),
			 " If the login is another server's: --login URL.");
	return r;
}

/* What takes long may: it ends when nothing comes any more, or when the person said. */
static int read_limits(struct asked *a, const struct ctl *c, struct failure *f)
{
	const char *timeout = ctl_option(c, "timeout");
	uint64_t ms = 0;

	if (timeout && (text_parse_duration_ms(&ms, timeout) || ms == 0 || ms > INT32_MAX))
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, "For example 10s or 5min.", "“%s” is no time to wait", timeout);
	transport_set_limits(a->target.transport, (unsigned int)ms, STALL_S, false);
	return EXIT_DONE;
}

/* As ">" of a shell does it: emptied before, and there when nothing came. */
static int open_output(struct asked *a, const struct ctl *c, struct failure *f)
{
	a->output = ctl_option(c, "output");
	if (!a->output) {
		a->to = c->json ? NULL : stdout;
		return EXIT_DONE;
	}
	a->to = fopen(a->output, "we");
	if (!a->to)
		return failure_set(f, errno == EACCES ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE, NULL, "cannot write %s: %s",
				   clean_text(a->output), strerror(errno));
	return EXIT_DONE;
}

/* What a full disk says may come at the end alone. */
static int close_output(struct asked *a, struct failure *f)
{
	FILE *to = a->to;

	if (!a->output || !to)
		return EXIT_DONE;
	a->to = NULL;
	if (fclose(to) == 0)
		return EXIT_DONE;
	return failure_set(f, EXIT_FAILED, ERROR_FILE, NULL, "cannot write %s: %s", clean_text(a->output), strerror(errno));
}

static int read_asked(struct asked *a, struct ctl *c, struct failure *f)
{
	_cleanup_free_ char *server = NULL;
	const char *data = ctl_option(c, "data"), *method = ctl_option(c, "method");
	int r = split_url(a, &server, ctl_argument(c, 0), f);

	a->method = method ? method : data ? "POST" : "GET";
	if (!r && data && strcmp(a->method, "HEAD") == 0)
		r = failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "a HEAD request has no body: leave --data out");
	if (!r)
		r = auth_target_open(&a->target, c, server, f);
	if (!r)
		r = read_limits(a, c, f);
	if (!r)
		r = read_headers(a, c, f);
	if (!r)
		r = find_session(a, c, f);
	if (!r)
		r = read_body(a, data, f);
	if (!r)
		sha256(a->digest, a->body, a->len);
	return r ? r : open_output(a, c, f);
}

/* ---- asking ---- */

static bool is_on_terminal(const struct asked *a)
{
	return a->to == stdout && isatty(STDOUT_FILENO);
}

static int ask_once(struct asked *a, struct ctl *c, bool may_retry, struct transport_answer *out, struct failure *f)
{
	const struct auth_url *url = &a->target.url;
	const struct pop_request signed_one = { url->scheme, url->authority, a->method, a->url_target };
	struct transport_request r = { .scheme = url->scheme,
				       .authority = url->authority,
				       .method = a->method,
				       .target = a->url_target,
				       .loopback = url->loopback,
				       .body = a->body,
				       .body_len = a->len,
				       .to = a->to,
				       .keep_401 = may_retry,
				       .with_head = ctl_flag(c, "include"),
				       .clean = is_on_terminal(a),
				       .answer_max = SHOWN_MAX };
	struct auth_fields fields;

	if (auth_sign_digest(&fields, a->session, &signed_one, a->digest, clock_wall_s()))
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "a request “%s %s” cannot be signed", a->method,
				   a->url_target);
	for (size_t i = 0; i < fields.n; i++, r.n_fields++) {
		r.fields[r.n_fields].name = fields.v[i].name;
		r.fields[r.n_fields].value = fields.v[i].value;
	}
	for (size_t i = 0; i < a->n_fields; i++, r.n_fields++) {
		r.fields[r.n_fields].name = a->names[i];
		r.fields[r.n_fields].value = a->values[i];
	}
	return transport_do(a->target.transport, &r, out, f);
}

static json_t *answer_json(const struct asked *asked, const struct ctl *c, const struct transport_answer *a)
{
	json_t *o = json_pack("{s:i, s:s}", "status", (int)a->status, "content_type", a->content_type);
	char *coded;

	if (asked->output)
		return o;
	if (ctl_flag(c, "include") && a->head && text_is_utf8(a->head, strlen(a->head)))
		json_object_set_new(o, "head", json_string(a->head));
	if (text_is_utf8(a->body ? a->body : "", a->len)) {
		json_object_set_new(o, "body", json_stringn(a->body ? a->body : "", a->len));
		return o;
	}
	coded = malloc(BASE64_SPACE(a->len));
	if (coded) {
		base64_encode(coded, a->body, a->len, BASE64_STANDARD);
		json_object_set_new(o, "body_base64", json_string(coded));
	}
	free(coded);
	return o;
}

static int ask(struct asked *a, struct ctl *c, struct failure *f)
{
	_cleanup_(transport_answer_done) struct transport_answer answer = { 0 };
	unsigned char last = 0;
	int r = ask_once(a, c, true, &answer, f);

	if (!r && auth_session_retry(a->session, answer.status, *answer.snonce ? answer.snonce : NULL)) {
		transport_answer_done(&answer);
		r = ask_once(a, c, false, &answer, f);
	} else if (!r && answer.status == 401 && *answer.snonce && answer.body && a->to) {
		/* Held back for a second try that has no sense. */
		if (is_on_terminal(a))
			transport_write_clean(a->to, answer.body, answer.len, &last);
		else
			fwrite(answer.body, 1, answer.len, a->to);
	}
	if (!r)
		r = close_output(a, f);
	if (r)
		return r;
	if (answer.status < 400)
		return ctl_result(c, c->json ? answer_json(a, c, &answer) : NULL, NULL);
	failure_set(f, answer.status == 401 || answer.status == 403 ? EXIT_PERMISSION : EXIT_FAILED, ERROR_LOGIN_REFUSED,
		    answer.status == 401 ? "Is the login over? “handfast auth status” with the server's URL tells." : NULL,
		    "%s answers with status %u", a->target.url.authority, answer.status);
	r = ctl_result_failed(c, c->json ? answer_json(a, c, &answer) : NULL, NULL, f);
	f->exit = EXIT_DONE; /* told */
	return r;
}

int cmd_auth_request(struct ctl *c)
{
	_cleanup_(asked_done) struct asked a = { 0 };
	struct failure f = { 0 };
	int r = read_asked(&a, c, &f);

	if (!r)
		r = ask(&a, c, &f);
	return f.exit ? ctl_fail_with(c, &f) : r;
}
