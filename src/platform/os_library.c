/* SPDX-License-Identifier: MIT */
/*
 * Functions of shared libraries by name. A file of its own: a program that is linked
 * statically, and does without, needs no dynamic loader then.
 */
#include "os.h"

#include <dlfcn.h>
#include <stdio.h>

void *nv_os_library_symbol(const char *library, const char *symbol, char *message,
                           size_t message_size)
{
    void *found = dlsym(RTLD_DEFAULT, symbol);
    if (found == NULL) {
        /* Not closed again: the caller keeps addresses in it. A second call adds to the
         * loader's count and maps nothing. */
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        if (handle != NULL)
            found = dlsym(handle, symbol);
    }
    if (message != NULL && message_size > 0) {
        const char *reason = found == NULL ? dlerror() : NULL;
        snprintf(message, message_size, "%s", reason == NULL ? "" : reason);
    }
    return found;
}
