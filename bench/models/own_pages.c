/* SPDX-License-Identifier: MIT */
/*
 * Intrusive heads, lists in pages without strings: a collection writes the lists' pages, and there are few.
 * It does not help a heap of lists alone.
 */
#include "intrusive.h"

static void *build(const layout_plan *plan)
{
    return intrusive_build(plan, true);
}

const layout layout_own_pages = {
    .name = "own-pages",
    .title = "heads in front, lists in pages of their own",
    .build = build,
    .list_bytes = intrusive_list_bytes,
    .work = intrusive_collect,
};
