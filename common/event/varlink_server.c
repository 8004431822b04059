/*
 * The Varlink server. One call of a connection runs at a time, so answers come
 * in order; what a caller sends meanwhile waits in its buffer, and when enough
 * waits there the socket is not read any more (LOOP_HANGUP still tells when
 * the caller goes). No connection is freed inside a method or a notification:
 * what must end is marked, and ends in the connection's own turn of the loop.
 *
 * A connection outlives its socket while a call of it is unanswered.
 */
#include "event/varlink.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <jansson.h>

#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "event/varlink_idl.h"

enum {
	MESSAGE_MAX = 1 << 20,
	DEPTH_MAX = 20,
	KEYS_MAX = 1000,
	CONNS_MAX = 64,
	CONNS_KEPT_FOR_ROOT = 8,
	CONNS_PER_UID = 16,
	CONNS_PER_PROCESS = 48, /* of root: others then still come in */
	WAITING_MAX = 16,
	UNSENT_MAX = 8 << 20,
	UNSENT_PAUSE = 256 << 10, /* no further call is begun while so much is unsent */
	WHOLE_MESSAGE_MS = 10000,
	SEND_STALL_MS = 30000,
	CALLS_A_TURN = 16,
	READ_CHUNK = 64 << 10,
};

static const char service_description[] =
	"# What every Varlink service answers about itself.\n"
	"interface org.varlink.service\n"
	"\n"
	"method GetInfo() -> (\n"
	"  vendor: string, product: string, version: string, url: string, interfaces: []string\n"
	")\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n"
	"error PermissionDenied ()\n"
	"error ExpectedMore ()\n";

struct served {
	struct list node;
	const struct varlink_interface *interface;
	struct varlink_idl *idl;
	void *arg;
};

struct varlink_server {
	struct loop *loop;
	struct varlink_info info;
	struct unix_group readers, admins;
	struct unix_server *listener;
	struct list interfaces;
	struct list conns;
	size_t n_conns;
};

struct varlink_call {
	struct conn *conn;
	const struct varlink_method *method;
	const struct served *served;
	bool more, oneway;
	void (*on_gone)(void *arg);
	void *on_gone_arg;
};

struct buffer {
	char *p;
	size_t start, len, cap; /* in use: len bytes from start */
};

struct conn {
	struct list node;
	struct varlink_server *server; /* NULL: closed, waits for its call's answer */
	int fd;
	struct loop_io *io;
	struct loop_timer *turn, *whole, *stall;
	struct unix_caller caller;
	bool may_read, may_change;
	struct buffer in, out;
	size_t scanned;	  /* bytes of in that were searched for NULs */
	size_t n_waiting; /* whole messages in in */
	struct varlink_call *call;
	bool ended;   /* the caller sends no more */
	bool refused; /* no further call is taken; close when all is sent */
	bool doomed;  /* close at the next turn */
	bool quiet;   /* nothing is put: the call is one way */
};

/* ---- buffers ------------------------------------------------------------------------------- */

static int buffer_reserve(struct buffer *b, size_t more)
{
	size_t cap = b->cap ? b->cap : 4096;
	char *p;

	if (b->start && b->start + b->len + more > b->cap) {
		memmove(b->p, b->p + b->start, b->len);
		b->start = 0;
	}
	while (cap < b->start + b->len + more)
		cap *= 2;
	if (cap == b->cap)
		return 0;
	p = realloc(b->p, cap);
	if (!p)
		return -ENOMEM;
	b->p = p;
	b->cap = cap;
	return 0;
}

static int buffer_append(struct buffer *b, const void *data, size_t len)
{
	int r = buffer_reserve(b, len);

	if (r)
		return r;
	memcpy(b->p + b->start + b->len, data, len);
	b->len += len;
	return 0;
}

/* Drop the first len bytes, and the memory with the last one: idle connections hold none. */
static void buffer_drop(struct buffer *b, size_t len)
{
	b->start += len;
	b->len -= len;
	if (b->len == 0) {
		free(b->p);
		memset(b, 0, sizeof(*b));
	}
}

/* ---- connections: life --------------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
	unix_caller_done(&c->caller);
	free(c->in.p);
	free(c->out.p);
	free(c);
}

/* End the socket; the struct stays while a call of it wants an answer. */
static void conn_close(struct conn *c)
{
	struct varlink_server *s = c->server;
	struct varlink_call *call = c->call;

	/* Once. */
	assert(s);
	c->server = NULL;
	list_remove(&c->node);
	s->n_conns--;
	c->io = loop_io_free(c->io);
	c->turn = loop_timer_free(c->turn);
	c->whole = loop_timer_free(c->whole);
	c->stall = loop_timer_free(c->stall);
	close(c->fd);
	c->fd = -1;
	buffer_drop(&c->in, c->in.len);
	buffer_drop(&c->out, c->out.len);
	unix_server_conn_closed(s->listener);
	if (call && call->on_gone) {
		c->call = NULL;
		call->on_gone(call->on_gone_arg);
		free(call);
	}
	if (!c->call)
		conn_free(c);
}

static void conn_doom(struct conn *c)
{
	c->doomed = true;
	loop_timer_start(c->turn, 0);
}

static void conn_send(struct conn *c)
{
	size_t before = c->out.len;

	while (c->out.len) {
		ssize_t n = send(c->fd, c->out.p + c->out.start, c->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			conn_doom(c);
			return;
		}
		buffer_drop(&c->out, (size_t)n);
	}
	if (!c->out.len)
		loop_timer_stop(c->stall);
	else if (c->out.len < before || !loop_timer_is_running(c->stall))
		loop_timer_start(c->stall, SEND_STALL_MS);
}

static bool conn_wants_input(const struct conn *c)
{
	return !c->ended && !c->refused && c->n_waiting < WAITING_MAX && c->in.len <= MESSAGE_MAX &&
	       c->out.len < UNSENT_PAUSE;
}

/* Watch for what can move this connection on. A message that stays half is timed only while it is read. */
static void conn_watch(struct conn *c)
{
	bool reading = conn_wants_input(c);
	unsigned int events = c->ended ? 0 : LOOP_HANGUP;

	if (reading)
		events = LOOP_READ;
	if (c->out.len)
		events |= LOOP_WRITE;
	if (loop_io_set(c->io, events))
		conn_doom(c);
	if (!reading || c->n_waiting || !c->in.len)
		loop_timer_stop(c->whole);
	else if (!loop_timer_is_running(c->whole))
		loop_timer_start(c->whole, WHOLE_MESSAGE_MS);
}

/* Queue one message and try to send it at once. */
static void conn_put(struct conn *c, const json_t *message)
{
	_cleanup_free_ char *text = NULL;

	if (c->doomed || c->quiet)
		return;
	text = json_text(message);
	if (!text || c->out.len + strlen(text) + 1 > UNSENT_MAX ||
	    buffer_append(&c->out, text, strlen(text) + 1)) {
		conn_doom(c);
		return;
	}
	conn_send(c);
}

/* ---- answers ------------------------------------------------------------------------------- */

static void put_reply(struct conn *c, json_t *params, bool continues)
{
	_cleanup_json_ json_t *m = json_object();

	json_object_set(m, "parameters", params);
	if (continues)
		json_object_set_new(m, "continues", json_true());
	conn_put(c, m);
}

/* params is stolen. */
static void put_error(struct conn *c, const char *error, json_t *params)
{
	_cleanup_json_ json_t *m = json_pack("{s:s, s:o}", "error", error, "parameters", params);

	conn_put(c, m);
}

static json_t *words(const char *message, const char *hint)
{
	char clean[2][1024];

	text_clean(clean[0], sizeof(clean[0]), message ? message : "", message ? strlen(message) : 0);
	text_clean(clean[1], sizeof(clean[1]), hint ? hint : "", hint ? strlen(hint) : 0);
	return json_pack("{s:s, s:s}", "message", clean[0], "hint", clean[1]);
}

/* An error of org.varlink.service, which has one parameter. */
static void put_service_error(struct conn *c, const char *error, const char *key, const char *value)
{
	char name[64], clean[512];

	snprintf(name, sizeof(name), "org.varlink.service.%s", error);
	text_clean(clean, sizeof(clean), value, strlen(value));
	put_error(c, name, json_pack("{s:s}", key, clean));
}

/* The call was answered: free it, and let the connection go on in a turn of its own. */
static void call_end(struct varlink_call *call)
{
	struct conn *c = call->conn;

	assert(c->call == call);
	c->call = NULL;
	free(call);
	if (c->server)
		loop_timer_start(c->turn, 0);
	else
		conn_free(c);
}

/* Whether the caller is there and wants to hear. */
static bool call_is_heard(const struct varlink_call *call)
{
	return !call->oneway && call->conn->server;
}

/* What a method says must be what its description promises: a caller relies on it. */
static bool reply_is_right(const struct varlink_call *call, const json_t *params)
{
	char where[256], text[512];

	if (!varlink_idl_check_reply(call->served->idl, call->method->name, params, where,
				     sizeof(where)))
		return true;
	snprintf(text, sizeof(text), "the answer of %s.%s differs from its description at \"%s\"",
		 call->served->interface->name, call->method->name, where);
	log_debug("%s", text);
	put_error(call->conn, "io.handfast.Daemon.Internal", words(text, "Please report this."));
	return false;
}

bool varlink_call_wants_more(const struct varlink_call *c)
{
	return c->more;
}

const struct unix_caller *varlink_call_caller(const struct varlink_call *c)
{
	return &c->conn->caller;
}

void varlink_call_on_gone(struct varlink_call *c, void (*fn)(void *arg), void *arg)
{
	c->on_gone = fn;
	c->on_gone_arg = arg;
}

void varlink_notify(struct varlink_call *c, struct json_t *params_)
{
	_cleanup_json_ json_t *params = params_ ? params_ : json_object();
	char where[256];

	if (!c->more || !call_is_heard(c))
		return;
	if (varlink_idl_check_reply(c->served->idl, c->method->name, params, where, sizeof(where))) {
		log_debug("a notification of %s differs from its description at \"%s\"",
			  c->method->name, where);
		return;
	}
	put_reply(c->conn, params, true);
	conn_watch(c->conn);
}

void varlink_reply(struct varlink_call *c, struct json_t *params_)
{
	_cleanup_json_ json_t *params = params_ ? params_ : json_object();

	if (call_is_heard(c) && reply_is_right(c, params))
		put_reply(c->conn, params, false);
	call_end(c);
}

void varlink_error(struct varlink_call *c, const char *error, const char *message, const char *hint)
{
	if (call_is_heard(c))
		put_error(c->conn, error, words(message, hint));
	call_end(c);
}

void varlink_invalid_parameter(struct varlink_call *c, const char *parameter)
{
	if (call_is_heard(c))
		put_service_error(c->conn, "InvalidParameter", "parameter", parameter);
	call_end(c);
}

/* ---- org.varlink.service ------------------------------------------------------------------- */

static void on_get_info(struct varlink_call *call, const json_t *params, void *arg)
{
	struct varlink_server *s = arg;
	json_t *names = json_array();

	(void)params;
	list_for_each(it, &s->interfaces)
		json_array_append_new(
			names, json_string(container_of(it, struct served, node)->interface->name));
	varlink_reply(call, json_pack("{s:s, s:s, s:s, s:s, s:o}", "vendor", s->info.vendor,
				      "product", s->info.product, "version", s->info.version, "url",
				      s->info.url, "interfaces", names));
}

static struct served *interface_find(struct varlink_server *s, const char *name, size_t len)
{
	list_for_each(it, &s->interfaces) {
		struct served *i = container_of(it, struct served, node);

		if (strlen(i->interface->name) == len && memcmp(i->interface->name, name, len) == 0)
			return i;
	}
	return NULL;
}

static void on_get_description(struct varlink_call *call, const json_t *params, void *arg)
{
	const char *name = json_get_str(params, "interface");
	struct served *i = interface_find(arg, name, strlen(name));

	if (i) {
		varlink_reply(call, json_pack("{s:s}", "description", i->interface->description));
		return;
	}
	if (call_is_heard(call))
		put_service_error(call->conn, "InterfaceNotFound", "interface", name);
	call_end(call);
}

static const struct varlink_method service_methods[] = {
	{ "GetInfo", VARLINK_ANYONE, on_get_info },
	{ "GetInterfaceDescription", VARLINK_ANYONE, on_get_description },
	{ 0 },
};

static const struct varlink_interface service_interface = {
	.name = "org.varlink.service",
	.description = service_description,
	.methods = service_methods,
};

/* ---- calls --------------------------------------------------------------------------------- */

static void refuse(struct conn *c, const char *message, const char *hint)
{
	put_error(c, "io.handfast.Daemon.BadRequest", words(message, hint));
	/* Where one message is garbage, what follows it cannot be trusted to be calls. */
	c->refused = true;
}

static bool access_is_given(const struct conn *c, enum varlink_access access)
{
	return access == VARLINK_ANYONE || c->may_change || (access == VARLINK_READ && c->may_read);
}

static void put_denial(struct conn *c, const struct varlink_method *m, enum varlink_access access)
{
	const struct varlink_info *info = &c->server->info;
	const char *group = access == VARLINK_READ ? info->read_group : info->admin_group;
	char message[256], hint[512];

	snprintf(message, sizeof(message), "%s is for root and members of group %s", m->name, group);
	snprintf(hint, sizeof(hint), "Join the group (sudo usermod -aG %s \"$USER\") and log in again, or use sudo.",
		 group);
	put_error(c, "io.handfast.Daemon.PermissionDenied", words(message, hint));
	if (info->on_denied)
		info->on_denied(&c->caller, m->name, info->on_denied_arg);
}

bool varlink_call_has_access(const struct varlink_call *c, enum varlink_access access)
{
	return access_is_given(c->conn, access);
}

void varlink_deny(struct varlink_call *c, enum varlink_access access)
{
	if (call_is_heard(c))
		put_denial(c->conn, c->method, access);
	call_end(c);
}

static const struct varlink_method *method_find(const struct served *i, const char *name)
{
	for (const struct varlink_method *m = i->interface->methods; m->name; m++)
		if (strcmp(m->name, name) == 0)
			return m;
	return NULL;
}

/* One call as it came, on its way to its method. */
struct request {
	const char *full; /* "io.handfast.Relay.Drop" */
	const json_t *params;
	bool more, oneway, upgrade;
	struct served *served;
	const struct varlink_method *method;
};

/* Find what is called, whether it may be, and whether it is said right; or put the answer that says no. */
static bool request_resolve(struct conn *c, struct request *q)
{
	const char *dot = strrchr(q->full, '.');
	size_t len = dot ? (size_t)(dot - q->full) : strlen(q->full);
	char where[256];
	int r;

	q->served = dot ? interface_find(c->server, q->full, len) : NULL;
	if (!q->served) {
		text_clean(where, sizeof(where), q->full, len);
		put_service_error(c, "InterfaceNotFound", "interface", where);
		return false;
	}
	q->method = method_find(q->served, dot + 1);
	r = varlink_idl_check_call(q->served->idl, dot + 1, q->params, where, sizeof(where));
	if (r == IDL_E_NO_SUCH)
		put_service_error(c, "MethodNotFound", "method", q->full);
	else if (!q->method)
		put_service_error(c, "MethodNotImplemented", "method", q->full);
	else if (!access_is_given(c, q->method->access))
		put_denial(c, q->method, q->method->access);
	else if (r)
		put_service_error(c, "InvalidParameter", "parameter", where);
	else
		return true;
	return false;
}

/* An absent flag is false. */
static bool flag_read(const json_t *message, const char *name, bool *out)
{
	const json_t *v = json_object_get(message, name);

	*out = json_is_true(v);
	return !v || json_is_boolean(v);
}

static bool request_read(struct request *q, const json_t *message)
{
	q->full = json_get_str(message, "method");
	q->params = json_object_get(message, "parameters");
	if (json_is_null(q->params))
		q->params = NULL;
	return q->full && (!q->params || json_is_object(q->params)) &&
	       flag_read(message, "more", &q->more) && flag_read(message, "oneway", &q->oneway) &&
	       flag_read(message, "upgrade", &q->upgrade) && !(q->more && q->oneway);
}

static void call_begin(struct conn *c, const struct request *q)
{
	_cleanup_json_ json_t *none = q->params ? NULL : json_object();
	struct varlink_call *call = calloc(1, sizeof(*call));

	if (!call || (!q->params && !none)) {
		free(call);
		conn_doom(c);
		return;
	}
	call->conn = c;
	call->method = q->method;
	call->served = q->served;
	call->more = q->more;
	call->oneway = q->oneway;
	c->call = call;
	q->method->fn(call, q->params ? q->params : none, q->served->arg);
}

static void message_take(struct conn *c, const json_t *message)
{
	struct request q = { 0 };
	bool resolved;

	if (!request_read(&q, message)) {
		refuse(c, "this is no Varlink call", "A call has a method, parameters and flags.");
		return;
	}
	if (q.upgrade) {
		refuse(c, "no method here upgrades its connection", "Call without \"upgrade\".");
		return;
	}
	/* Who called one way hears nothing, not even what was wrong. */
	c->quiet = q.oneway;
	resolved = request_resolve(c, &q);
	c->quiet = false;
	if (resolved)
		call_begin(c, &q);
}

static void text_take(struct conn *c, const char *text, size_t len)
{
	static const struct json_limits limits = { .max_bytes = MESSAGE_MAX,
						   .max_depth = DEPTH_MAX,
						   .max_keys = KEYS_MAX };
	_cleanup_json_ json_t *message = NULL;
	char why[128];
	int r;

	r = json_parse(&message, text, len, &limits);
	if (r < 0) {
		conn_doom(c);
	} else if (r > 0) {
		snprintf(why, sizeof(why), "the message is refused: %s", json_outcome_text(r));
		refuse(c, why, "Send one JSON object, ended by a NUL.");
	} else {
		message_take(c, message);
	}
}

/* ---- connections: work --------------------------------------------------------------------- */

static void count_waiting(struct conn *c)
{
	while (c->scanned < c->in.len) {
		const char *from = c->in.p + c->in.start + c->scanned;
		const char *nul = memchr(from, '\0', c->in.len - c->scanned);

		if (!nul) {
			c->scanned = c->in.len;
			return;
		}
		c->n_waiting++;
		c->scanned += (size_t)(nul - from) + 1;
	}
}

/* Read once; more is read when the loop comes round again, after others had their turn. */
static void conn_read(struct conn *c)
{
	ssize_t n;

	if (buffer_reserve(&c->in, READ_CHUNK)) {
		conn_doom(c);
		return;
	}
	n = read(c->fd, c->in.p + c->in.start + c->in.len, READ_CHUNK);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_doom(c);
	} else if (n == 0) {
		c->ended = true;
	} else if (n > 0) {
		c->in.len += (size_t)n;
		count_waiting(c);
	}
	if (!c->in.len)
		buffer_drop(&c->in, 0);
}

static bool conn_may_begin(const struct conn *c)
{
	return c->n_waiting && !c->call && !c->refused && !c->doomed && c->out.len < UNSENT_PAUSE;
}

/* Begin what waits, as far as the limits of one turn let us. */
static void conn_work(struct conn *c)
{
	for (int n = 0; n < CALLS_A_TURN && conn_may_begin(c); n++) {
		const char *text = c->in.p + c->in.start;
		size_t len = strlen(text);

		text_take(c, text, len);
		c->n_waiting--;
		c->scanned -= len + 1;
		buffer_drop(&c->in, len + 1);
	}
	if (!c->refused && !c->n_waiting && c->in.len > MESSAGE_MAX)
		refuse(c, "the message is longer than 1 MiB", "Send less at once.");
	if (c->refused) {
		buffer_drop(&c->in, c->in.len);
		c->n_waiting = c->scanned = 0;
	}
}

/* The caller is gone for good, or everything that it will get is sent. */
static bool conn_is_over(const struct conn *c)
{
	if (c->doomed)
		return true;
	if (c->refused)
		return !c->out.len;
	/* Whole calls that came before the end are still answered, as long as each answers at once. */
	return c->ended && (c->call || (!c->n_waiting && !c->out.len));
}

static void conn_go_on(struct conn *c)
{
	conn_work(c);
	if (conn_is_over(c)) {
		conn_close(c);
		return;
	}
	conn_watch(c);
	if (conn_may_begin(c))
		loop_timer_start(c->turn, 0);
}

static void on_conn_io(int fd, unsigned int events, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	if (events & LOOP_WRITE)
		conn_send(c);
	if (events & LOOP_READ)
		conn_read(c);
	if (events & LOOP_HANGUP)
		c->doomed = true;
	conn_go_on(c);
}

static void on_conn_turn(void *arg)
{
	conn_go_on(arg);
}

static void on_conn_timeout(void *arg)
{
	conn_close(arg);
}

/* ---- the server ---------------------------------------------------------------------------- */

/* Of the caller's user, and of its process alone. */
static void count_conns(const struct varlink_server *s, const struct unix_caller *caller, size_t *of_uid, size_t *of_process)
{
	*of_uid = *of_process = 0;
	list_for_each(it, &s->conns) {
		const struct unix_caller *other = &container_of(it, struct conn, node)->caller;

		*of_uid += other->uid == caller->uid;
		*of_process += other->uid == caller->uid && other->pid == caller->pid;
	}
}

static bool caller_is_admitted(const struct varlink_server *s, const struct unix_caller *caller)
{
	size_t of_uid, of_process;

	count_conns(s, caller, &of_uid, &of_process);
	if (caller->uid == 0)
		return of_process < CONNS_PER_PROCESS;
	return s->n_conns < CONNS_MAX - CONNS_KEPT_FOR_ROOT && of_uid < CONNS_PER_UID;
}

static int caller_copy(struct unix_caller *to, const struct unix_caller *from)
{
	*to = *from;
	to->groups = malloc(from->n_groups * sizeof(gid_t) + 1);
	if (!to->groups)
		return -ENOMEM;
	if (from->n_groups)
		memcpy(to->groups, from->groups, from->n_groups * sizeof(gid_t));
	return 0;
}

static void access_find(struct conn *c)
{
	c->may_change = c->caller.uid == 0 || c->caller.uid == geteuid() ||
			unix_caller_has_group(&c->caller, &c->server->admins);
	c->may_read = c->may_change || unix_caller_has_group(&c->caller, &c->server->readers);
}

static int conn_init(struct conn *c, const struct unix_caller *caller)
{
	struct loop *l = c->server->loop;
	int r;

	r = caller_copy(&c->caller, caller);
	if (!r)
		r = loop_timer_new(&c->turn, l, on_conn_turn, c);
	if (!r)
		r = loop_timer_new(&c->whole, l, on_conn_timeout, c);
	if (!r)
		r = loop_timer_new(&c->stall, l, on_conn_timeout, c);
	if (!r)
		r = loop_io_new(&c->io, l, c->fd, LOOP_READ, on_conn_io, c);
	if (!r)
		access_find(c);
	return r;
}

static void on_accept(int fd, const struct unix_caller *caller, void *arg)
{
	struct varlink_server *s = arg;
	struct conn *c = NULL;

	if (caller_is_admitted(s, caller))
		c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		unix_server_conn_closed(s->listener);
		return;
	}
	c->server = s;
	c->fd = fd;
	list_append(&s->conns, &c->node);
	s->n_conns++;
	if (conn_init(c, caller))
		conn_close(c);
}

void varlink_server_find_groups(struct varlink_server *s)
{
	s->readers = unix_group_find(s->info.read_group);
	s->admins = unix_group_find(s->info.admin_group);
}

int varlink_server_new(struct varlink_server **out, struct loop *l, const struct varlink_info *info)
{
	_cleanup_(varlink_server_freep) struct varlink_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->loop = l;
	s->info = *info;
	varlink_server_find_groups(s);
	list_init(&s->interfaces);
	list_init(&s->conns);
	r = varlink_server_add(s, &service_interface, s);
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

int varlink_server_add(struct varlink_server *s, const struct varlink_interface *i, void *arg)
{
	_cleanup_(varlink_idl_freep) struct varlink_idl *idl = NULL;
	struct varlink_idl_error err;
	struct served *served;
	int r;

	if (interface_find(s, i->name, strlen(i->name)))
		return -EEXIST;
	r = varlink_idl_parse(&idl, i->description, strlen(i->description), &err);
	if (r == -EINVAL)
		log_debug("%s: %u:%u: %s", i->name, err.line, err.column, err.text);
	if (r)
		return r;
	if (strcmp(varlink_idl_name(idl), i->name) != 0)
		return -EINVAL;
	served = calloc(1, sizeof(*served));
	if (!served)
		return -ENOMEM;
	served->interface = i;
	served->idl = steal(&idl);
	served->arg = arg;
	list_append(&s->interfaces, &served->node);
	return 0;
}

int varlink_server_listen(struct varlink_server *s, int listen_fd)
{
	assert(!s->listener);
	return unix_server_new(&s->listener, s->loop, listen_fd, CONNS_MAX, on_accept, s);
}

struct varlink_server *varlink_server_free(struct varlink_server *s)
{
	if (!s)
		return NULL;
	while (!list_is_empty(&s->conns))
		conn_close(container_of(s->conns.next, struct conn, node));
	unix_server_free(s->listener);
	while (!list_is_empty(&s->interfaces)) {
		struct served *i = container_of(s->interfaces.next, struct served, node);

		list_remove(&i->node);
		varlink_idl_free(i->idl);
		free(i);
	}
	free(s);
	return NULL;
}
