/* What `handfast selfcheck` runs must pass here, too. */
#include "crypto/selfcheck.h"

#include <stdio.h>
#include <string.h>

#include "unit/lib/test.h"

static int n_seen;

static void seen(const struct selfcheck_result *r, void *arg)
{
	if (!r->ok)
		test_fail(__FILE__, __LINE__, "%s (%s)", r->name, r->source);
	CHECK(r->name && r->source && arg == &n_seen);
	n_seen++;
}

TEST(selfcheck_passes_and_reports_each_check)
{
	CHECK_EQ(selfcheck_run(seen, &n_seen), 0);
	CHECK_EQ(n_seen, 14);
}
