/* SPDX-License-Identifier: MIT */
/*
 * Asking the main thread for something, from any thread, with the GIL and
 * without. `interp` is the main interpreter.
 */
#ifndef NVPY_COMPAT_PENDING_H
#define NVPY_COMPAT_PENDING_H

#include "compat.h"

/* Has the main thread call the function at its next safe point; -1 if its queue
 * is full. */
int nvpy_compat_ask_main_thread(PyInterpreterState *interp, int (*function)(void *));
/* Asks again for what was asked before, which the interpreter can have missed. */
void nvpy_compat_remind_main_thread(PyInterpreterState *interp);

#endif
