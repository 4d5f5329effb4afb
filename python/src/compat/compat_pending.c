/* SPDX-License-Identifier: MIT */
/*
 * Asking the main thread to run a function at its next safe point, from a
 * thread that has no thread state and does not hold the GIL.
 */
#include "compat_pending.h"

#if PY_VERSION_HEX < 0x030c0000
#include <internal/pycore_ceval.h>
#endif

/* Up to 3.12 the evaluation loop polls one word of the interpreter. Adding a
 * pending call computes it as for the thread that adds, which cannot run one
 * unless it is the main thread: the word stays 0, and the call waits until
 * something else sets it. From 3.13 on (gh-112175) the word is the main thread's
 * own and is set right away. */
void nvpy_compat_remind_main_thread(PyInterpreterState *interp)
{
#if PY_VERSION_HEX < 0x030d0000
    __atomic_store_n(&interp->ceval.eval_breaker._value, 1, __ATOMIC_RELEASE);
#else
    (void)interp;
#endif
}

int nvpy_compat_ask_main_thread(PyInterpreterState *interp, int (*function)(void *))
{
#if PY_VERSION_HEX < 0x030c0000
    /* The public function asks the thread state that is current somewhere for its
     * interpreter, and that may be freed at this moment. */
    int result = _PyEval_AddPendingCall(interp, function, NULL);
#else
    int result = Py_AddPendingCall(function, NULL);
#endif
    if (result == 0)
        nvpy_compat_remind_main_thread(interp);
    return result;
}
