/* SPDX-License-Identifier: MIT */
/*
 * A shadow of a heap: for each block that the test holds, where it is, how
 * large, of which domain, and what it must contain. It drives random or
 * prescribed operations and finds lost, overlapping and damaged blocks,
 * because each block carries a pattern of its own in all its bytes.
 *
 * Knows neither cmocka nor libFuzzer: operations return false and leave what
 * is wrong in `error`. Used by tests/heap and tests/fuzz.
 */
#ifndef TESTS_HEAP_SHADOW_H
#define TESTS_HEAP_SHADOW_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "neve/heap.h"

typedef struct shadow_block {
    unsigned char *at; /* NULL: the slot is empty */
    size_t size;
    neve_domain domain;
    uint64_t stamp; /* what the pattern is made of; no two blocks have the same */
} shadow_block;

typedef struct shadow {
    neve_heap *heap;
    shadow_block *blocks;
    size_t slots;
    size_t live;
    uint64_t random;
    uint64_t next_stamp;
    uint64_t refused; /* allocations that returned NULL ... */
    bool may_refuse;  /* ... which is an error unless this is set */
    char error[200];
} shadow;

/* splitmix64 (Steele, Lea, Flood 2014): any seed will do, 0 included. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Below `limit`, which is not 0. */
static inline size_t random_below(uint64_t *state, size_t limit)
{
    return (size_t)(random_next(state) % limit);
}

/* Sizes as programs ask for them, with all the borders among them. */
static inline size_t random_size(uint64_t *state)
{
    size_t kind = random_below(state, 100);
    if (kind < 65)
        return 1 + random_below(state, NEVE_SMALL_MAX);
    if (kind < 80) /* one below, at or above the border of a class */
        return random_below(state, NEVE_SMALL_MAX / NEVE_GRANULE + 2) * NEVE_GRANULE +
               random_below(state, 3);
    if (kind < 93)
        return NEVE_SMALL_MAX + 1 + random_below(state, 4096);
    if (kind < 99)
        return random_below(state, 64 * 1024);
    return random_below(state, 400 * 1024);
}

/* A permutation of 0 .. count - 1. */
static inline void random_order(uint64_t *state, size_t *order, size_t count)
{
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    for (size_t i = count; i > 1; i--) {
        size_t j = random_below(state, i);
        size_t swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}

__attribute__((format(printf, 2, 3))) static inline bool shadow_error(shadow *s, const char *format,
                                                                      ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->error, sizeof s->error, format, arguments);
    va_end(arguments);
    return false;
}

static inline uint64_t pattern_word(uint64_t stamp, size_t index)
{
    return (stamp + index) * 0x9E3779B97F4A7C15u;
}

static inline void pattern_fill(unsigned char *at, size_t size, uint64_t stamp)
{
    size_t whole = size / sizeof(uint64_t);
    for (size_t i = 0; i < whole; i++) {
        uint64_t word = pattern_word(stamp, i);
        memcpy(at + i * sizeof word, &word, sizeof word);
    }
    uint64_t last = pattern_word(stamp, whole);
    memcpy(at + whole * sizeof last, &last, size - whole * sizeof last);
}

/* Whether the first `size` bytes are what pattern_fill wrote. */
static inline bool pattern_holds(const unsigned char *at, size_t size, uint64_t stamp)
{
    size_t whole = size / sizeof(uint64_t);
    for (size_t i = 0; i < whole; i++) {
        uint64_t word = pattern_word(stamp, i);
        if (memcmp(at + i * sizeof word, &word, sizeof word) != 0)
            return false;
    }
    uint64_t last = pattern_word(stamp, whole);
    return memcmp(at + whole * sizeof last, &last, size - whole * sizeof last) == 0;
}

static inline bool shadow_create(shadow *s, neve_heap *heap, size_t slots, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->heap = heap;
    s->slots = slots;
    s->random = seed;
    s->next_stamp = seed * 2654435761u;
    s->blocks = calloc(slots, sizeof *s->blocks);
    return s->blocks != NULL;
}

/* Forgets the blocks; those still allocated stay in the heap. */
static inline void shadow_destroy(shadow *s)
{
    free(s->blocks);
    s->blocks = NULL;
}

static inline bool shadow_verify_block(shadow *s, size_t slot)
{
    const shadow_block *b = &s->blocks[slot];
    if (b->at == NULL)
        return true;
    if (!pattern_holds(b->at, b->size, b->stamp))
        return shadow_error(s, "block of %zu bytes in domain %d is damaged", b->size,
                            (int)b->domain);
    if (!neve_heap_owns(s->heap, b->at))
        return shadow_error(s, "block of %zu bytes is not owned", b->size);
    if (neve_heap_usable_size(s->heap, b->at) < b->size)
        return shadow_error(s, "block of %zu bytes has usable size %zu", b->size,
                            neve_heap_usable_size(s->heap, b->at));
    return true;
}

static inline bool shadow_verify(shadow *s)
{
    for (size_t i = 0; i < s->slots; i++) {
        if (!shadow_verify_block(s, i))
            return false;
    }
    return true;
}

/* Enters what an allocation returned. */
static inline bool shadow_enter(shadow *s, size_t slot, void *block, size_t size,
                                neve_domain domain)
{
    shadow_block *b = &s->blocks[slot];
    if (block == NULL) {
        s->refused++;
        return s->may_refuse || shadow_error(s, "no memory for %zu bytes", size);
    }
    if ((uintptr_t)block % NEVE_GRANULE != 0)
        return shadow_error(s, "block of %zu bytes is misaligned", size);
    size_t usable = neve_heap_usable_size(s->heap, block);
    if (usable < size)
        return shadow_error(s, "block of %zu bytes has usable size %zu", size, usable);
    b->at = block;
    b->size = size;
    b->domain = domain;
    b->stamp = s->next_stamp;
    s->next_stamp += 0x10000001u; /* farther apart than a block has words */
    s->live++;
    pattern_fill(b->at, size, b->stamp);
    return true;
}

/* The slot is empty. */
static inline bool shadow_alloc(shadow *s, size_t slot, neve_domain domain, size_t size)
{
    return shadow_enter(s, slot, neve_heap_alloc(s->heap, domain, size), size, domain);
}

static inline bool shadow_calloc(shadow *s, size_t slot, neve_domain domain, size_t count,
                                 size_t size)
{
    unsigned char *block = neve_heap_calloc(s->heap, domain, count, size);
    if (block != NULL) {
        for (size_t i = 0; i < count * size; i++) {
            if (block[i] != 0)
                return shadow_error(s, "calloc of %zu bytes: byte %zu is not zero", count * size,
                                    i);
        }
    }
    return shadow_enter(s, slot, block, count * size, domain);
}

/* Frees with neve_heap_free, or neve_heap_try_free where `gently` says so. */
static inline bool shadow_free(shadow *s, size_t slot, bool gently)
{
    shadow_block *b = &s->blocks[slot];
    if (!shadow_verify_block(s, slot))
        return false;
    if (b->at == NULL)
        return true;
    void *block = b->at;
    b->at = NULL;
    s->live--;
    if (!gently)
        neve_heap_free(s->heap, block);
    else if (!neve_heap_try_free(s->heap, block))
        return shadow_error(s, "try_free denies a block of %zu bytes", b->size);
    return true;
}

static inline bool shadow_realloc(shadow *s, size_t slot, size_t size)
{
    shadow_block old = s->blocks[slot];
    if (old.at != NULL && !shadow_verify_block(s, slot))
        return false;
    unsigned char *block = neve_heap_realloc(s->heap, old.domain, old.at, size);
    if (block == NULL) { /* the old block must be as it was: shadow_verify will tell */
        s->refused++;
        return s->may_refuse || shadow_error(s, "no memory to resize to %zu bytes", size);
    }
    size_t common = size < old.size ? size : old.size;
    if (old.at != NULL && !pattern_holds(block, common, old.stamp))
        return shadow_error(s, "realloc from %zu to %zu bytes lost the contents", old.size, size);
    if (old.at != NULL)
        s->live--;
    return shadow_enter(s, slot, block, size, old.domain);
}

static inline bool shadow_free_all(shadow *s)
{
    for (size_t i = 0; i < s->slots; i++) {
        if (!shadow_free(s, i, false))
            return false;
    }
    return true;
}

/* One random operation on a random slot. */
static inline bool shadow_step(shadow *s)
{
    size_t slot = random_below(&s->random, s->slots);
    size_t kind = random_below(&s->random, 100);
    neve_domain domain = (neve_domain)random_below(&s->random, NEVE_DOMAINS);
    if (s->blocks[slot].at == NULL) {
        size_t size = random_size(&s->random);
        if (kind < 70)
            return shadow_alloc(s, slot, domain, size);
        if (kind < 85)
            return shadow_calloc(s, slot, domain, 1 + size % 7, size / (1 + size % 7));
        s->blocks[slot].domain = domain;
        s->blocks[slot].size = 0;
        return shadow_realloc(s, slot, size);
    }
    if (kind < 50)
        return shadow_free(s, slot, false);
    if (kind < 60)
        return shadow_free(s, slot, true);
    if (kind < 90)
        return shadow_realloc(s, slot, random_size(&s->random));
    return shadow_verify_block(s, slot);
}

/* Whether the heap's statistics name exactly the shadow's blocks. */
static inline bool shadow_check_stats(shadow *s)
{
    size_t small_blocks[NEVE_DOMAINS] = {0}, small_bytes[NEVE_DOMAINS] = {0};
    size_t large_blocks = 0, large_bytes = 0;
    for (size_t i = 0; i < s->slots; i++) {
        const shadow_block *b = &s->blocks[i];
        if (b->at == NULL)
            continue;
        size_t usable = neve_heap_usable_size(s->heap, b->at);
        if (usable > NEVE_SMALL_MAX) {
            large_blocks++;
            large_bytes += b->size;
        } else {
            small_blocks[b->domain]++;
            small_bytes[b->domain] += usable;
        }
    }
    neve_heap_stats stats;
    neve_heap_get_stats(s->heap, &stats);
    for (size_t d = 0; d < NEVE_DOMAINS; d++) {
        if (stats.small_blocks[d] != small_blocks[d])
            return shadow_error(s, "domain %zu: %zu small blocks, statistics say %zu", d,
                                small_blocks[d], stats.small_blocks[d]);
        if (stats.small_bytes[d] != small_bytes[d])
            return shadow_error(s, "domain %zu: %zu small bytes, statistics say %zu", d,
                                small_bytes[d], stats.small_bytes[d]);
    }
    if (stats.large_blocks != large_blocks)
        return shadow_error(s, "%zu large blocks, statistics say %zu", large_blocks,
                            stats.large_blocks);
    if (stats.large_bytes != large_bytes)
        return shadow_error(s, "%zu large bytes, statistics say %zu", large_bytes,
                            stats.large_bytes);
    return true;
}

/* neve_heap_check, its finding as the shadow's error. */
static inline bool shadow_check_heap(shadow *s)
{
    char message[160];
    neve_status status = neve_heap_check(s->heap, message, sizeof message);
    return status == NEVE_OK || shadow_error(s, "neve_heap_check: %s", message);
}

#endif
