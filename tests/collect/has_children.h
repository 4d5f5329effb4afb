/* SPDX-License-Identifier: MIT */
/*
 * Whether the snapshot mode can be tested here. (Address, undefined and thread sanitizer
 * have nothing against its child.)
 */
#ifndef NEVE_TESTS_HAS_CHILDREN_H
#define NEVE_TESTS_HAS_CHILDREN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "heap/memory.h"

/* Tools under which there is no such child; everything else here would only show
 * what the incremental mode shows. */
static bool has_children(void)
{
    if (!is_emulated())
        return true;
    print_message("# skipped: %s knows no clone that shares the table of files and nothing else\n",
                  runs_under_valgrind() ? "valgrind" : getenv("NEVE_TEST_EMULATOR"));
    return false;
}

#endif
