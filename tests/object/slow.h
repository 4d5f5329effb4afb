/* SPDX-License-Identifier: MIT */
/*
 * Whether this test program runs where every instruction is dear. For test
 * programs and what they include.
 */
#ifndef NEVE_TESTS_OBJECT_SLOW_H
#define NEVE_TESTS_OBJECT_SLOW_H

#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

/* Where every instruction is dear: sanitizers, valgrind, collections at each
 * safe point. Tests with large sizes shrink them then. */
static inline bool is_slow(void)
{
    const char *quick = getenv("NEVE_TEST_QUICK");
    return IS_SANITIZED || (quick != NULL && quick[0] != '\0' && quick[0] != '0');
}

#endif
