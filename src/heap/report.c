/* SPDX-License-Identifier: MIT */
/*
 * Reporting of damage: what debug assertions and the heap's own tests find.
 */
#include "heap_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Printing without stdio: the process may be short of everything. */
static void write_line(const char *a, const char *b)
{
    char line[512];
    int length = snprintf(line, sizeof line, "neve: %s%s\n", a, b);
    if (length > (int)sizeof line - 1)
        length = (int)sizeof line - 1;
    ssize_t written = write(STDERR_FILENO, line, (size_t)length);
    (void)written;
}

_Noreturn void nv_assert_failed(const char *what, const char *file, int line)
{
    char place[256];
    snprintf(place, sizeof place, " (%s:%d)", file, line);
    write_line(what, place);
    abort();
}

void nv_corrupt(const neve_heap *heap, const char *message)
{
    if (heap->on_corruption != NULL)
        heap->on_corruption(heap->on_corruption_ctx, message);
    else
        write_line("corruption: ", message);
    abort();
}
