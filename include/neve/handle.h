/* SPDX-License-Identifier: MIT */
/*
 * Handles and scopes: how C code holds native objects without counting by hand.
 *
 * A handle is a slot that the runtime knows of. A strong one owns a reference to
 * its object; a weak one owns none, and reads NULL once the object is dead. The
 * runtime lists the handles that are open, with the place where each was made:
 * what is still open when it is destroyed is a leak, and is reported as one. What
 * strong handles hold is a root for the marking of full collections, as with
 * neve_root_add, and needs no registering.
 *
 * A scope is for the temporaries of a function: what it keeps is released, the
 * latest first, when it is closed.
 *
 * Locking and thread state: as the runtime's. Re-entrancy: whatever lets go of an
 * object may run finalizers and callbacks, which may open and close handles and
 * scopes of their own.
 */
#ifndef NEVE_HANDLE_H
#define NEVE_HANDLE_H

#include "object.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The place in the source where it stands, for `where`: "file.c:12". */
#define NEVE_HERE_TEXT(line) #line
#define NEVE_HERE_LINE(line) NEVE_HERE_TEXT(line)
#define NEVE_HERE __FILE__ ":" NEVE_HERE_LINE(__LINE__)

/* A new handle, strong or weak, of `object` (NULL: empty), which stays the caller's:
 * a strong handle takes a reference of its own. `where` is listed with the handle: NEVE_HERE, or
 * any string that outlives it, or NULL. To be closed with neve_handle_close. NULL
 * without memory. One block of memory; a weak one needs a weak reference as well. */
NEVE_API neve_handle *neve_handle_new(neve_runtime *runtime, neve_object *object,
                                      const char *where);
NEVE_API neve_handle *neve_handle_new_weak(neve_runtime *runtime, neve_object *object,
                                           const char *where);

/* A new reference to the handle's object, or NULL: it is empty, or weak and its object
 * dead (when exactly that is, neve_weakref_get says). A few instructions. */
NEVE_API neve_object *neve_handle_get(neve_runtime *runtime, const neve_handle *handle);

/* Puts another object (NULL: none) in, and lets go of the one before. NEVE_ENOMEM, for
 * weak handles only: then the handle is as it was. */
NEVE_API neve_status neve_handle_set(neve_runtime *runtime, neve_handle *handle,
                                     neve_object *object);

/* Lets go of the object and frees the handle. NULL: nothing. Constant time, whatever the
 * object's end costs. */
NEVE_API void neve_handle_close(neve_runtime *runtime, neve_handle *handle);

/* How many handles are open. */
NEVE_API size_t neve_handle_count(const neve_runtime *runtime);

/* Calls `visit` for each open handle, the oldest first; ends early when it returns
 * non-zero, and returns that value. `visit` may read objects; it must not release any,
 * nor open or close handles. See also neve_runtime_options.on_leak. */
NEVE_API int neve_handle_walk(const neve_runtime *runtime,
                              int (*visit)(void *ctx, const neve_handle_info *info), void *ctx);

/* In the caller's memory; opened and closed in the order of brackets. */
typedef struct neve_scope {
    size_t first; /* the library's own */
} neve_scope;

NEVE_API void neve_scope_open(neve_runtime *runtime, neve_scope *scope);

/* Hands the caller's reference to the innermost scope and returns `object`, which now
 * lives at least until that scope is closed; to let it live longer, neve_retain it.
 * NULL, and the reference is released, without memory; NULL for NULL, so that the
 * result of neve_object_new can be passed on unasked. */
NEVE_API neve_object *neve_scope_keep(neve_runtime *runtime, neve_object *object);

/* Releases what the scope keeps, the latest first. */
NEVE_API void neve_scope_close(neve_runtime *runtime, neve_scope *scope);

#ifdef __cplusplus
}
#endif
#endif
