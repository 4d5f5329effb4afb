/* SPDX-License-Identifier: MIT */
/*
 * How many bytes the program holds in large blocks.
 *
 * Large blocks are the system's malloc's, which does not tell their sizes when they are
 * freed. So the sizes of those from LARGE_BYTES on, which are few and dear to allocate in
 * any case, are noted in a hash table by address, with linear probing. A block that could
 * not be noted, for want of memory, is not counted.
 *
 * The child of a fork begins anew, with an empty table: what matters is growth, and the
 * inherited pages of the table are not to be written.
 *
 * Under the GIL of the interpreter that Neve is installed in; what other interpreters
 * allocate is not counted (allocator.c asks).
 */
#include "neve_python.h"

#include <stdlib.h>
#include <string.h>

typedef struct noted {
    void *block; /* NULL: an empty slot */
    size_t size;
} noted;

static struct {
    noted *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t bytes;
    size_t alarm; /* so many bytes make the collector look; SIZE_MAX: none do */
} large = {.alarm = SIZE_MAX};

size_t nvpy_large_count;

/* After an alarm, the next one is at least so far away. */
#define ALARM_STEP ((size_t)1 << 20)
#define FIRST_CAPACITY 256

static size_t home_of(const void *block)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)block >> 4) * 0x9e3779b97f4a7c15u;
    return (size_t)(mixed >> 32) & (large.capacity - 1);
}

static size_t find(const void *block)
{
    size_t i = home_of(block);
    while (large.slots[i].block != NULL && large.slots[i].block != block)
        i = (i + 1) & (large.capacity - 1);
    return i;
}

static bool grow(void)
{
    size_t capacity = large.capacity, wanted = capacity == 0 ? FIRST_CAPACITY : 2 * capacity;
    noted *old = large.slots, *slots = calloc(wanted, sizeof *slots);
    if (slots == NULL)
        return false;
    large.slots = slots;
    large.capacity = wanted;
    for (size_t i = 0; i < capacity; i++)
        if (old[i].block != NULL)
            large.slots[find(old[i].block)] = old[i];
    free(old);
    return true;
}

void nvpy_large_note(void *block, size_t size)
{
    if (2 * nvpy_large_count >= large.capacity && !grow())
        return;
    noted *slot = &large.slots[find(block)];
    if (slot->block != NULL)
        large.bytes -= slot->size; /* it was freed behind our back */
    else
        nvpy_large_count++;
    *slot = (noted){block, size};
    large.bytes += size;
    if (large.bytes >= large.alarm) {
        size_t left = nvpy_takeover_look();
        nvpy_large_set_alarm(left > ALARM_STEP ? left : ALARM_STEP);
    }
}

void nvpy_large_forget(const void *block)
{
    if (nvpy_large_count == 0)
        return;
    size_t hole = find(block), mask = large.capacity - 1;
    if (large.slots[hole].block == NULL)
        return;
    nvpy_large_count--;
    large.bytes -= large.slots[hole].size;
    for (size_t i = (hole + 1) & mask; large.slots[i].block != NULL; i = (i + 1) & mask) {
        /* It may move into the hole unless its home lies behind that. */
        size_t home = home_of(large.slots[i].block);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            large.slots[hole] = large.slots[i];
            hole = i;
        }
    }
    large.slots[hole] = (noted){NULL, 0};
}

void nvpy_large_after_fork_child(void)
{
    large.slots = NULL; /* shared with the parent, and not to be written */
    large.capacity = 0;
    nvpy_large_count = 0;
    size_t left = large.alarm == SIZE_MAX ? SIZE_MAX : large.alarm - large.bytes;
    large.bytes = 0;
    nvpy_large_set_alarm(left);
}

size_t nvpy_large_bytes(void)
{
    return large.bytes;
}

void nvpy_large_set_alarm(size_t left)
{
    large.alarm = left < SIZE_MAX - large.bytes ? large.bytes + left : SIZE_MAX;
}
