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
#include <string.h>

#include <cmocka.h>

/* Tools under which there is no such child; everything else here would only show
 * what the incremental mode shows. */
static bool has_children(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded == NULL || strstr(preloaded, "vgpreload") == NULL)
        return true;
    print_message("valgrind knows no clone that shares the table of files and nothing else\n");
    return false;
}

#endif
