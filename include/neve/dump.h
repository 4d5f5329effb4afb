/* SPDX-License-Identifier: MIT */
/*
 * Looking at all objects of a runtime: a walk, a census by type, and a dump that other
 * programs read.
 *
 * All of them see each object that is alive, containers and leaves, but not those that
 * are being disposed of or that a collection has proved dead. They change nothing and
 * allocate nothing from the heap; their functions must neither allocate, release nor
 * collect. Locking and thread state: as the runtime's. To dump without a pause, fork
 * (neve_runtime_after_fork_child), and dump in the child.
 */
#ifndef NEVE_DUMP_H
#define NEVE_DUMP_H

#include "object.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Calls `visit` for each object, in no order; ends early when it returns non-zero, and
 * returns that value. Cost: the heap is walked once. */
NEVE_API int neve_runtime_walk(const neve_runtime *runtime, neve_visit_fn visit, void *arg);

typedef struct neve_census_row {
    const neve_type *type;
    size_t objects;
    size_t bytes; /* of their blocks, as far as the heap gave them out */
} neve_census_row;

/* Calls `take` for each type that has objects, the one with the most bytes first. Cost:
 * a walk, and some 50 bytes of the C library's memory for each type. NEVE_ENOMEM. */
NEVE_API neve_status neve_runtime_census(const neve_runtime *runtime,
                                         void (*take)(void *ctx, const neve_census_row *row),
                                         void *ctx);

/* Takes a piece of text, which no NUL ends; false: it could not be written. */
typedef bool (*neve_write_fn)(void *ctx, const char *text, size_t length);

/* Writes the runtime's objects with their references: JSON, an object a line, ASCII;
 * docs/objects.md describes the lines. Cost: two walks, and a traversal of every container.
 * NEVE_EBUSY inside a collection, NEVE_ENOMEM as above; NEVE_EIO: `write` returned false,
 * and was not called again. */
NEVE_API neve_status neve_runtime_dump(neve_runtime *runtime, neve_write_fn write, void *ctx);
/* The same to a file descriptor, which stays open; NEVE_EIO: see errno. */
NEVE_API neve_status neve_runtime_dump_fd(neve_runtime *runtime, int fd);

#ifdef __cplusplus
}
#endif
#endif
