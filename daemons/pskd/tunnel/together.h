/* Many small things that each wait for the kernel, done by several threads at once. */
#pragma once

#include <stddef.h>

/*
 * Call fn(i, arg) once for each i below n, in any order and from several threads, the caller's among them: without
 * any other it does all. Returns when all are done.
 */
void together(size_t n, void (*fn)(size_t i, void *arg), void *arg);
