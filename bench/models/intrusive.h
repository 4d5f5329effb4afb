/* SPDX-License-Identifier: MIT */
/*
 * Lists with their heads in front, as in CPython: the heap that four of the models share, which differ in
 * where lists and strings are made and in what is done with them.
 */
#ifndef NEVE_BENCH_INTRUSIVE_H
#define NEVE_BENCH_INTRUSIVE_H

#include "linked.h"
#include "region.h"

/* In one piece: a list's head is found by subtracting. */
typedef struct headed_list {
    head head;
    list list;
} headed_list;

typedef struct intrusive_world {
    layout_plan plan;
    region mixed, apart; /* strings, and lists unless they have pages of their own */
    headed_list **lists;
    text **strings;
    head all;
    double list_bytes;
} intrusive_world;

void *intrusive_build(const layout_plan *plan, bool has_own_pages);
double intrusive_list_bytes(const void *world);
bool intrusive_collect(void *world);

#endif
