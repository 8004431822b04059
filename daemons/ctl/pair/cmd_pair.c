/*
 * handfast pair: the person's side of a pairing. pairingd does the protocol and
 * tells what happens; here it becomes words, the PIN is made or asked for, and
 * the number is picked. One poll() waits for the daemon, the person, the
 * file, the clock and Ctrl-C at once, so that none of them holds up another.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "proto/relay_frame.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/pair/pair_sas.h"
#include "ctl/pair/pair_secret.h"
#include "ctl/pair/peer_text.h"
#include "ctl/stream.h"
#include "ctl/terminal.h"

enum {
	TICK_MS = 1000,
	FILE_LOOK_MS = 200, /* how often a file that is written later is looked at */
	AFTER_PICK_MS = 10000, /* for pairingd to end a pairing whose pick it refused */
	FIRST_WORD_MS = 30000, /* for pairingd to say anything at all */
	ANSWER_MS = 15000, /* for what it thinks of a pick */
	PIN_SLIPS_MAX = 5,
};

enum asking { ASKING_NOTHING, ASKING_PIN, ASKING_NUMBER };

struct pair {
	struct ctl *c;
	bool joins;
	struct pair_secret secret;
	struct sas_file *sas_file;
	struct stream *stream;
	struct progress progress;

	enum asking asking;
	bool wants_file; /* the number is awaited from sas_file */
	struct terminal *terminal;
	char ticket[80], id[80];
	unsigned int slips;
	struct sas_choices choices;

	char waiting[256]; /* what for, in words */
	uint64_t deadline_ms; /* 0: none told */
	uint64_t give_up_ms; /* before its first word, and after a refused pick; 0: not */
	struct failure why; /* give_up_ms came */

	json_t *peer;
	bool over;
	struct failure failure; /* of the whole */
};

/* ---- words ---- */

static const char *step_words(const char *step, const char *waits_for)
{
	static const char *const words[][2] = {
		{ "relay", "connecting to the relay" },
		{ "session", "asking the relay for a session" },
		{ "lan", "opening the local relay on this network" },
		{ "peer-joins", "waiting for the other device" },
		{ "greeting", "the other device is there: saying hello" },
		{ "negotiation", "agreeing on how to pair" },
		{ "key-exchange", "checking the PIN or secret" },
		{ "handshake", "making keys" },
		{ "confirmation", "confirming the keys" },
		{ "compare", "waiting for your pick" },
		{ "peer-compares", "waiting for the pick on the other device" },
		{ "identities", "exchanging identities" },
		{ "peer-stores", "waiting for the other device to store the pairing" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(words[i][0], step) == 0)
			return words[i][1];
	if (*step)
		return step;
	return strcmp(waits_for, "you") == 0  ? "waiting for you" :
	       strcmp(waits_for, "peer") == 0 ? "waiting for the other device" :
						"waiting for the relay";
}

/* "482913" as "482 913": easier to read aloud and to compare. */
static void group_digits(char *out, size_t cap, const char *digits)
{
	size_t n = strlen(digits), first = n > 3 ? n - n / 2 : n;

	snprintf(out, cap, "%.*s%s%s", (int)first, digits, first < n ? " " : "", digits + first);
}

/* "29:07": a countdown that moves every second shows that nothing hangs. */
static void left_format(char *out, size_t cap, uint64_t ms)
{
	unsigned long long s = (ms + 999) / 1000;

	snprintf(out, cap, "%llu:%02llu", s / 60, s % 60);
}

/* " within 5 min", or "" when no deadline was told. */
static const char *within(char *out, size_t cap, uint64_t deadline_ms)
{
	uint64_t now = clock_now_ms();
	char span[32];

	*out = '\0';
	if (deadline_ms > now) {
		/* Half a minute more: text_format_duration() leaves the rest of a minute out. */
		text_format_duration(span, sizeof(span), deadline_ms - now + 30000);
		snprintf(out, cap, " within %s", span);
	}
	return out;
}

static uint64_t deadline_of(const json_t *event)
{
	int64_t s = json_get_int(event, "deadline_s", -1);

	return s > 0 ? clock_now_ms() + (uint64_t)s * 1000 : 0;
}

static void show_waiting(struct pair *p)
{
	uint64_t now = clock_now_ms();
	char left[32];

	if (p->c->json || p->asking != ASKING_NOTHING || !*p->waiting)
		return;
	if (p->deadline_ms <= now) {
		progress_show(&p->progress, "%s", p->waiting);
		return;
	}
	left_format(left, sizeof(left), p->deadline_ms - now);
	if (strcmp(p->progress.last, p->waiting) != 0)
		progress_show(&p->progress, "%s", p->waiting);
	progress_tick(&p->progress, "%s (%s left)", p->waiting, left);
}

/* ---- ending ---- */

static void fail_with(struct pair *p, const struct failure *f)
{
	p->failure = *f;
	p->over = true;
}

static void stop_asking(struct pair *p)
{
	if (p->terminal)
		p->terminal = terminal_close(p->terminal);
	p->asking = ASKING_NOTHING;
}

static void interrupted(struct pair *p)
{
	if (p->terminal)
		terminal_write(p->terminal, "\n");
	stop_asking(p);
	failure_set(&p->failure, interrupt_exit(), ERROR_INTERRUPTED,
		    "The other device is told. “handfast pair” begins anew.",
		    "the pairing is cancelled");
	p->over = true;
}

/* ---- the secret ---- */

/* What is printed may be a PIN: it waits here, and is wiped once it is out. */
static char output_buffer[4096];

static void output_wipe(void)
{
	if (fflush(stdout) == 0)
		explicit_bzero(output_buffer, sizeof(output_buffer));
}

/* What jansson copies, base/json.c wipes. */
static void leave_no_copies(void)
{
	setvbuf(stdout, output_buffer, _IOFBF, sizeof(output_buffer));
}

/* All of it but its class. */
static void forget_secret(struct pair *p)
{
	enum secret_class class = p->secret.class;

	pair_secret_wipe(&p->secret);
	p->secret.class = class;
}

static void hand_over(struct pair *p)
{
	struct failure f = { 0 };

	if (pair_secret_hand_over(&p->secret, p->c, p->ticket, &f) != EXIT_DONE)
		fail_with(p, &f);
	/* A PIN that was made here is still to be shown, beside the invitation. */
	if (p->over || p->joins || p->secret.class != SECRET_PIN)
		forget_secret(p);
}

static void ask_for_pin(struct pair *p, uint64_t deadline_ms)
{
	char limit[48];

	progress_clear(&p->progress);
	if (!p->terminal && terminal_open(&p->terminal, false) != 0) {
		struct failure f;

		failure_set(&f, EXIT_USAGE, ERROR_NO_TERMINAL, "Give --pin-file or --pin-fd.",
			    "there is no terminal to ask for the PIN on");
		fail_with(p, &f);
		return;
	}
	p->asking = ASKING_PIN;
	terminal_write(p->terminal, "Type the PIN that the other device shows%s; it stays hidden: ",
		       within(limit, sizeof(limit), deadline_ms));
}

static void on_pin_typed(struct pair *p, char *line)
{
	if (!pair_secret_take_pin(&p->secret, line)) {
		if (++p->slips == PIN_SLIPS_MAX) {
			interrupted(p);
			return;
		}
		/* No PIN has this form, so nothing was guessed. */
		terminal_write(p->terminal, "A PIN has 6 to 8 digits. Once more: ");
		return;
	}
	stop_asking(p);
	hand_over(p);
}

static void on_secret_needed(struct pair *p, const json_t *event)
{
	struct failure f = { 0 };

	snprintf(p->ticket, sizeof(p->ticket), "%s",
		 json_get_str(event, "ticket") ? json_get_str(event, "ticket") : "");
	if (p->secret.len > 0) {
		hand_over(p);
	} else if (p->joins) {
		ask_for_pin(p, deadline_of(event));
	} else if (pair_secret_make(&p->secret, json_get_int(event, "digits", 6), &f)) {
		fail_with(p, &f);
	} else {
		hand_over(p);
		if (p->over || !p->c->json)
			return;
		ctl_event(p->c, "pin", json_pack("{s:s}", "pin", (char *)p->secret.value));
		forget_secret(p);
		output_wipe();
	}
}

static void on_invitation(struct pair *p, const json_t *event)
{
	const struct style *s = &p->c->style;
	char pin[16];

	if (p->c->json)
		return;
	progress_clear(&p->progress);
	printf("\nOn the other device, type:\n\n    %shandfast pair %s%s\n\n",
	       paint_begin(s, PAINT_BOLD), clean_member(event, "invitation"),
	       paint_end(s, PAINT_BOLD));
	if (p->secret.class == SECRET_PIN) {
		group_digits(pin, sizeof(pin), (char *)p->secret.value);
		printf("and there, when it asks, this PIN:\n\n");
		if (s->tty)
			big_digits(stdout, s, pin, 4);
		printf("%s    %s%s%s\n\n", s->tty ? "\n" : "", paint_begin(s, PAINT_BOLD), pin,
		       paint_end(s, PAINT_BOLD));
		explicit_bzero(pin, sizeof(pin));
	} else {
		printf("with --secret-file and the same secret.\n\n");
	}
	forget_secret(p);
	output_wipe();
}

/* ---- the number ---- */

static void pick(struct pair *p, const char *digits)
{
	json_t *params = json_pack("{s:s, s:s?}", "pairing", p->id, "digits", digits), *reply = NULL;

	stop_asking(p);
	p->wants_file = false;
	p->waiting[0] = '\0';
	if (daemon_try(p->c, PAIRINGD, "Pairing.CompareSas", params, NULL, NULL, &reply, &p->why))
		/* The pairing itself ends with this, or with the reason before it. */
		p->give_up_ms = clock_now_ms() + AFTER_PICK_MS;
	json_decref(reply);
}

static void ask_for_number(struct pair *p)
{
	char digits[16], limit[48];

	if (terminal_open(&p->terminal, true) != 0) {
		struct failure f;

		failure_set(&f, EXIT_USAGE, ERROR_NO_TERMINAL, "Give --sas-file.",
			    "there is no terminal to show the numbers on");
		fail_with(p, &f);
		return;
	}
	p->asking = ASKING_NUMBER;
	terminal_write(p->terminal,
		       "\nThe other device shows three numbers, too. Exactly one is on both:\n\n");
	for (int i = 0; i < SAS_PICK_CHOICES; i++) {
		group_digits(digits, sizeof(digits), p->choices.digits[i]);
		terminal_write(p->terminal, "    %d)  %s\n", i + 1, digits);
	}
	terminal_write(p->terminal,
		       "    0)  none of these\n\nPick one%s; the first pick counts [1, 2, 3, 0]: ",
		       within(limit, sizeof(limit), p->deadline_ms));
}

static void on_sas(struct pair *p, const json_t *event)
{
	struct failure f;

	if (!sas_choices_read(&p->choices, json_object_get(event, "choices"))) {
		failure_set(&f, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL,
			    "pairingd gave no three numbers to choose from");
		fail_with(p, &f);
		return;
	}
	progress_clear(&p->progress);
	if (!p->sas_file) {
		ask_for_number(p);
		return;
	}
	p->wants_file = true;
	if (!p->c->json) {
		printf("numbers: %s %s %s\n", p->choices.digits[0], p->choices.digits[1],
		       p->choices.digits[2]);
		fflush(stdout);
	}
}

static void on_number_typed(struct pair *p, const char *line)
{
	const char *digits = NULL;

	switch (sas_answer_parse(line, &p->choices, &digits)) {
	case SAS_PICKED:
	case SAS_NONE_OF_THESE:
		pick(p, digits);
		break;
	default:
		terminal_write(p->terminal, "Type 1, 2 or 3, or 0 for none of these: ");
	}
}

static void on_file(struct pair *p)
{
	char line[64], digits[SAS_PICK_DIGITS + 1];
	struct failure f;
	int r;

	r = sas_file_read(p->sas_file, line, sizeof(line));
	if (r == -EAGAIN)
		return;
	switch (r ? SAS_NO_ANSWER : sas_file_parse(digits, line)) {
	case SAS_PICKED:
		pick(p, digits);
		break;
	case SAS_NONE_OF_THESE:
		pick(p, NULL);
		break;
	default:
		failure_set(&f, EXIT_USAGE, ERROR_BAD_SECRET,
			    "It should hold the six digits, or the word none.",
			    "--sas-file: %s", r && r != -ENODATA ? strerror(-r) : "no number in it");
		fail_with(p, &f);
	}
}

/* ---- what pairingd tells ---- */

static void on_step(struct pair *p, const json_t *event)
{
	snprintf(p->waiting, sizeof(p->waiting), "%s",
		 step_words(clean_member(event, "step"), clean_member(event, "waits_for")));
	p->deadline_ms = deadline_of(event);
}

static void on_peer(struct pair *p, const json_t *event)
{
	const char *note = clean_member(event, "note");

	if (p->c->json)
		return;
	progress_clear(&p->progress);
	printf("The other device calls itself %s%s%s%s.\n", clean_member(event, "peer_name"),
	       *note ? " and says: “" : "", note, *note ? "”" : "");
	fflush(stdout);
}

static void on_event(struct pair *p, const json_t *event)
{
	const char *name = json_get_str(event, "event"), *id = json_get_str(event, "pairing");
	json_t *peer = json_object_get(event, "peer");

	name = name ? name : "";
	if (!p->id[0])
		p->give_up_ms = 0;
	if (id)
		snprintf(p->id, sizeof(p->id), "%s", id);
	if (json_is_object(peer)) {
		json_decref(p->peer);
		p->peer = json_incref(peer);
	}
	/* "done" is what the command itself answers with. */
	if (strcmp(name, "done") != 0)
		ctl_event(p->c, name, json_copy((json_t *)(uintptr_t)event));
	if (strcmp(name, "secret-needed") == 0)
		on_secret_needed(p, event);
	else if (strcmp(name, "invitation") == 0)
		on_invitation(p, event);
	else if (strcmp(name, "step") == 0)
		on_step(p, event);
	else if (strcmp(name, "sas") == 0)
		on_sas(p, event);
	else if (strcmp(name, "peer") == 0)
		on_peer(p, event);
}

static void on_stream(struct pair *p)
{
	_cleanup_json_ json_t *params = NULL;
	struct failure f = { 0 };

	switch (stream_next(p->stream, &params, &f)) {
	case STREAM_MESSAGE:
		on_event(p, params);
		break;
	case STREAM_LAST:
		on_event(p, params);
		p->over = true;
		break;
	case STREAM_FAILED:
		if (p->terminal)
			terminal_write(p->terminal, "\n");
		fail_with(p, &f);
		break;
	case STREAM_NOTHING:
		break;
	}
}

static void on_terminal(struct pair *p)
{
	char line[64];
	int r = terminal_read(p->terminal, line, sizeof(line));

	if (r == -EAGAIN)
		return;
	if (r && r != TERMINAL_E_TOO_LONG) {
		interrupted(p);
		return;
	}
	if (r)
		line[0] = '\0';
	if (p->asking == ASKING_PIN)
		on_pin_typed(p, line);
	else
		on_number_typed(p, line);
	explicit_bzero(line, sizeof(line));
}

static int wait_ms(const struct pair *p)
{
	if (p->wants_file && sas_file_fd(p->sas_file) < 0)
		return FILE_LOOK_MS;
	return p->give_up_ms || p->deadline_ms ? TICK_MS : -1;
}

static void step(struct pair *p)
{
	struct pollfd fds[4] = {
		{ .fd = interrupt_fd(), .events = POLLIN },
		{ .fd = stream_fd(p->stream), .events = POLLIN },
		{ .fd = p->terminal ? terminal_fd(p->terminal) : -1, .events = POLLIN },
		{ .fd = p->wants_file ? sas_file_fd(p->sas_file) : -1, .events = POLLIN },
	};

	show_waiting(p);
	if (poll(fds, 4, wait_ms(p)) < 0 && errno != EINTR) {
		interrupted(p);
		return;
	}
	if (interrupt_seen()) {
		interrupted(p);
		return;
	}
	/* What the daemon says comes first: an ended pairing makes an answer moot. */
	if (fds[1].revents)
		on_stream(p);
	else if (fds[2].revents)
		on_terminal(p);
	else if (fds[3].revents || (p->wants_file && sas_file_fd(p->sas_file) < 0))
		on_file(p);
	if (!p->over && p->give_up_ms && clock_now_ms() >= p->give_up_ms)
		fail_with(p, &p->why);
}

/* ---- from the command line to the call ---- */

static int check_options(struct ctl *c, bool joins)
{
	const char *relay = ctl_option(c, "relay"), *invitation = ctl_argument(c, 0);
	int n = ctl_flag(c, "pin-file") + ctl_flag(c, "pin-fd") + ctl_flag(c, "secret-file");
	bool secret = ctl_flag(c, "secret-file");
	struct relay_invitation parsed;
	char url[300];

	if (n > 1)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, NULL,
				"--pin-file, --pin-fd and --secret-file exclude each other");
	if (!joins && n == 1 && !secret)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE,
				"Without an invitation this device makes the PIN and shows it.",
				"a PIN is only asked for with an invitation");
	if (ctl_flag(c, "no-sas") && !secret)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, NULL,
				"after a PIN the number must be compared: --no-sas needs --secret-file");
	if (ctl_flag(c, "no-sas") && ctl_flag(c, "sas-file"))
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, NULL,
				"--no-sas and --sas-file exclude each other");
	if (joins && relay_invitation_parse(&parsed, invitation) != 0)
		return ctl_fail(c, EXIT_USAGE, "io.handfast.Pairing.BadInvitation",
				"It looks like K7QMX2WD@192.168.1.20:7118; the other device shows it.",
				"“%s” is no invitation", clean_text(invitation));
	if (relay && relay_url_parse(url, sizeof(url), relay) != 0)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE,
				"It looks like relay.example.org:7117, ws://HOST:PORT or wss://HOST.",
				"“%s” is no relay", clean_text(relay));
	if (((joins && n == 0) || (!ctl_flag(c, "sas-file") && !ctl_flag(c, "no-sas"))) &&
	    !terminal_is_there())
		return ctl_fail(c, EXIT_USAGE, ERROR_NO_TERMINAL,
				"In a script give --sas-file, and --pin-file or --pin-fd to join.",
				"there is no terminal to ask on");
	return EXIT_DONE;
}

static int call_parameters(struct ctl *c, const struct pair_secret *secret, json_t **out)
{
	static const char *const names[][2] = { { "relay", "relay" },
						{ "note", "note" },
						{ "name", "name" } };
	const char *ca = ctl_option(c, "relay-ca"), *invitation = ctl_argument(c, 0);
	json_t *params = json_pack("{s:s}", "secret_class",
				   secret->class == SECRET_PIN ? "PIN" : "SEC");

	if (invitation)
		json_object_set_new(params, "invitation", json_string(invitation));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (ctl_option(c, names[i][0]))
			json_object_set_new(params, names[i][1],
					    json_string(ctl_option(c, names[i][0])));
	if (ca) {
		_cleanup_free_ char *path = realpath(ca, NULL);

		if (!path) {
			json_decref(params);
			return ctl_fail(c, EXIT_NO_SUCH, ERROR_NO_SUCH_FILE, NULL,
					"cannot read %s: %s", ca, strerror(errno));
		}
		json_object_set_new(params, "relay_ca", json_string(path));
	}
	if (ctl_flag(c, "no-sas"))
		json_object_set_new(params, "compare_sas", json_false());
	else if (secret->class == SECRET_SEC)
		json_object_set_new(params, "compare_sas", json_true());
	*out = params;
	return EXIT_DONE;
}

/* A line that drops at the last message leaves one side that cannot know whether the other has stored it. */
static bool is_confirmed(const json_t *peer)
{
	return strcmp(clean_member(peer, "state"), "active") == 0;
}

static void done_text(const struct ctl *c, const json_t *result)
{
	const json_t *peer = json_object_get(result, "peer");

	if (json_is_true(json_object_get(result, "confirmed")))
		printf("\nPaired. ");
	else
		printf("\nStored here, not confirmed by the other device: "
		       "if the tunnel does not come up, pair again.\n");
	peer_text(c, peer);
	printf("\nThe tunnel comes up where pskd runs on both devices: “handfast tunnel show %s”.\n",
	       clean_member(peer, "name"));
}

static int run(struct pair *p)
{
	const char *sas_path = ctl_option(p->c, "sas-file");
	struct failure f = { 0 };
	json_t *params = NULL;
	int r;

	interrupt_arm();
	if (pair_secret_read(&p->secret, p->c, &f) ||
	    (sas_path && sas_file_open(&p->sas_file, sas_path, &f)))
		return ctl_fail_with(p->c, &f);
	r = call_parameters(p->c, &p->secret, &params);
	if (r)
		return r;
	if (stream_open(&p->stream, p->c, PAIRINGD, "Pairing.Pair", params, &f))
		return ctl_fail_with(p->c, &f);
	failure_set(&p->why, EXIT_TIMED_OUT, ERROR_TIMED_OUT, NULL, "pairingd does not answer");
	p->give_up_ms = clock_now_ms() + FIRST_WORD_MS;
	p->c->answer_ms = ANSWER_MS;
	while (!p->over)
		step(p);
	stop_asking(p);
	progress_clear(&p->progress);
	if (p->failure.exit != EXIT_DONE)
		return ctl_fail_with(p->c, &p->failure);
	if (!p->peer)
		return ctl_fail(p->c, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL,
				"pairingd ended the pairing without saying with whom");
	return ctl_result(p->c, json_pack("{s:O, s:b}", "peer", p->peer, "confirmed", is_confirmed(p->peer)),
			  done_text);
}

int cmd_pair(struct ctl *c)
{
	struct pair p = { .c = c, .joins = ctl_argument(c, 0) != NULL };
	int r = check_options(c, p.joins);

	if (r)
		return r;
	leave_no_copies();
	progress_init(&p.progress, c->want_color);
	r = run(&p);
	stream_close(p.stream);
	sas_file_close(p.sas_file);
	json_decref(p.peer);
	pair_secret_wipe(&p.secret);
	return r;
}
