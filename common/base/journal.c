#include "base/journal.h"

#include <stdio.h>
#include <string.h>

#include <systemd/sd-journal.h>

#include "base/text.h"

bool journal_last_message(const char *unit, char *out, size_t cap)
{
	const size_t name_len = strlen("MESSAGE=");
	sd_journal *j = NULL;
	const void *data;
	char match[300];
	size_t len;
	bool found = false;

	snprintf(match, sizeof(match), "_SYSTEMD_UNIT=%.255s", unit);
	if (sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY) < 0)
		return false;
	if (sd_journal_add_match(j, match, 0) >= 0 && sd_journal_seek_tail(j) >= 0 && sd_journal_previous(j) > 0 &&
	    sd_journal_get_data(j, "MESSAGE", &data, &len) >= 0 && len > name_len) {
		text_clean(out, cap, (const char *)data + name_len, len - name_len);
		found = true;
	}
	sd_journal_close(j);
	return found;
}
