/* SPDX-License-Identifier: MIT */
/*
 * The order in which objects with finalizers go back to CPython's list of the old
 * generation. CPython's collector runs finalizers in the order of its list, and every
 * collection that objects survive puts them behind what it first found them referred to
 * by. So on stock a text file left open at exit is closed before the buffer below it, and
 * its last lines are written. Neve lists old objects by their addresses; given back like
 * that, a buffer could come first, and the text be lost.
 *
 * Here holders come first: of objects with finalizers, each before those that it refers
 * to, directly or through what it alone owns (a dict of attributes with one reference, and
 * so on down). What is shared is not followed: types, modules and globals lead from
 * everything to everything. A depth-first search, in reverse postorder. Otherwise the order
 * is nobody's promise: what hangs together stands together, and begins with its lowest address.
 */
#include "neve_python.h"

#include "compat/compat.h"

/* In _gc_prev, beside the bit for "was finalized": still to be come to. CPython's collector
 * has it set during its collections only, and in no object that is not being collected. */
#define PENDING ((uintptr_t)_PyGC_PREV_MASK_COLLECTING)

/* Entries of the stack, in the low bits of the address. */
enum { FINAL, OWNED, LEAVE };

typedef struct search {
    uintptr_t *stack;
    size_t count, capacity;
    bool has_failed; /* no memory */
} search;

static void push(search *s, PyObject *object, unsigned kind)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity == 0 ? 256 : 2 * s->capacity;
        uintptr_t *stack = PyMem_RawRealloc(s->stack, capacity * sizeof *stack);
        if (stack == NULL) {
            s->has_failed = true;
            return;
        }
        s->stack = stack;
        s->capacity = capacity;
    }
    s->stack[s->count++] = (uintptr_t)object | kind;
}

static int visit_held(void *held, void *arg)
{
    PyObject *object = held;
    if (!PyObject_IS_GC(object))
        return 0;
    if ((nvpy_head(object)->_gc_prev & PENDING) != 0)
        push(arg, object, FINAL);
    else if (Py_REFCNT(object) == 1 && Py_TYPE(object)->tp_finalize == NULL)
        push(arg, object, OWNED); /* else it was come to: a cycle of single references ends here */
    return 0;
}

/* Moves what the search comes to from its list to the front of `sorted`. */
static void search_from(search *s, PyObject *start, PyGC_Head *sorted)
{
    push(s, start, FINAL);
    while (s->count > 0 && !s->has_failed) {
        uintptr_t entry = s->stack[--s->count];
        PyObject *object = (PyObject *)(entry & ~(uintptr_t)3);
        PyGC_Head *head = nvpy_head(object);
        if ((entry & 3) == LEAVE) {
            nvpy_list_remove(head);
            nvpy_list_prepend(sorted, head);
            continue;
        }
        if ((entry & 3) == FINAL) {
            if ((head->_gc_prev & PENDING) == 0)
                continue; /* on the stack twice */
            head->_gc_prev &= ~PENDING;
            push(s, object, LEAVE);
        }
        nvpy_compat_traverse(object, visit_held, s);
    }
    s->count = 0;
}

void nvpy_list_put_holders_first(PyGC_Head *list)
{
    PyGC_Head pending, sorted, *next;
    nvpy_list_init(&pending);
    nvpy_list_init(&sorted);
    for (PyGC_Head *at = _PyGCHead_NEXT(list); at != list; at = next) {
        next = _PyGCHead_NEXT(at);
        if (Py_TYPE(nvpy_object(at))->tp_finalize == NULL || _PyGC_FINALIZED(nvpy_object(at)))
            continue;
        nvpy_list_remove(at);
        nvpy_list_append(&pending, at);
        at->_gc_prev |= PENDING;
    }
    search s = {0};
    /* From the last: what comes first in the list is put in front of the others. */
    while (!nvpy_list_is_empty(&pending) && !s.has_failed)
        search_from(&s, nvpy_object(_PyGCHead_PREV(&pending)), &sorted);
    for (PyGC_Head *at = _PyGCHead_NEXT(&pending); at != &pending; at = _PyGCHead_NEXT(at))
        at->_gc_prev &= ~PENDING;
    nvpy_list_merge(&sorted, list);
    nvpy_list_merge(&pending, list);
    PyMem_RawFree(s.stack);
}
