/* SPDX-License-Identifier: MIT */
/*
 * Lists that hang on a doubly linked list of heads, and a full collection of them by trial deletion, as
 * CPython collects. The models differ in where the head lies: each gives the two functions that lead from
 * a list to its head and back, which the compiler puts in place.
 */
#ifndef NEVE_BENCH_LINKED_H
#define NEVE_BENCH_LINKED_H

#include "layouts.h"

typedef struct head {
    struct head *next, *prev;
    intptr_t refs; /* what is left of the count when all references among the lists are taken off */
} head;

/* A list object; `type` and what is behind `refers_to` are there for its size only. */
typedef struct list {
    intptr_t count;
    const void *type;
    struct list *refers_to; /* NULL: to none */
    char rest[LAYOUT_LIST_BYTES - 3 * sizeof(void *)];
} list;

typedef struct text {
    intptr_t count;
    char rest[LAYOUT_STRING_BYTES - sizeof(intptr_t)];
} text;

_Static_assert(sizeof(list) == LAYOUT_LIST_BYTES, "all models have lists of one size");

static inline void head_empty(head *all)
{
    all->next = all->prev = all;
}

static inline void head_append(head *all, head *h)
{
    h->next = all;
    h->prev = all->prev;
    all->prev->next = h;
    all->prev = h;
}

static inline void head_remove(head *h)
{
    h->prev->next = h->next;
    h->next->prev = h->prev;
}

/* How many of `all` are garbage. Afterwards all that is not hangs on `all` again. */
static inline size_t collect_linked(head *all, head *(*head_of)(list *), list *(*list_of)(head *))
{
    head reached, *next;
    head_empty(&reached);
    for (head *h = all->next; h != all; h = h->next)
        h->refs = list_of(h)->count;
    for (head *h = all->next; h != all; h = h->next) {
        list *referent = list_of(h)->refers_to;
        if (referent != NULL)
            head_of(referent)->refs--;
    }
    for (head *h = all->next; h != all; h = next) {
        next = h->next;
        if (h->refs > 0) {
            head_remove(h);
            head_append(&reached, h);
        }
    }
    /* What those refer to lives as well; it is put behind them, and looked at in turn. */
    for (head *h = reached.next; h != &reached; h = h->next) {
        list *referent = list_of(h)->refers_to;
        if (referent == NULL || head_of(referent)->refs > 0)
            continue;
        head_of(referent)->refs = 1;
        head_remove(head_of(referent));
        head_append(&reached, head_of(referent));
    }
    size_t garbage = 0;
    for (head *h = all->next; h != all; h = h->next)
        garbage++;
    head_empty(all);
    if (reached.next != &reached) {
        *all = reached;
        all->next->prev = all->prev->next = all;
    }
    return garbage;
}

#endif
