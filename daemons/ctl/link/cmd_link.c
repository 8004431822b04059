/*
 * handfast link setup, undo, show: the direct cable between two machines. setup
 * writes one file for whoever manages the interface, shows it first, and takes it
 * back when it does not work.
 */
#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/link/link_answer.h"
#include "ctl/link/link_kernel.h"
#include "ctl/link/link_manager.h"
#include "ctl/link/link_profile.h"
#include "ctl/link/link_text.h"
#include "ctl/terminal.h"

enum { ADDRESS_WAIT_MS = 6000, ADDRESS_POLL_MS = 100 };

static const enum link_manager writable[] = { LINK_NETWORKMANAGER, LINK_NETWORKD };

/* One run of setup. */
struct setup {
	struct ctl *c;
	struct link_wish wish;
	struct link_list all;
	const struct link_state *link; /* in all */
	struct link_bus *bus;
	struct link_found found;
	enum link_manager manager;
	bool runs; /* the manager does: the file takes effect at once */
	struct link_profile before;
	char *text;
	json_t *notes;
	char path[LINK_PATH_MAX];
};

static void setup_done(struct setup *s)
{
	link_list_done(&s->all);
	free(steal(&s->text));
	link_profile_done(&s->before);
	link_bus_closep(&s->bus);
	json_decref(s->notes);
}

__attribute__((format(printf, 2, 3))) static void add_note(struct setup *s, const char *fmt, ...)
{
	char text[512], clean[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(clean, sizeof(clean), text, strlen(text));
	json_array_append_new(s->notes, json_string(clean));
}

/* ---- which interface ---- */

/* "eth0, enp3s0": what a person may have meant. */
static void wired_names(char *out, size_t cap, const struct link_list *all)
{
	size_t len = 0;

	*out = '\0';
	for (size_t i = 0; i < all->n && len < cap; i++)
		if (link_is_wired(&all->all[i]))
			len += (size_t)snprintf(out + len, cap - len, "%s%s", len ? ", " : "",
						clean_text(all->all[i].name));
}

static int no_such(struct ctl *c, const char *name, const struct link_list *all)
{
	char names[256], hint[320];

	wired_names(names, sizeof(names), all);
	snprintf(hint, sizeof(hint), *names ? "Wired ones here: %s." : "There is no wired one here.",
		 names);
	return ctl_fail(c, EXIT_NO_SUCH, ERROR_NO_SUCH_INTERFACE, hint, "there is no interface %s",
			clean_text(name));
}

static int kernel_failure(struct ctl *c, int r)
{
	return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "the kernel does not list its interfaces: %s",
			strerror(-r));
}

static int odd_name(struct ctl *c, const char *name)
{
	return ctl_fail(c, EXIT_USAGE, ERROR_BAD_INTERFACE,
			"NetworkManager and networkd would read such a name as a pattern. Rename it with a "
			"systemd.link(5) file.",
			"the name “%s” has characters other than a-z A-Z 0-9 . _ -, or is too long",
			clean_text(name));
}

/* Whether a cable to one other machine can be on it at all. */
static int check_kind(struct setup *s)
{
	const struct link_state *l = s->link, *master = NULL;

	if (strcmp(l->name, "lo") == 0 || l->hardware == 772 /* ARPHRD_LOOPBACK */)
		return ctl_fail(s->c, EXIT_USAGE, ERROR_BAD_INTERFACE, NULL,
				"%s is the loopback interface: no cable leads out of it", l->name);
	if (l->wireless)
		return ctl_fail(s->c, EXIT_USAGE, ERROR_BAD_INTERFACE,
				"Over a wireless network there is nothing to set up: just pair.",
				"%s is wireless, not a cable", l->name);
	if (!link_is_wired(l))
		return ctl_fail(s->c, EXIT_USAGE, ERROR_BAD_INTERFACE, NULL,
				"%s is no Ethernet interface%s%s", l->name, *l->kind ? " but of the kind " : "",
				clean_text(l->kind));
	for (size_t i = 0; i < s->all.n; i++)
		if (s->all.all[i].index == l->master && l->master)
			master = &s->all.all[i];
	if (l->master)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_BAD_INTERFACE,
				"Take it out of there first, or use another one.", "%s belongs to %s",
				l->name, master ? master->name : "another interface");
	return 0;
}

/* What would cut this machine off, or be ambiguous; --force says that it is meant. */
static int check_surroundings(struct setup *s)
{
	const struct link_state *l = s->link;
	char what[128];

	if (l->default_route && !ctl_flag(s->c, "force"))
		return ctl_fail(s->c, EXIT_FAILED, ERROR_DEFAULT_ROUTE,
				"You would cut this machine off. Choose the interface of the cable, or say "
				"--force.",
				"%s carries the default route: it leads to the internet", l->name);
	if (l->default_route)
		add_note(s, "%s carries the default route, which will be gone.", l->name);
	for (size_t i = 0; i < s->wish.n_own; i++) {
		char own[LINK_CIDR_TEXT];

		if (!link_find_conflict(what, sizeof(what), &s->all, l, &s->wish.own[i]))
			continue;
		link_cidr_format(own, &s->wish.own[i], true);
		if (!ctl_flag(s->c, "force"))
			return ctl_fail(s->c, EXIT_FAILED, ERROR_ADDRESS_CONFLICT,
					"Choose a free network with --address on both machines, or say --force.",
					"%s overlaps with what is in use: %s", own, what);
		add_note(s, "%s overlaps with what is in use: %s.", own, what);
	}
	return 0;
}

/* Two machines in one role: better said before anything changes. */
static int check_taken(struct setup *s)
{
	char text[LINK_CIDR_TEXT];

	for (size_t i = 0; i < s->wish.n_own; i++) {
		if (!link_is_taken(s->link, &s->wish.own[i]))
			continue;
		link_cidr_format(text, &s->wish.own[i], false);
		return ctl_fail(s->c, EXIT_FAILED, ERROR_ADDRESS_CONFLICT,
				"Is the other machine set up with the same role? One is the laptop, the other "
				"the pi.",
				"somebody on the cable has %s already", text);
	}
	return 0;
}

static int check_mtu(struct setup *s)
{
	const char *text = ctl_option(s->c, "mtu");
	uint64_t max = s->link->mtu_max ? s->link->mtu_max : 65535, mtu;

	if (!text)
		return 0;
	if (text_parse_u64(&mtu, text, LINK_MTU_MIN, max) != 0)
		return ctl_fail(s->c, EXIT_USAGE, ERROR_USAGE,
				"Both machines need the same; IPv6 needs 1280 at least.",
				"--mtu is a number from %d to %llu for %s", LINK_MTU_MIN,
				(unsigned long long)max, s->link->name);
	s->wish.mtu = (uint32_t)mtu;
	return 0;
}

/* ---- who manages it ---- */

static int no_manager(struct setup *s)
{
	const char *name = s->link->name;

	if (s->found.both)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_NO_MANAGER,
				"Say --manager networkd or --manager NetworkManager, and take it from the other.",
				"%s is managed by NetworkManager and by networkd at once", name);
	if (s->found.manager == LINK_IFUPDOWN)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_NO_MANAGER,
				s->found.installed[LINK_NETWORKD] ?
					"handfast writes no file for ifupdown. Take it out there, or say "
					"--manager networkd for a networkd file." :
					"handfast writes no file for ifupdown; see interfaces(5).",
				"%s is configured by ifupdown: %s", name, s->found.where);
	if (s->found.manager == LINK_DHCPCD)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_NO_MANAGER,
				s->found.installed[LINK_NETWORKD] ?
					"Put “denyinterfaces” with its name into /etc/dhcpcd.conf and say "
					"--manager networkd for a networkd file." :
					"handfast writes no file for dhcpcd; see dhcpcd.conf(5).",
				"%s is configured by dhcpcd", name);
	if (s->found.runs[LINK_NETWORKMANAGER])
		return ctl_fail(s->c, EXIT_FAILED, ERROR_NO_MANAGER,
				"Say “nmcli device set” with its name and “managed yes”; NetworkManager.conf(5) "
				"and udev rules say which it leaves alone.",
				"nobody manages %s: NetworkManager runs, but leaves it alone", name);
	return ctl_fail(s->c, EXIT_FAILED, ERROR_NO_MANAGER,
			s->found.installed[LINK_NETWORKD] ?
				"systemd-networkd is installed, but does not run. Say --manager networkd for a "
				"networkd file, then “systemctl enable --now systemd-networkd”." :
				"Install NetworkManager or systemd-networkd.",
			"nobody manages %s: neither NetworkManager nor systemd-networkd does", name);
}

static int choose_manager(struct setup *s)
{
	const char *chosen = ctl_option(s->c, "manager");

	link_find_manager(&s->found, s->bus, s->link);
	if (chosen) {
		s->manager = strcmp(chosen, "networkd") == 0 ? LINK_NETWORKD : LINK_NETWORKMANAGER;
		if (!s->found.installed[s->manager])
			return ctl_fail(s->c, EXIT_FAILED, ERROR_NO_MANAGER, NULL, "%s is not installed here",
					chosen);
	} else if (s->found.both) {
		return no_manager(s);
	} else if (s->found.manager == LINK_NETWORKMANAGER || s->found.manager == LINK_NETWORKD) {
		s->manager = s->found.manager;
	} else if (s->found.manager == LINK_NOBODY && s->found.runs[LINK_NETWORKD]) {
		s->manager = LINK_NETWORKD;
		add_note(s, "Nobody manages %s now. systemd-networkd runs, and will with this file.",
			 s->link->name);
	} else {
		return no_manager(s);
	}
	s->runs = s->found.runs[s->manager];
	if (s->found.manager == LINK_IFUPDOWN)
		add_note(s, "%s is configured by ifupdown, too (%s): take it out there.", s->link->name,
			 s->found.where);
	else if (s->found.manager != LINK_NOBODY && s->found.manager != s->manager)
		add_note(s, "%s is managed by %s, too: take it from there.", s->link->name,
			 link_manager_name(s->found.manager));
	if (!s->runs)
		add_note(s, "%s does not run: the file waits for “systemctl enable --now %s”.",
			 link_manager_name(s->manager),
			 s->manager == LINK_NETWORKD ? "systemd-networkd" : "NetworkManager");
	else if (s->found.manager == s->manager && *s->found.profile)
		add_note(s, "It takes the place of what %s goes by now: %s.", s->link->name,
			 s->found.profile);
	return 0;
}

/* ---- the file ---- */

static int file_in_the_way(struct ctl *c, const struct link_profile *p)
{
	if (p->file == LINK_FILE_UNREADABLE)
		return ctl_fail(c, EXIT_PERMISSION, ERROR_NO_PERMISSION, "Use sudo.", "only root can read %s",
				p->path);
	if (p->file == LINK_FILE_CHANGED)
		return ctl_fail(c, EXIT_FAILED, ERROR_FILE_EXISTS,
				"Keep what you need of it elsewhere and remove it by hand.",
				"%s was changed since handfast wrote it, and is left alone", p->path);
	return ctl_fail(c, EXIT_FAILED, ERROR_FILE_EXISTS, "Remove it by hand if it is not needed.",
			"%s is there and is not by handfast: it is left alone", p->path);
}

static int check_files(struct setup *s)
{
	char why[512];

	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		struct link_profile p;
		int r = link_profile_load(&p, writable[i], s->wish.name);

		if (r)
			return ctl_fail(s->c, EXIT_FAILED, ERROR_FILE, NULL, "cannot read the file of %s: %s",
					link_manager_name(writable[i]), strerror(-r));
		if (writable[i] == s->manager) {
			s->before = p;
			continue;
		}
		link_profile_done(&p);
		if (p.file == LINK_FILE_OURS)
			return ctl_fail(s->c, EXIT_FAILED, ERROR_FILE_EXISTS,
					"Undo that first: handfast link undo.",
					"%s was set up for %s before", s->wish.name,
					link_manager_name(writable[i]));
	}
	if (s->before.file != LINK_FILE_NONE && s->before.file != LINK_FILE_OURS)
		return file_in_the_way(s->c, &s->before);
	if (!s->runs || !link_other_wins(s->bus, s->manager, s->link, why, sizeof(why)))
		return 0;
	if (s->manager == LINK_NETWORKD)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_OTHER_PROFILE,
				"Remove that file, or narrow what it matches.", "%s", why);
	add_note(s, "After a restart, another profile may come first: %s.", why);
	return 0;
}

static const char *other_role(const char *role)
{
	return strcmp(role, "pi") == 0 ? "laptop" : "pi";
}

/* What is said in words beside the file. */
static void add_explanations(struct setup *s)
{
	const struct link_state *l = s->link;

	if (!l->carrier)
		add_note(s, "No cable is plugged into %s yet, or the other machine is off.", l->name);
	if (s->wish.n_own == 0)
		add_note(s, "No address is set: both ends reach each other by IPv6 link-local addresses, "
			    "which “handfast link show %s” finds.", l->name);
	else
		add_note(s, "The other machine needs its own end: handfast link setup IFACE --role %s%s.",
			 other_role(s->wish.role),
			 ctl_option(s->c, "address") ? " with --address" : "");
}

static void show_file(struct setup *s)
{
	const json_t *note;
	size_t i;

	if (s->c->json) {
		ctl_event(s->c, "file",
			  json_pack("{s:s, s:s, s:s, s:s, s:O}", "file", s->path, "text", s->text, "mode",
				    s->manager == LINK_NETWORKMANAGER ? "0600" : "0644", "manager",
				    link_manager_name(s->manager), "notes", s->notes));
		return;
	}
	printf("%s%s%s (%s, mode %04o):\n\n", paint_begin(&s->c->style, PAINT_BOLD), s->path,
	       paint_end(&s->c->style, PAINT_BOLD), link_manager_name(s->manager),
	       link_profile_mode(s->manager));
	for (const char *line = s->text; *line; line += strcspn(line, "\n") + 1)
		printf("    %.*s\n", (int)strcspn(line, "\n"), line);
	printf("\n");
	json_array_foreach(s->notes, i, note)
		text_wrap(stdout, &s->c->style, json_string_value(note), 0, 0);
	fflush(stdout);
}

/* ---- writing and applying ---- */

static int write_failure(struct setup *s, int r)
{
	if (r == -EROFS)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_FILE,
				"Nothing was changed. Make it writable for a moment (mount -o remount,rw).",
				"cannot write %s: its file system is read-only", s->path);
	return ctl_fail(s->c, r == -EACCES || r == -EPERM ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE,
			"Nothing was changed.", "cannot write %s: %s", s->path, strerror(-r));
}

static int write_file(const char *path, const char *text, enum link_manager m)
{
	_cleanup_free_ char *copy = strdup(path);
	int r;

	if (!copy)
		return -ENOMEM;
	r = file_mkdirs(dirname(copy), 0755);
	return r ? r : file_write_atomic(path, text, strlen(text), link_profile_mode(m));
}

/* The file as it was before. */
static int restore_file(const struct setup *s)
{
	int r;

	if (s->before.text)
		return write_file(s->path, s->before.text, s->manager);
	if (unlink(s->path) < 0 && errno != ENOENT)
		return -errno;
	r = file_sync_parent(s->path);
	return r == -ENOENT ? 0 : r;
}

static int apply_failure(struct setup *s, int outcome, const char *why, const struct link_before *before)
{
	char again[512] = "";
	int r, w;

	interrupt_block(true);
	r = restore_file(s);
	w = link_withdraw(s->bus, s->manager, s->link->name, s->link, before, again, sizeof(again));
	interrupt_block(false);
	if (r || w)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_NOT_APPLIED,
				r ? "The file is still there: remove it by hand." :
				    "The file is as it was. Look after the interface by hand.",
				"%s; and taking it back failed, too: %s", why, r ? strerror(-r) : again);
	if (outcome == LINK_E_INTERRUPTED)
		return ctl_fail(s->c, interrupt_exit(), ERROR_INTERRUPTED, NULL,
				"interrupted; everything is as it was");
	if (outcome == LINK_E_NO_ADDRESS)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_ADDRESS_CONFLICT,
				"Everything is as it was. Is the other machine set up with the same role?",
				"%s: somebody on the cable seems to have it already", why);
	return ctl_fail(s->c, outcome == LINK_E_TIMED_OUT ? EXIT_TIMED_OUT : EXIT_FAILED,
			outcome == LINK_E_OTHER_WINS ? ERROR_OTHER_PROFILE : ERROR_NOT_APPLIED,
			"Everything is as it was.", "%s", why);
}

static bool has_link_local(const struct link_state *l)
{
	for (size_t i = 0; i < l->n_addresses; i++)
		if (l->addresses[i].family == AF_INET6 && l->addresses[i].address[0] == 0xfe &&
		    (l->addresses[i].address[1] & 0xc0) == 0x80)
			return true;
	return false;
}

static bool has_all(const struct link_state *l, const struct link_wish *w)
{
	if (w->n_own == 0 && !has_link_local(l))
		return false;
	for (size_t i = 0; i < w->n_own; i++) {
		bool has = false;

		for (size_t k = 0; k < l->n_addresses; k++)
			has = has || link_cidr_same_address(&l->addresses[k], &w->own[i]);
		if (!has)
			return false;
	}
	return true;
}

/*
 * An address counts when nobody else has it, which takes the manager a moment to find out.
 * 0, or an outcome of link_apply() with a sentence in why.
 */
static int wait_for_addresses(struct setup *s, struct link_state *now, char *why, size_t cap)
{
	uint64_t since = clock_now_ms();
	int r = link_read(now, s->wish.name);

	while (r == 0 && now->carrier && !has_all(now, &s->wish)) {
		if (interrupt_seen())
			return LINK_E_INTERRUPTED;
		if (clock_now_ms() - since >= ADDRESS_WAIT_MS) {
			if (s->wish.n_own == 0) {
				snprintf(why, cap, "%s has no IPv6 link-local address: is IPv6 turned off?",
					 s->wish.name);
				return LINK_E_REFUSED;
			}
			snprintf(why, cap, "%s does not get its address", s->wish.name);
			return LINK_E_NO_ADDRESS;
		}
		usleep(ADDRESS_POLL_MS * 1000);
		link_state_done(now);
		r = link_read(now, s->wish.name);
	}
	if (r == 0)
		return 0;
	snprintf(why, cap, "%s is no longer to be found: %s", s->wish.name, strerror(-r));
	return LINK_E_REFUSED;
}

static void setup_text(const struct ctl *c, const json_t *result)
{
	const json_t *link = json_object_get(result, "link");

	if (ctl_flag(c, "dry-run")) {
		printf("Nothing was changed (--dry-run).\n");
		return;
	}
	printf("\n%s is set up%s. “handfast link undo %s” takes it back.\n", clean_member(link, "interface"),
	       json_is_true(json_object_get(result, "applied")) ? "" : " for later",
	       clean_member(link, "interface"));
	link_one_text(c, link);
}

/* now is the interface as it is at the end. */
static int finish(struct setup *s, const struct link_state *now, bool written, bool applied)
{
	struct link_answers answers = { .n = 0 };
	struct link_profile profile = { 0 };
	bool asked = false;
	json_t *result;
	int r;

	if (applied) {
		asked = now->carrier && link_ask(&answers, now, s->wish.peer, s->wish.n_peer) == 0;
		link_find_manager(&s->found, s->bus, now);
	}
	r = link_profile_load(&profile, s->manager, s->wish.name);
	result = json_pack("{s:o, s:s, s:s, s:b, s:b, s:O}", "link",
			   link_json(now, &s->found, r ? NULL : &profile, asked ? &answers : NULL), "file",
			   s->path, "text", s->text, "written", (int)written, "applied", (int)applied,
			   "notes", s->notes);
	link_profile_done(&profile);
	return ctl_result(s->c, result, setup_text);
}

static int write_and_apply(struct setup *s)
{
	_cleanup_(link_state_done) struct link_state now = { 0 };
	struct link_before before;
	char why[512] = "";
	int r;

	interrupt_arm();
	link_remember(&before, s->bus, s->manager, s->link);
	r = write_file(s->path, s->text, s->manager);
	if (r) {
		restore_file(s);
		return write_failure(s, r);
	}
	if (!s->runs)
		return finish(s, s->link, true, false);
	r = link_apply(s->bus, s->manager, s->link, s->path, why, sizeof(why));
	if (r == 0)
		r = wait_for_addresses(s, &now, why, sizeof(why));
	return r ? apply_failure(s, r, why, &before) : finish(s, &now, true, true);
}

static int ask_person(struct setup *s)
{
	int r;

	if (ctl_flag(s->c, "yes"))
		return 0;
	r = terminal_confirm("Write this file%s?", s->runs ? " and bring the interface up with it" : "");
	if (r == TERMINAL_E_NONE)
		return ctl_fail(s->c, EXIT_USAGE, ERROR_NO_TERMINAL, "Say --yes, or --dry-run to look only.",
				"there is no terminal to ask on whether to write %s", s->path);
	if (r == TERMINAL_E_INTERRUPTED)
		return ctl_fail(s->c, interrupt_exit(), ERROR_INTERRUPTED, NULL, "interrupted");
	if (r)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_DECLINED, NULL, "nothing was changed");
	return 0;
}

static int setup_run(struct setup *s)
{
	const char *name = ctl_argument(s->c, 0), *wrong;
	int r;

	if (!ctl_option(s->c, "role"))
		return ctl_fail(s->c, EXIT_USAGE, ERROR_USAGE, "One machine is the laptop, the other the pi.",
				"--role is missing");
	r = link_read_all(&s->all);
	if (r)
		return kernel_failure(s->c, r);
	s->link = link_find(&s->all, name);
	if (!s->link)
		return no_such(s->c, name, &s->all);
	if (!link_is_plain_name(name))
		return odd_name(s->c, name);
	snprintf(s->wish.name, sizeof(s->wish.name), "%s", name);
	s->wish.role = ctl_option(s->c, "role");
	wrong = link_wish_addresses(&s->wish, ctl_option(s->c, "address"), ctl_option(s->c, "peer-address"));
	if (wrong)
		return ctl_fail(s->c, EXIT_USAGE, ERROR_USAGE, NULL, "%s %s",
				ctl_option(s->c, "peer-address") && s->wish.n_own ? "--peer-address" :
										    "--address",
				wrong);
	r = check_kind(s);
	r = r ? r : check_mtu(s);
	r = r ? r : check_surroundings(s);
	r = r ? r : check_taken(s);
	if (r)
		return r;
	if (link_bus_open(&s->bus) != 0)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	r = choose_manager(s);
	if (r)
		return r;
	link_profile_path(s->path, s->manager, name);
	r = check_files(s);
	if (r)
		return r;
	add_explanations(s);
	s->text = link_profile_text(s->manager, &s->wish);
	if (!s->text)
		return ctl_fail(s->c, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	show_file(s);
	if (ctl_flag(s->c, "dry-run"))
		return finish(s, s->link, false, false);
	if (geteuid() != 0)
		return ctl_fail(s->c, EXIT_PERMISSION, ERROR_NO_PERMISSION, "Use sudo.",
				"only root may set up an interface");
	r = ask_person(s);
	return r ? r : write_and_apply(s);
}

int cmd_link_setup(struct ctl *c)
{
	_cleanup_(setup_done) struct setup s = { .c = c, .notes = json_array() };

	return setup_run(&s);
}

/* ---- undo ---- */

static void undo_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	printf("%s is removed; %s goes by what else there is for it.\n", clean_member(result, "file"),
	       clean_member(result, "interface"));
}

static int undo_one(struct ctl *c, const struct link_profile *p, const char *name)
{
	_cleanup_(link_bus_closep) struct link_bus *bus = NULL;
	_cleanup_(link_state_done) struct link_state l = { 0 };
	bool is_there = link_read(&l, name) == 0;
	char why[512] = "";

	if (link_bus_open(&bus) != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	if (unlink(p->path) < 0)
		return ctl_fail(c, errno == EACCES || errno == EPERM ? EXIT_PERMISSION : EXIT_FAILED,
				ERROR_FILE, errno == EROFS ? "Its file system is read-only." : NULL,
				"cannot remove %s: %s", p->path, strerror(errno));
	file_sync_parent(p->path);
	if (link_withdraw(bus, p->manager, name, is_there ? &l : NULL, NULL, why, sizeof(why)) != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_NOT_APPLIED,
				"It will be forgotten at the next restart at the latest.",
				"%s is removed, but %s keeps to it: %s", p->path,
				link_manager_name(p->manager), why);
	return ctl_result(c,
			  json_pack("{s:s, s:s, s:s}", "interface", name, "file", p->path, "manager",
				    link_manager_name(p->manager)),
			  undo_text);
}

int cmd_link_undo(struct ctl *c)
{
	const char *name = ctl_argument(c, 0);
	struct link_profile p[ARRAY_SIZE(writable)] = { { 0 } }, *ours = NULL, *changed = NULL;
	int r = 0;

	if (!link_is_plain_name(name))
		return odd_name(c, name);
	for (size_t i = 0; i < ARRAY_SIZE(writable) && !r; i++) {
		r = link_profile_load(&p[i], writable[i], name);
		if (!r && p[i].file == LINK_FILE_OURS)
			ours = &p[i];
		else if (!r && p[i].file != LINK_FILE_NONE)
			changed = &p[i];
	}
	if (r)
		r = ctl_fail(c, EXIT_FAILED, ERROR_FILE, NULL, "cannot look for the file: %s", strerror(-r));
	else if (ours && geteuid() != 0)
		r = ctl_fail(c, EXIT_PERMISSION, ERROR_NO_PERMISSION, "Use sudo.",
			     "only root may remove %s", ours->path);
	else if (ours)
		r = undo_one(c, ours, name);
	else if (changed)
		r = file_in_the_way(c, changed);
	else
		r = ctl_fail(c, EXIT_NO_SUCH, ERROR_NO_SUCH_FILE, NULL, "handfast has set up nothing on %s",
			     name);
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++)
		link_profile_done(&p[i]);
	return r;
}

/* ---- show ---- */

/* The profile of an interface: NetworkManager's or networkd's, ours before others. */
static void load_profile(struct link_profile *out, const char *name)
{
	*out = (struct link_profile){ 0 };
	if (!link_is_plain_name(name))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(writable) && out->file != LINK_FILE_OURS; i++) {
		struct link_profile p;

		if (link_profile_load(&p, writable[i], name) != 0)
			continue;
		if (p.file == LINK_FILE_NONE)
			continue;
		link_profile_done(out);
		*out = p;
	}
}

static json_t *one_link(struct link_bus *bus, const struct link_state *l, bool named)
{
	struct link_answers answers = { .n = 0 };
	struct link_profile profile;
	struct link_found found;
	bool asked;
	json_t *out;

	link_find_manager(&found, bus, l);
	load_profile(&profile, l->name);
	/* Nobody is asked on networks that are no business of ours. */
	asked = (named || profile.file != LINK_FILE_NONE) && l->up &&
		link_ask(&answers, l, profile.peer, profile.n_peer) == 0;
	out = link_json(l, &found, &profile, asked ? &answers : NULL);
	link_profile_done(&profile);
	return out;
}

static void show_one_text(const struct ctl *c, const json_t *result)
{
	link_one_text(c, json_array_get(json_object_get(result, "links"), 0));
}

int cmd_link_show(struct ctl *c)
{
	_cleanup_(link_bus_closep) struct link_bus *bus = NULL;
	_cleanup_(link_list_done) struct link_list list = { 0 };
	const char *name = ctl_argument(c, 0);
	json_t *links;
	int r = link_read_all(&list);

	if (r)
		return kernel_failure(c, r);
	if (name && !link_find(&list, name))
		return no_such(c, name, &list);
	if (link_bus_open(&bus) != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	links = json_array();
	for (size_t i = 0; i < list.n; i++)
		if (name ? strcmp(list.all[i].name, name) == 0 : link_is_wired(&list.all[i]))
			json_array_append_new(links, one_link(bus, &list.all[i], name != NULL));
	return ctl_result(c, json_pack("{s:o}", "links", links), name ? show_one_text : link_table_text);
}
