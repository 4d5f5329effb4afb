/* SPDX-License-Identifier: MIT */
/*
 * What a program does that was built against an installed copy, in C and in C++: it
 * compares versions, makes a garbage cycle, and has it collected. Prints one line.
 */
#ifndef NEVE_TESTS_INSTALL_PROGRAM_H
#define NEVE_TESTS_INSTALL_PROGRAM_H

#include <neve.h>
#include <neve/host.h>

#include <stdio.h>
#include <string.h>

typedef struct link_object {
    neve_object base;
    neve_object *next;
} link_object;

static void link_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    link_object *self = (link_object *)object;
    (void)cursor;
    if (self->next != NULL)
        (void)visit(self->next, arg);
}

static void link_clear(neve_runtime *runtime, neve_object *object)
{
    neve_clear_slot(runtime, &((link_object *)object)->next);
}

static int run_program(const char *language)
{
    neve_type type;
    memset(&type, 0, sizeof type);
    type.name = "link";
    type.size = sizeof(link_object);
    type.flags = NEVE_TYPE_CONTAINER;
    type.traverse = link_traverse;
    type.clear = link_clear;

    neve_runtime *runtime;
    if (neve_runtime_create(NULL, &runtime) != NEVE_OK)
        return 1;
    link_object *a = (link_object *)neve_object_new(runtime, &type);
    link_object *b = (link_object *)neve_object_new(runtime, &type);
    if (a == NULL || b == NULL)
        return 1;
    a->next = &b->base;
    b->next = &a->base;

    neve_collection result;
    if (neve_collect(neve_runtime_collector(runtime), NEVE_GENERATIONS - 1, &result) != NEVE_OK)
        return 1;
    neve_poll(neve_runtime_collector(runtime),
              neve_collector_breaker(neve_runtime_collector(runtime)));
    printf("%s: neve %s, headers %s, collected %u\n", language, neve_version(), NEVE_VERSION,
           (unsigned)result.collected);
    neve_runtime_destroy(runtime);
    return strcmp(neve_version(), NEVE_VERSION) == 0 &&
                   NEVE_VERSION_NUMBER >= NEVE_VERSION_MAKE(0, 1, 0)
               ? 0
               : 1;
}

#endif
