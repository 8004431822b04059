/* Each of many is done once, by several threads where there are some. */
#include "pskd/tunnel/together.h"

#include <semaphore.h>
#include <time.h>

#include "unit/lib/test.h"

enum { N = 500 };

static _Atomic unsigned int done[N + 1];
static sem_t first, second;

static void do_one(size_t i, void *arg)
{
	CHECK(arg == done);
	done[i]++;
}

TEST(each_is_done_once)
{
	static const size_t counts[] = { 0, 1, 2, N };

	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		for (size_t i = 0; i <= N; i++)
			done[i] = 0;
		together(counts[c], do_one, done);
		for (size_t i = 0; i <= N; i++)
			CHECK_EQ(done[i], i < counts[c]);
	}
}

/* Each waits for the other. */
static void meet(size_t i, void *arg)
{
	struct timespec until;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	sem_post(i == 0 ? &first : &second);
	CHECK_EQ(sem_timedwait(i == 0 ? &second : &first, &until), 0);
}

TEST(one_that_waits_holds_up_no_other)
{
	CHECK_EQ(sem_init(&first, 0, 0), 0);
	CHECK_EQ(sem_init(&second, 0, 0), 0);
	together(2, meet, NULL);
}
