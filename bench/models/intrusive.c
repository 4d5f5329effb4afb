/* SPDX-License-Identifier: MIT */
/*
 * Builds and collects a heap of lists with their heads in front.
 */
#include "intrusive.h"

#include <stddef.h>
#include <stdlib.h>

void *intrusive_build(const layout_plan *plan, bool has_own_pages)
{
    size_t lists_bytes = plan->lists * region_rounded(sizeof(headed_list));
    intrusive_world *w = calloc(1, sizeof *w);
    if (w == NULL || (w->lists = calloc(plan->lists, sizeof *w->lists)) == NULL ||
        (w->strings = calloc(plan->strings + 1, sizeof *w->strings)) == NULL ||
        !region_open(&w->mixed, lists_bytes + plan->strings * sizeof(text)) ||
        !region_open(&w->apart, lists_bytes))
        return NULL;
    w->plan = *plan;
    head_empty(&w->all);
    uint64_t random = 42;
    region *from = has_own_pages ? &w->apart : &w->mixed;
    size_t strings = 0, bytes = 0;
    for (size_t i = 0; i < plan->lists; i++) {
        const char *before = from->at;
        headed_list *made = region_take(from, sizeof *made);
        bytes += (size_t)(from->at - before);
        made->list.count = 1; /* from outside */
        if (i > 0) {
            made->list.refers_to = &w->lists[layout_random(&random, i)]->list;
            made->list.refers_to->count++;
        }
        head_append(&w->all, &made->head);
        w->lists[i] = made;
        for (; strings < layout_strings_before(plan, i + 1); strings++) {
            w->strings[strings] = region_take(&w->mixed, sizeof(text));
            w->strings[strings]->count = 1;
        }
    }
    w->list_bytes = (double)bytes / (double)plan->lists;
    return w;
}

double intrusive_list_bytes(const void *world)
{
    return ((const intrusive_world *)world)->list_bytes;
}

static inline head *head_of(list *l)
{
    return &((headed_list *)(void *)((char *)l - offsetof(headed_list, list)))->head;
}

static inline list *list_of(head *h)
{
    return &((headed_list *)(void *)h)->list;
}

bool intrusive_collect(void *world)
{
    return collect_linked(&((intrusive_world *)world)->all, head_of, list_of) == 0;
}
