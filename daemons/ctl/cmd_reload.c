/* handfast reload: the daemon answers when the new configuration is in force, or says why not. */
#include <jansson.h>
#include <stdio.h>

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"

static void reload_text(const struct ctl *c, const json_t *result)
{
	(void)result;
	printf("%s runs with its configuration as it is now.\n", ctl_argument(c, 0));
}

int cmd_reload(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, ctl_argument(c, 0), "Daemon.Reload", NULL, &reply);

	return r ? r : ctl_result(c, reply, reload_text);
}
