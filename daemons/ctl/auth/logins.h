/*
 * The logins of this user: $XDG_STATE_HOME/handfast/logins (~/.local/state/…), a file of mode
 * 0600 each. The key that signs lies in the kernel's keyring of the user, where there is one, and
 * ends with the session there; else beside the file, 0600, too.
 */
#pragma once

#include <stdbool.h>

#include "ctl/failure.h"

struct auth_session;
struct auth_url;

enum login_key { LOGIN_KEY_ANY, LOGIN_KEY_KEYRING, LOGIN_KEY_FILE };

/* Whether a login could be kept: before a password is asked for. EXIT_DONE, or an exit code with *f filled. */
int logins_check(enum login_key where, struct failure *f);

/*
 * Keep it, in place of an earlier one of the same server and user, which stays whole until this one is on disk. ANY:
 * the keyring where there is one. *earlier is that one, which the caller frees, when it can still sign; else NULL.
 */
int logins_save(const struct auth_session *s, enum login_key where, struct auth_session **earlier, struct failure *f);

/*
 * The login at this server (scheme and authority; the prefix, too, when there is one); user NULL: the
 * only one there. With its key. EXIT_DONE with *out, which the caller frees; EXIT_NO_SUCH when
 * there is none, it has expired, or its key is gone.
 */
int logins_find(struct auth_session **out, const struct auth_url *url, const char *user, struct failure *f);

/* The same, to be forgotten: with a key where there is one, and one that has expired where there is no other. */
int logins_look(struct auth_session **out, const struct auth_url *url, const char *user, struct failure *f);

/* Whether it is over by this machine's clock. */
bool login_is_expired(const struct auth_session *s);

/* Forget it here: file and key. */
void logins_forget(const struct auth_session *s);

/* Forget those that have been over for a day: until then, asking for one says that it has expired. */
void logins_tidy(void);

/*
 * Each one that can be read, without its key, in order of server and user; has_key says whether
 * that is to be had. EXIT_DONE, also where there is none.
 */
int logins_each(void (*fn)(const struct auth_session *s, enum login_key where, bool has_key, void *arg), void *arg,
		struct failure *f);
