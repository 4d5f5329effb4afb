/* SPDX-License-Identifier: MIT */
/*
 * Intrusive heads, lists and strings in the same pages: CPython's layout, and where the trouble was first
 * noticed. A collection writes gc_refs and links into each head, so into nearly every page.
 */
#include "intrusive.h"

static void *build(const layout_plan *plan)
{
    return intrusive_build(plan, false);
}

const layout layout_in_front = {
    .name = "in-front",
    .title = "heads in front of the lists",
    .build = build,
    .list_bytes = intrusive_list_bytes,
    .work = intrusive_collect,
};
