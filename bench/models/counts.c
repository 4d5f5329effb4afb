/* SPDX-License-Identifier: MIT */
/*
 * What no layout of heads helps against: no collection, but a program that reads all that it has, and
 * takes a reference to each thing meanwhile. Every count is written, with what it was before.
 */
#include "intrusive.h"

static void *build(const layout_plan *plan)
{
    return intrusive_build(plan, false);
}

static inline void touch(volatile intptr_t *count)
{
    *count += 1;
    *count -= 1;
}

static bool walk(void *world)
{
    intrusive_world *w = world;
    for (size_t i = 0; i < w->plan.lists; i++)
        touch(&w->lists[i]->list.count);
    for (size_t i = 0; i < w->plan.strings; i++)
        touch(&w->strings[i]->count);
    return true;
}

const layout layout_counts = {
    .name = "counts",
    .title = "(a walk that touches every count)",
    .build = build,
    .list_bytes = intrusive_list_bytes,
    .work = walk,
};
