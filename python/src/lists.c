/* SPDX-License-Identifier: MIT */
/*
 * CPython's doubly linked lists of tracked objects, and how objects leave them
 * for Neve's tables and come back. See neve_python.h for what self-linked
 * objects are.
 */
#include "neve_python.h"

static void join(PyGC_Head *a, PyGC_Head *b)
{
    _PyGCHead_SET_NEXT(a, b);
    _PyGCHead_SET_PREV(b, a);
}

void nvpy_list_init(PyGC_Head *list)
{
    list->_gc_next = list->_gc_prev = (uintptr_t)list;
}

void nvpy_list_append(PyGC_Head *list, PyGC_Head *head)
{
    PyGC_Head *last = _PyGCHead_PREV(list);
    join(last, head);
    join(head, list);
}

void nvpy_list_prepend(PyGC_Head *list, PyGC_Head *head)
{
    join(head, _PyGCHead_NEXT(list));
    join(list, head);
}

void nvpy_list_remove(PyGC_Head *head)
{
    join(_PyGCHead_PREV(head), _PyGCHead_NEXT(head));
}

void nvpy_list_merge(PyGC_Head *from, PyGC_Head *to)
{
    if (nvpy_list_is_empty(from))
        return;
    PyGC_Head *first = _PyGCHead_NEXT(from), *last = _PyGCHead_PREV(from);
    join(_PyGCHead_PREV(to), first);
    join(last, to);
    nvpy_list_init(from);
}

void nvpy_list_merge_front(PyGC_Head *from, PyGC_Head *to)
{
    if (nvpy_list_is_empty(from))
        return;
    PyGC_Head *first = _PyGCHead_NEXT(from), *last = _PyGCHead_PREV(from);
    join(last, _PyGCHead_NEXT(to));
    join(to, first);
    nvpy_list_init(from);
}

static void adopt(PyGC_Head *list, int generation)
{
    PyGC_Head *next;
    for (PyGC_Head *at = _PyGCHead_NEXT(list); at != list; at = next) {
        next = _PyGCHead_NEXT(at);
        /* Without memory for a table the object stays in its list, and is
         * gathered with the young ones. */
        if (neve_collector_adopt(nvpy.collector, nvpy_object(at), generation) != NEVE_OK)
            continue;
        nvpy_list_remove(at);
        nvpy_self_link(at);
    }
}

void nvpy_lists_adopt(void)
{
    adopt(nvpy_list(nvpy.interp, 2), 2);
    adopt(nvpy_list(nvpy.interp, NUM_GENERATIONS), 3);
}

static int give_back(void *object, void *list)
{
    nvpy_list_append(list, nvpy_head(object));
    return 0;
}

void nvpy_lists_give_back(void)
{
    neve_collector_walk(nvpy.collector, 2, give_back, nvpy_list(nvpy.interp, 2));
    neve_collector_walk(nvpy.collector, 3, give_back, nvpy_list(nvpy.interp, NUM_GENERATIONS));
    neve_collector_forget_all(nvpy.collector);
    nvpy_list_put_holders_first(nvpy_list(nvpy.interp, 2));
}

/* Immortal objects stay linked to themselves: nobody will ever look for them, and linking them
 * would write to each. */
static int give_back_mortal(void *object, void *list)
{
    return nvpy_compat_is_immortal(object) ? 0 : give_back(object, list);
}

void nvpy_lists_give_back_at_exit(void)
{
    int permanent = nvpy.thaws_at_exit ? 2 : NUM_GENERATIONS;
    neve_collector_walk(nvpy.collector, 2, give_back_mortal, nvpy_list(nvpy.interp, 2));
    neve_collector_walk(nvpy.collector, 3, give_back_mortal, nvpy_list(nvpy.interp, permanent));
    neve_collector_forget_all(nvpy.collector);
    nvpy_list_put_holders_first(nvpy_list(nvpy.interp, 2));
}
