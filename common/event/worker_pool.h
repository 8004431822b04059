/* The threads behind worker_start(), for loop.c: made with the first work, ended with the loop. */
#pragma once

struct loop;
struct worker_pool;

/* Where the loop keeps its pool (NULL until there was work). */
struct worker_pool **loop_worker_pool(struct loop *l);

/* Wait for what runs, call every done with cancelled = true, end the threads. NULL is fine. */
void worker_pool_free(struct worker_pool *p);
