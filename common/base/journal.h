/* Reading the journal, for who looks after a machine. Writing to it is log.h's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * The newest message of a unit's processes ("pskd.service"), cleaned (text_clean()), into out. False when there
 * is none, or the journal cannot be read: root and the group systemd-journal may.
 */
bool journal_last_message(const char *unit, char *out, size_t cap);
