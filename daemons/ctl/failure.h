/*
 * How a command ends badly: one exit code, one error code, a sentence and what
 * to do about it. The same code stands in the daemon's log, in the Varlink
 * error and here.
 */
#pragma once

#include "base/cleanup.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_SUCH = 3,
	EXIT_PERMISSION = 4,
	EXIT_NOT_RUNNING = 5,
	EXIT_TIMED_OUT = 6,
	EXIT_WRONG_SECRET = 7,
	EXIT_VERIFICATION = 8,
	EXIT_FUEL_BELOW_20 = 10,
	EXIT_FUEL_BELOW_5 = 11,
	EXIT_FUEL_BELOW_1 = 12,
	EXIT_FUEL_EMPTY = 13,
	EXIT_INTERRUPTED = 130,
};

/* Error codes of the command's own; the daemons' are in their interfaces. */
#define ERROR_USAGE "io.handfast.Command.Usage"
#define ERROR_NOT_RUNNING "io.handfast.Command.NotRunning"
#define ERROR_NO_PERMISSION "io.handfast.Command.NoPermission"
#define ERROR_BROKEN_ANSWER "io.handfast.Command.BrokenAnswer"
#define ERROR_FILE "io.handfast.Command.FileFailed"
#define ERROR_FILE_EXISTS "io.handfast.Command.FileExists"
#define ERROR_NO_SUCH_FILE "io.handfast.Command.NoSuchFile"
#define ERROR_VERIFICATION "io.handfast.Command.VerificationFailed"
#define ERROR_CONFIGURATION "io.handfast.Command.ConfigurationRefused"
#define ERROR_NO_TERMINAL "io.handfast.Command.NoTerminal"
#define ERROR_BAD_SECRET "io.handfast.Command.BadSecret"
#define ERROR_NO_ADDRESS "io.handfast.Command.NoAddress"
#define ERROR_TIMED_OUT "io.handfast.Command.TimedOut"
#define ERROR_DECLINED "io.handfast.Command.Declined"
#define ERROR_INTERRUPTED "io.handfast.Command.Interrupted"
#define ERROR_NEWER "io.handfast.Command.NewerFormat"
#define ERROR_NO_SUCH_INTERFACE "io.handfast.Command.NoSuchInterface"
#define ERROR_BAD_INTERFACE "io.handfast.Command.BadInterface"
#define ERROR_DEFAULT_ROUTE "io.handfast.Command.DefaultRoute"
#define ERROR_ADDRESS_CONFLICT "io.handfast.Command.AddressConflict"
#define ERROR_NO_MANAGER "io.handfast.Command.NoManager"
#define ERROR_OTHER_PROFILE "io.handfast.Command.OtherProfile"
#define ERROR_NOT_APPLIED "io.handfast.Command.NotApplied"
#define ERROR_REFUSED "io.handfast.Command.RestoreRefused"
#define ERROR_UNWELL "io.handfast.Command.Unwell"
#define ERROR_UNREACHABLE "io.handfast.Command.Unreachable"
#define ERROR_CERTIFICATE "io.handfast.Command.CertificateRefused"
#define ERROR_NO_LIBRARY "io.handfast.Command.NoLibrary"
#define ERROR_LOGIN_REFUSED "io.handfast.Command.LoginRefused"
#define ERROR_WRONG_PASSWORD "io.handfast.Command.WrongPassword"
#define ERROR_WRONG_SERVER "io.handfast.Command.WrongServer"
#define ERROR_TOO_MANY "io.handfast.Command.TooManyAttempts"
#define ERROR_NOT_LOGGED_IN "io.handfast.Command.NotLoggedIn"
#define ERROR_FUEL_LOW "io.handfast.Command.FuelLow"
#define ERROR_FUEL_EMPTY "io.handfast.Command.FuelEmpty"
#define ERROR_FUEL_UNKNOWN "io.handfast.Command.FuelUnknown"
#define ERROR_INTERNAL "io.handfast.Command.Internal"

struct failure {
	enum exit_code exit; /* EXIT_DONE: nothing failed */
	char code[96];
	char message[1024];
	char hint[512]; /* "" when there is none */
};

/* Fill *f; hint may be NULL. Returns the exit code. */
int failure_set(struct failure *f, enum exit_code exit, const char *code, const char *hint,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The exit code that belongs to a daemon's error. */
enum exit_code exit_code_for_error(const char *code);
