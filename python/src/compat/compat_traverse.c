/* SPDX-License-Identifier: MIT */
/*
 * Traversal that reports counted references only, as verification demands.
 *
 * Since 3.14 (gh-130704, LOAD_FAST_BORROW) a frame's value stack may hold
 * references that are not counted, because a variable of the same frame holds
 * the object all the while. They stay there across a yield or an await. The
 * traversal functions of what owns a frame report them to every visitor but
 * the one by which CPython's own collector subtracts references. Taken for
 * counted ones they would make a live object look dead, so they are taken out
 * here, one report for each.
 *
 * Leaving them out hides nothing: what is borrowed is held, and reported, by
 * the one it was borrowed from. Greenlets report no frame of which they are
 * not the owner, so they need nothing here.
 */
#include "compat.h"

#if PY_VERSION_HEX >= 0x030e0000

/* More than any code needs; with more than that the object reports nothing at
 * all, and what it refers to counts as held from outside. */
#define BORROWED_MAX 128

typedef struct filter {
    neve_visit_fn visit;
    void *arg;
    size_t count;
    PyObject *borrowed[BORROWED_MAX];
} filter;

static int visit_counted(PyObject *object, void *arg)
{
    filter *f = arg;
    for (size_t i = 0; i < f->count; i++)
        if (f->borrowed[i] == object) {
            f->borrowed[i] = f->borrowed[--f->count];
            return 0;
        }
    return f->visit(object, f->arg);
}

/* False: there are too many. */
static bool add_borrowed(filter *f, _PyStackRef reference)
{
    PyObject *object = nvpy_stackref_object(reference);
    if (object == NULL || nvpy_stackref_is_counted(reference) || _Py_IsImmortal(object))
        return true; /* the counts of immortal objects are not looked at */
    if (f->count == BORROWED_MAX)
        return false;
    f->borrowed[f->count++] = object;
    return true;
}

/* Those among what the interpreter's own traversal of a frame would report. */
static bool add_borrowed_of_frame(filter *f, const _PyInterpreterFrame *frame)
{
    if (!add_borrowed(f, frame->f_executable) || !add_borrowed(f, frame->f_funcobj))
        return false;
    for (const _PyStackRef *at = frame->localsplus; at < frame->stackpointer; at++)
        if (!add_borrowed(f, *at))
            return false;
    return true;
}

void nvpy_compat_traverse(PyObject *object, neve_visit_fn visit, void *arg)
{
    PyTypeObject *type = Py_TYPE(object);
    filter f;
    f.count = 0;
    bool is_known = true;
    if (type == &PyGen_Type || type == &PyCoro_Type || type == &PyAsyncGen_Type) {
        const PyGenObject *generator = (const PyGenObject *)object;
        if (generator->gi_frame_state < FRAME_CLEARED)
            is_known = add_borrowed_of_frame(&f, &generator->gi_iframe);
        else /* of a frame that is cleared the code is left */
            is_known = add_borrowed(&f, generator->gi_iframe.f_executable);
    } else if (type == &PyFrame_Type) {
        const _PyInterpreterFrame *frame = ((const PyFrameObject *)object)->f_frame;
        if (frame->owner == FRAME_OWNED_BY_FRAME_OBJECT)
            is_known = add_borrowed_of_frame(&f, frame);
    }
    if (!is_known)
        return;
    /* neve_visit_fn is visitproc but for the type of the object. */
    if (f.count == 0) {
        (void)type->tp_traverse(object, (visitproc)(void (*)(void))visit, arg);
        return;
    }
    f.visit = visit;
    f.arg = arg;
    (void)type->tp_traverse(object, visit_counted, &f);
}

#endif
