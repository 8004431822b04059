/* Failures and the exit codes that belong to them. */
#include "ctl/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

int failure_set(struct failure *f, enum exit_code exit, const char *code, const char *hint,
		const char *fmt, ...)
{
	char text[2 * sizeof(f->message)];
	va_list ap;

	f->exit = exit;
	/* The same failure, told anew. */
	if (code != f->code)
		snprintf(f->code, sizeof(f->code), "%s", code);
	hint = hint ? hint : "";
	text_clean(f->hint, sizeof(f->hint), hint, strlen(hint));
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* May quote a peer or a file name: nothing in it may steer the terminal. */
	text_clean(f->message, sizeof(f->message), text, strlen(text));
	return (int)exit;
}

/* Documented in handfast(1), EXIT STATUS; whatever is not here is EXIT_FAILED. */
static const struct {
	const char *code;
	enum exit_code exit;
} exits[] = {
	{ "io.handfast.Pairing.NoSuchPairing", EXIT_NO_SUCH },
	{ "io.handfast.Pairing.NoSuchPeer", EXIT_NO_SUCH },
	{ "io.handfast.Pairing.NoSuchSession", EXIT_NO_SUCH },
	{ "io.handfast.Relay.NoSuchSession", EXIT_NO_SUCH },
	{ "io.handfast.Tunnel.NoSuchTunnel", EXIT_NO_SUCH },
	{ "io.handfast.Auth.NoSuchUser", EXIT_NO_SUCH },
	{ "io.handfast.Auth.NoSuchSession", EXIT_NO_SUCH },
	{ "io.handfast.Auth.NoSuchInvitation", EXIT_NO_SUCH },
	{ "io.handfast.Auth.NoSuchKeys", EXIT_NO_SUCH },
	{ "io.handfast.Auth.NoSuchBan", EXIT_NO_SUCH },
	{ "io.handfast.Pairing.BadName", EXIT_USAGE },
	{ "io.handfast.Auth.BadName", EXIT_USAGE },
	{ "io.handfast.Pairing.BadInvitation", EXIT_USAGE },
	{ "io.handfast.Tunnel.BadName", EXIT_USAGE },
	{ "io.handfast.Tunnel.BadPin", EXIT_USAGE },
	{ "io.handfast.Tunnel.BadIdentity", EXIT_USAGE },
	{ "io.handfast.Tunnel.NotRevoked", EXIT_NO_SUCH },
	{ "io.handfast.Daemon.BadRequest", EXIT_USAGE },
	{ "io.handfast.Daemon.PermissionDenied", EXIT_PERMISSION },
	{ "org.varlink.service.PermissionDenied", EXIT_PERMISSION },
	{ "io.handfast.Pairing.Expired", EXIT_TIMED_OUT },
	{ "io.handfast.Tunnel.NoAnswer", EXIT_TIMED_OUT },
	{ "io.handfast.Pairing.WrongSecret", EXIT_WRONG_SECRET },
	{ "io.handfast.Pairing.SasMismatch", EXIT_WRONG_SECRET },
	{ "io.handfast.Tunnel.BadKeyFile", EXIT_VERIFICATION },
	{ "io.handfast.Tunnel.KeyFileDiffers", EXIT_VERIFICATION },
};

enum exit_code exit_code_for_error(const char *code)
{
	for (size_t i = 0; i < ARRAY_SIZE(exits); i++)
		if (strcmp(exits[i].code, code) == 0)
			return exits[i].exit;
	return EXIT_FAILED;
}
