/* SPDX-License-Identifier: MIT */
/*
 * Frames as the versions of CPython have them.
 */
#include "compat.h"

#define VISIT(object)                                                                              \
    do {                                                                                           \
        if ((object) != NULL)                                                                      \
            visit((object), arg);                                                                  \
    } while (0)

/* Whether the frame is one of those that the evaluation loop puts on the stack
 * for itself: most of its fields are not set. 3.11 has none. */
static bool is_entry_frame(const _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030e0000
    return frame->owner >= FRAME_OWNED_BY_INTERPRETER; /* split in two by 3.14 */
#elif PY_VERSION_HEX >= 0x030c0000
    return frame->owner == FRAME_OWNED_BY_CSTACK;
#else
    (void)frame;
    return false;
#endif
}

/* The code that a frame runs; NULL if there is none (3.13, gh-106898: there can
 * be another object in its place). */
static PyCodeObject *code_of(const _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030e0000
    PyObject *code = nvpy_stackref_object(frame->f_executable);
#elif PY_VERSION_HEX >= 0x030d0000
    PyObject *code = frame->f_executable;
#else
    PyObject *code = (PyObject *)frame->f_code;
#endif
    return code != NULL && PyCode_Check(code) ? (PyCodeObject *)code : NULL;
}

/* The function, the variables, and of the value stack what is certainly valid.
 * The rest costs verification. */
static void visit_values(_PyInterpreterFrame *frame, int variables, neve_visit_fn visit, void *arg)
{
#if PY_VERSION_HEX >= 0x030e0000
    VISIT(nvpy_stackref_object(frame->f_funcobj));
    for (int i = 0; i < variables; i++)
        VISIT(nvpy_stackref_object(frame->localsplus[i]));
#else
#if PY_VERSION_HEX >= 0x030c0000
    VISIT(frame->f_funcobj); /* renamed by gh-98003 */
#else
    VISIT(frame->f_func);
#endif
    /* The value stack of the frame that is running is in a register: only
     * what was saved at a call is known. */
    int top = frame->stacktop > variables ? frame->stacktop : variables;
    for (int i = 0; i < top; i++)
        VISIT(frame->localsplus[i]);
#endif
}

static void visit_frame(_PyInterpreterFrame *frame, neve_visit_fn visit, void *arg)
{
    PyCodeObject *code = code_of(frame);
    if (code == NULL || is_entry_frame(frame))
        return;
    VISIT(code);
    VISIT(frame->frame_obj);
    VISIT(frame->f_locals);
    VISIT(frame->f_globals);
    VISIT(frame->f_builtins);
    visit_values(frame, code->co_nlocalsplus, visit, arg);
}

#if PY_VERSION_HEX < 0x030c0000

void nvpy_compat_visit_frames(PyThreadState *thread, neve_visit_fn visit, void *arg)
{
    for (_PyCFrame *cframe = thread->cframe; cframe != NULL; cframe = cframe->previous)
        for (_PyInterpreterFrame *frame = cframe->current_frame; frame != NULL;
             frame = frame->previous) {
            visit_frame(frame, visit, arg);
            if (frame->is_entry)
                break; /* the frames below belong to the next C frame */
        }
}

#else

/* All frames are in one chain: gh-96319 links those of a call from C to those
 * of its caller. */
static struct _PyInterpreterFrame **innermost_frame(PyThreadState *thread)
{
#if PY_VERSION_HEX >= 0x030d0000
    return &thread->current_frame; /* gh-108035 took the C frame away */
#else
    return &thread->cframe->current_frame;
#endif
}

void nvpy_compat_visit_frames(PyThreadState *thread, neve_visit_fn visit, void *arg)
{
    for (_PyInterpreterFrame *frame = *innermost_frame(thread); frame != NULL;
         frame = frame->previous)
        visit_frame(frame, visit, arg);
}

#endif

/* ---- hiding ---- */

/* The evaluation loop takes the innermost frame as the caller of the next one.
 * The program gets to see what is there in a fresh thread. */
#if PY_VERSION_HEX < 0x030c0000

nvpy_hidden_frames nvpy_compat_frames_hide(void)
{
    PyThreadState *thread = PyThreadState_Get();
    nvpy_hidden_frames hidden = {
        .thread = thread,
        .frame = thread->cframe->current_frame,
        .depth = thread->recursion_limit - thread->recursion_remaining,
    };
    thread->cframe->current_frame = NULL;
    thread->recursion_remaining = thread->recursion_limit;
    return hidden;
}

void nvpy_compat_frames_show(const nvpy_hidden_frames *hidden)
{
    /* sys.setrecursionlimit() has moved limit and remainder together. */
    hidden->thread->recursion_remaining -= hidden->depth;
    hidden->thread->cframe->current_frame = hidden->frame;
}

#else

nvpy_hidden_frames nvpy_compat_frames_hide(void)
{
    PyThreadState *thread = PyThreadState_Get();
    nvpy_hidden_frames hidden = {
        .thread = thread,
        .frame = *innermost_frame(thread),
        /* Python's depth; that of C calls is another counter since gh-91079. */
        .depth = thread->py_recursion_limit - thread->py_recursion_remaining,
    };
#if PY_VERSION_HEX >= 0x030f0000
    *innermost_frame(thread) = thread->base_frame; /* a sentinel, for profilers (3.15) */
#else
    *innermost_frame(thread) = NULL;
#endif
    thread->py_recursion_remaining = thread->py_recursion_limit;
    return hidden;
}

void nvpy_compat_frames_show(const nvpy_hidden_frames *hidden)
{
    /* sys.setrecursionlimit() has moved limit and remainder together. */
    hidden->thread->py_recursion_remaining -= hidden->depth;
    *innermost_frame(hidden->thread) = hidden->frame;
}

#endif
