/* SPDX-License-Identifier: MIT */
/*
 * What every public header needs: export marks, status codes, the version.
 *
 * Conventions of the whole library:
 *   - a function that can fail returns `neve_status` and puts its result into
 *     an out-parameter; functions that allocate memory for the caller's
 *     objects return NULL instead, as malloc does;
 *   - nothing is global: every function works on the heap, collector or
 *     runtime that it is given, and each of those belongs to one lock domain
 *     (one thread, or all threads that hold one lock);
 *   - sizes are in bytes unless the name says otherwise, times in nanoseconds.
 */
#ifndef NEVE_BASE_H
#define NEVE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "neve/version.h"

#if defined(__GNUC__)
#define NEVE_API __attribute__((visibility("default")))
#define NEVE_LIKELY(x) __builtin_expect(!!(x), 1)
#define NEVE_UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define NEVE_API
#define NEVE_LIKELY(x) (x)
#define NEVE_UNLIKELY(x) (x)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The one table of status codes: X(name, number, message). */
#define NEVE_STATUS_MAP(X)                                                                         \
    X(OK, 0, "success")                                                                            \
    X(ENOMEM, 1, "the system refused memory")                                                      \
    X(EINVAL, 2, "an argument is out of its range")                                                \
    X(EBUSY, 3, "a collection is under way")                                                       \
    X(EUNSUPPORTED, 4, "this host or system does not support the request")                         \
    X(ECORRUPT, 5, "a structure of the heap or an object is damaged")                              \
    X(EIO, 6, "the output could not be written")

typedef enum neve_status {
#define NEVE_STATUS_ENUM(name, number, message) NEVE_##name = number,
    NEVE_STATUS_MAP(NEVE_STATUS_ENUM)
#undef NEVE_STATUS_ENUM
} neve_status;

/* The code's name ("NEVE_ENOMEM") and what it means, as static strings; an
 * unknown number gives "NEVE_UNKNOWN" and "unknown status". */
NEVE_API const char *neve_status_name(neve_status status);
NEVE_API const char *neve_status_message(neve_status status);

/* The version of the library that is running, "major.minor.patch", as a static string;
 * NEVE_VERSION is that of the headers that the caller was compiled with. */
NEVE_API const char *neve_version(void);

#ifdef __cplusplus
}
#endif
#endif
