/* Tells when the machine slept: what was agreed with others before may not hold any more. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct loop;
struct wake;

/*
 * fn(slept_ms, arg) comes from the loop after the machine slept for two seconds
 * or more. The kernel tells at once; where it does not, wake_check() finds out.
 * 0 or a negative errno.
 */
int wake_new(struct wake **out, struct loop *l, void (*fn)(uint64_t slept_ms, void *arg), void *arg);
/* For whoever is awake anyway: two clocks are read. True when it slept, and fn is to come, not from inside. */
bool wake_check(struct wake *w);
struct wake *wake_free(struct wake *w);
DEFINE_CLEANUP(struct wake *, wake_free);
