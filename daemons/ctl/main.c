/*
 * handfast: the one command of handfast. See handfast(1). Starts light: libraries are
 * initialised by the commands that need them.
 */
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/help.h"

static const char *runtime_dir(const struct ctl *c)
{
	const char *dir = ctl_option(c, "runtime-dir");

	if (!dir)
		dir = getenv("HANDFAST_RUNTIME_DIR");
	return dir && *dir ? dir : "/run/handfast";
}

/* A core file would hold the PIN or secret of a pairing. Nothing of this can fail. */
static void forbid_dumps(void)
{
	const struct rlimit none = { 0, 0 };

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
}

/*
 * A descriptor of these that is closed would become that of the next file or connection, and what is printed would be
 * sent there. So each is open, the wrong way round: who reads or writes there is told.
 */
static void occupy_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			return;
}

int main(int argc, char **argv)
{
	struct ctl c = { .program = argc > 0 ? argv[0] : "handfast" };
	struct failure f = { 0 };
	const char *no_color = getenv("NO_COLOR");
	int r;

	occupy_standard_descriptors();
	forbid_dumps();
	/* Characters only: numbers in answers must not depend on the language. */
	setlocale(LC_CTYPE, "");
	/* A reader that went away shows as a failed write, which is reported. */
	signal(SIGPIPE, SIG_IGN);

	r = parse_command_line(&c.parsed, argc, argv, &f);
	c.json = ctl_flag(&c, "json");
	c.runtime_dir = runtime_dir(&c);
	c.want_color = !ctl_flag(&c, "no-color") && !(no_color && *no_color);
	style_init(&c.style, stdout, c.want_color);
	if (r)
		return ctl_fail_with(&c, &f);
	if (ctl_flag(&c, "version"))
		return cmd_version(&c);
	if (ctl_flag(&c, "help"))
		return cmd_help(&c);
	if (c.parsed.command)
		return c.parsed.command->run(&c);
	if (c.json)
		return ctl_fail(&c, EXIT_USAGE, ERROR_USAGE, "“handfast help” lists them.",
				"no command was given");
	help_overview(stderr, &c.style, c.parsed.group);
	return EXIT_USAGE;
}
