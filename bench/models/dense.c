/* SPDX-License-Identifier: MIT */
/*
 * Heads side by side in an array of their own, and in front of each list a pointer to its head. A
 * collection writes the array alone. Head and list need to find each other: that is a pointer each,
 * 16 bytes for each list that there is, in every process of every program.
 */
#include "linked.h"
#include "region.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct dense_head {
    head head;
    list *of;
} dense_head;

typedef struct pointing_list {
    dense_head *where;
    list list;
} pointing_list;

typedef struct dense_world {
    region mixed, heads;
    head all;
    double list_bytes;
} dense_world;

static void *build(const layout_plan *plan)
{
    size_t each = region_rounded(sizeof(pointing_list));
    dense_world *w = calloc(1, sizeof *w);
    list **lists = calloc(plan->lists, sizeof *lists);
    if (w == NULL || lists == NULL ||
        !region_open(&w->mixed, plan->lists * each + plan->strings * sizeof(text)) ||
        !region_open(&w->heads, plan->lists * region_rounded(sizeof(dense_head))))
        return NULL;
    head_empty(&w->all);
    uint64_t random = 42;
    size_t strings = 0, bytes = 0;
    for (size_t i = 0; i < plan->lists; i++) {
        const char *before = w->mixed.at;
        pointing_list *made = region_take(&w->mixed, sizeof *made);
        bytes += (size_t)(w->mixed.at - before);
        made->where = region_take(&w->heads, sizeof(dense_head));
        made->where->of = &made->list;
        made->list.count = 1; /* from outside */
        if (i > 0) {
            made->list.refers_to = lists[layout_random(&random, i)];
            made->list.refers_to->count++;
        }
        head_append(&w->all, &made->where->head);
        lists[i] = &made->list;
        for (; strings < layout_strings_before(plan, i + 1); strings++)
            ((text *)region_take(&w->mixed, sizeof(text)))->count = 1;
    }
    bytes += (size_t)(w->heads.at - w->heads.start);
    w->list_bytes = (double)bytes / (double)plan->lists;
    return w;
}

static double list_bytes(const void *world)
{
    return ((const dense_world *)world)->list_bytes;
}

static inline head *head_of(list *l)
{
    return &((pointing_list *)(void *)((char *)l - offsetof(pointing_list, list)))->where->head;
}

static inline list *list_of(head *h)
{
    return ((dense_head *)(void *)h)->of;
}

static bool collect(void *world)
{
    return collect_linked(&((dense_world *)world)->all, head_of, list_of) == 0;
}

const layout layout_dense = {
    .name = "dense",
    .title = "a pointer to heads that lie densely elsewhere",
    .build = build,
    .list_bytes = list_bytes,
    .work = collect,
};
