/*
 * Secrets live in one arena: address space reserved once between guard
 * pages, committed in steps, each step locked and kept out of core dumps
 * before anything is written to it. Small secrets share a frame of their size
 * class, because RLIMIT_MEMLOCK is often 8 MiB and a guarded mapping for each
 * 32-byte key would spend it on a few hundred. Whatever is free is zero.
 *
 * The bookkeeping is outside of the arena, so that it survives the wiping of
 * the arena in a child, and so that an overrun of a secret cannot reach it.
 */
#include "crypto/secret.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <sodium.h>

enum {
	FRAME_LEN = 4096,
	FRAMES = 16384,		/* 64 MiB of address space, for a thousand tunnels; RLIMIT_MEMLOCK allows less */
	STEP_LEN = 64 * 1024,	/* committed at once; a multiple of every page size */
	GUARD_LEN = 64 * 1024,
	SLOT_MIN_SHIFT = 5,	/* 32 bytes */
	SLOT_MAX_SHIFT = 12,	/* a whole frame */
	SLOTS_MAX = FRAME_LEN >> SLOT_MIN_SHIFT,
};

struct frame {
	/* 0: free; a shift: slots of that size; FRAME_RUN: part of a larger secret */
	uint8_t shift;
	uint8_t n_used;
	uint64_t used[SLOTS_MAX / 64];
};

#define FRAME_RUN 0xff

static struct {
	pthread_mutex_t lock;
	uint8_t *base; /* first frame; NULL until reserved */
	size_t n_committed;
	/* No frame before is free, or of that size with room: thousands of secrets are not walked for each new one. */
	size_t free_from, room_from[SLOT_MAX_SHIFT + 1];
	struct frame frames[FRAMES];
} arena = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct secret {
	uint8_t *bytes;
	size_t len;
};

static int arena_reserve(void)
{
	const size_t len = (size_t)FRAMES * FRAME_LEN + 2 * (size_t)GUARD_LEN;
	uint8_t *p;

	p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	arena.base = p + GUARD_LEN;
	return 0;
}

/* Make the next STEP_LEN of the arena usable. */
static int arena_commit(void)
{
	uint8_t *p;
	int r;

	if (!arena.base) {
		r = arena_reserve();
		if (r)
			return r;
	}
	if (arena.n_committed == FRAMES)
		return -ENOMEM;

	p = arena.base + arena.n_committed * FRAME_LEN;
	if (mprotect(p, STEP_LEN, PROT_READ | PROT_WRITE) < 0 ||
	    madvise(p, STEP_LEN, MADV_DONTDUMP) < 0 || mlock(p, STEP_LEN) < 0) {
		r = -errno;
		mprotect(p, STEP_LEN, PROT_NONE);
		return r;
	}
	/* A second line, which not every sandbox offers: children have no use for secrets. */
	(void)madvise(p, STEP_LEN, MADV_WIPEONFORK);

	arena.n_committed += STEP_LEN / FRAME_LEN;
	return 0;
}

static uint8_t shift_for(size_t len)
{
	uint8_t shift = SLOT_MIN_SHIFT;

	while (((size_t)1 << shift) < len)
		shift++;
	return shift;
}

static uint8_t *frame_take_slot(struct frame *f)
{
	size_t n_slots = (size_t)FRAME_LEN >> f->shift;

	for (size_t i = 0; i < n_slots; i++) {
		uint64_t bit = (uint64_t)1 << (i % 64);

		if (f->used[i / 64] & bit)
			continue;
		f->used[i / 64] |= bit;
		f->n_used++;
		return arena.base + (size_t)(f - arena.frames) * FRAME_LEN + (i << f->shift);
	}
	return NULL;
}

static size_t next_free(void)
{
	while (arena.free_from < arena.n_committed && arena.frames[arena.free_from].shift)
		arena.free_from++;
	return arena.free_from;
}

static uint8_t *take_slot(uint8_t shift)
{
	size_t *at = &arena.room_from[shift];

	/* One that holds a single secret is never half used. */
	for (; shift < SLOT_MAX_SHIFT && *at < arena.n_committed; (*at)++) {
		struct frame *f = &arena.frames[*at];

		if (f->shift == shift && f->n_used < FRAME_LEN >> shift)
			return frame_take_slot(f);
	}
	*at = next_free();
	if (*at == arena.n_committed)
		return NULL;
	arena.frames[*at].shift = shift;
	return frame_take_slot(&arena.frames[*at]);
}

/* Neighbouring free frames, for what is larger than one. */
static uint8_t *take_run(size_t n)
{
	size_t run = 0;

	for (size_t i = next_free(); i < arena.n_committed; i++) {
		run = arena.frames[i].shift ? 0 : run + 1;
		if (run < n)
			continue;
		for (size_t j = i + 1 - n; j <= i; j++)
			arena.frames[j].shift = FRAME_RUN;
		return arena.base + (i + 1 - n) * FRAME_LEN;
	}
	return NULL;
}

static uint8_t *arena_take(size_t len)
{
	uint8_t *p = NULL;

	if (len > (size_t)FRAMES * FRAME_LEN)
		return NULL;

	pthread_mutex_lock(&arena.lock);
	do
		p = len > FRAME_LEN ? take_run((len + FRAME_LEN - 1) / FRAME_LEN) :
				      take_slot(shift_for(len));
	while (!p && arena_commit() == 0);
	pthread_mutex_unlock(&arena.lock);
	return p;
}

static void came_free(size_t frame)
{
	if (frame < arena.free_from)
		arena.free_from = frame;
}

static void arena_give(uint8_t *p, size_t len)
{
	size_t at = (size_t)(p - arena.base);
	struct frame *f = &arena.frames[at / FRAME_LEN];

	sodium_memzero(p, len);
	pthread_mutex_lock(&arena.lock);
	if (f->shift == FRAME_RUN) {
		came_free(at / FRAME_LEN);
		for (size_t n = (len + FRAME_LEN - 1) / FRAME_LEN; n > 0; n--, f++)
			f->shift = 0;
	} else {
		size_t i = (at % FRAME_LEN) >> f->shift;

		f->used[i / 64] &= ~((uint64_t)1 << (i % 64));
		if (at / FRAME_LEN < arena.room_from[f->shift])
			arena.room_from[f->shift] = at / FRAME_LEN;
		if (--f->n_used == 0) {
			f->shift = 0;
			came_free(at / FRAME_LEN);
		}
	}
	pthread_mutex_unlock(&arena.lock);
}

int crypto_init(void)
{
	int r = 0;

	if (sodium_init() < 0)
		return -EIO;
	pthread_mutex_lock(&arena.lock);
	if (arena.n_committed == 0)
		r = arena_commit();
	pthread_mutex_unlock(&arena.lock);
	return r;
}

int secret_new(struct secret **out, size_t len, uint8_t **bytes)
{
	struct secret *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->len = len;
	s->bytes = arena_take(len);
	if (!s->bytes) {
		free(s);
		return -ENOMEM;
	}
	*bytes = s->bytes;
	*out = s;
	return 0;
}

int secret_take(struct secret **out, uint8_t *src, size_t len)
{
	uint8_t *bytes;
	int r;

	r = secret_new(out, len, &bytes);
	if (r)
		return r;
	if (len > 0) {
		memcpy(bytes, src, len);
		wipe(src, len);
	}
	return 0;
}

int secret_random(struct secret **out, size_t len)
{
	uint8_t *bytes;
	int r;

	r = secret_new(out, len, &bytes);
	if (r)
		return r;
	random_bytes(bytes, len);
	return 0;
}

int secret_dup(struct secret **out, const struct secret *s)
{
	uint8_t *bytes;
	int r;

	r = secret_new(out, s->len, &bytes);
	if (r)
		return r;
	memcpy(bytes, s->bytes, s->len);
	return 0;
}

const uint8_t *secret_bytes(const struct secret *s)
{
	return s->bytes;
}

size_t secret_len(const struct secret *s)
{
	return s->len;
}

bool secret_equal(const struct secret *s, const uint8_t *other, size_t len)
{
	return s->len == len && bytes_equal(s->bytes, other, len);
}

struct secret *secret_free(struct secret *s)
{
	if (!s)
		return NULL;
	arena_give(s->bytes, s->len);
	free(s);
	return NULL;
}

/*
 * sodium_memcmp() goes byte by byte through volatile pointers, and of two tags a packet that was a thirtieth of
 * what receiving costs. The compiler does not know what the empty lines leave in diff, so that it can
 * neither stop early nor decide before the end.
 */
bool bytes_equal(const void *a, const void *b, size_t len)
{
	const uint8_t *x = a, *y = b;
	uint64_t diff = 0;

	for (; len >= sizeof(diff); x += sizeof(diff), y += sizeof(diff), len -= sizeof(diff)) {
		uint64_t v, w;

		memcpy(&v, x, sizeof(v));
		memcpy(&w, y, sizeof(w));
		diff |= v ^ w;
		__asm__("" : "+r"(diff));
	}
	for (; len > 0; x++, y++, len--) {
		diff |= (uint64_t)(*x ^ *y);
		__asm__("" : "+r"(diff));
	}
	return diff == 0;
}

void random_bytes(void *out, size_t len)
{
	randombytes_buf(out, len);
}

/* libsodium asks for 256 bytes at a time, which for a GiB is most of the work. */
int random_bulk(void *out, size_t len)
{
	uint8_t *p = out;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

uint32_t random_below(uint32_t bound)
{
	assert(bound > 0);
	return randombytes_uniform(bound);
}

void wipe(void *p, size_t len)
{
	sodium_memzero(p, len);
}
