#include "pskd/tunnel/close_many.h"

#include <unistd.h>

#include "pskd/tunnel/together.h"

static void close_one(size_t i, void *arg)
{
	const int *fds = arg;

	if (fds[i] >= 0)
		close(fds[i]);
}

void close_many(const int *fds, size_t n)
{
	together(n, close_one, (void *)fds);
}
