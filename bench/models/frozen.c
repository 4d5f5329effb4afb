/* SPDX-License-Identifier: MIT */
/*
 * Intrusive heads with a freeze, the way that was taken (gc.freeze): before the fork all lists go over to a
 * list that no collection looks at. Only its ends and two heads are written; what was garbage stays.
 */
#include "intrusive.h"

static void *build(const layout_plan *plan)
{
    return intrusive_build(plan, false);
}

static void freeze(void *world)
{
    static head permanent;
    intrusive_world *w = world;
    permanent = w->all;
    permanent.next->prev = permanent.prev->next = &permanent;
    head_empty(&w->all);
}

const layout layout_frozen = {
    .name = "frozen",
    .title = "heads in front, frozen before the fork",
    .build = build,
    .list_bytes = intrusive_list_bytes,
    .work = intrusive_collect,
    .before_fork = freeze,
};
