/* SPDX-License-Identifier: MIT */
/*
 * Large allocators by name: jemalloc, mimalloc and tcmalloc, by the functions that they have
 * beside malloc and free. Those can be called whoever serves the program's malloc;
 * and of a block that a heap got from one of them nobody else ever hears.
 *
 * The addresses that were found are kept per process, in static tables: where a library
 * lies is the process's affair and no heap's, and tables in heaps would have to move
 * with the copies that heaps make of a neve_large_allocator.
 */
#include "heap_internal.h"

#include "platform/os.h"

/* jemalloc's own interface takes flags; 0 means what malloc does. */
typedef struct jemalloc_functions {
    void *(*mallocx)(size_t size, int flags);
    void *(*rallocx)(void *block, size_t size, int flags);
    void (*dallocx)(void *block, int flags);
    size_t (*sallocx)(const void *block, int flags);
} jemalloc_functions;

/* Those of the others are malloc's. */
typedef struct plain_functions {
    void *(*malloc)(size_t size);
    void *(*realloc)(void *block, size_t size);
    void (*free)(void *block);
    size_t (*usable_size)(const void *block);
} plain_functions;

static void *jemalloc_malloc(void *ctx, size_t size)
{
    return ((const jemalloc_functions *)ctx)->mallocx(size, 0);
}

static void *jemalloc_realloc(void *ctx, void *block, size_t size)
{
    return ((const jemalloc_functions *)ctx)->rallocx(block, size, 0);
}

static void jemalloc_free(void *ctx, void *block)
{
    ((const jemalloc_functions *)ctx)->dallocx(block, 0);
}

static size_t jemalloc_usable_size(void *ctx, const void *block)
{
    return ((const jemalloc_functions *)ctx)->sallocx(block, 0);
}

static void *plain_malloc(void *ctx, size_t size)
{
    return ((const plain_functions *)ctx)->malloc(size);
}

static void *plain_realloc(void *ctx, void *block, size_t size)
{
    return ((const plain_functions *)ctx)->realloc(block, size);
}

static void plain_free(void *ctx, void *block)
{
    ((const plain_functions *)ctx)->free(block);
}

static size_t plain_usable_size(void *ctx, const void *block)
{
    return ((const plain_functions *)ctx)->usable_size(block);
}

enum { FUNCTIONS = 4 };

typedef union functions {
    jemalloc_functions jemalloc;
    plain_functions plain;
    void *addresses[FUNCTIONS]; /* in the order of `symbols` */
} functions;
/* ISO C does not say that an address of an object and one of a function look alike;
 * POSIX does, since dlsym returns both. */
_Static_assert(sizeof(functions) == FUNCTIONS * sizeof(void *), "as POSIX has it");

typedef struct library {
    const char *name, *file;
    const char *symbols[FUNCTIONS];
    neve_large_allocator allocator; /* ctx: below */
} library;

#define ALLOCATOR(kind)                                                                            \
    {                                                                                              \
        sizeof(neve_large_allocator), kind##_malloc, kind##_realloc, kind##_free, NULL,            \
            kind##_usable_size                                                                     \
    }

static const library libraries[] = {
    {"jemalloc",
     "libjemalloc.so.2",
     {"mallocx", "rallocx", "dallocx", "sallocx"},
     ALLOCATOR(jemalloc)},
    {"mimalloc",
     "libmimalloc.so.2",
     {"mi_malloc", "mi_realloc", "mi_free", "mi_usable_size"},
     ALLOCATOR(plain)},
    {"tcmalloc",
     "libtcmalloc_minimal.so.4",
     {"tc_malloc", "tc_realloc", "tc_free", "tc_malloc_size"},
     ALLOCATOR(plain)},
};
enum { LIBRARIES = sizeof libraries / sizeof libraries[0] };

static functions found[LIBRARIES];

/* As much of it as the caller's headers know. */
static void hand_out(const neve_large_allocator *known, void *ctx, neve_large_allocator *into)
{
    neve_large_allocator made = *known;
    made.ctx = ctx;
    made.struct_size = into->struct_size;
    memcpy(into, &made, made.struct_size);
}

neve_status neve_large_allocator_find(const char *name, neve_large_allocator *allocator,
                                      char *message, size_t message_size)
{
    if (message != NULL && message_size > 0)
        message[0] = '\0';
    if (name == NULL || allocator == NULL)
        return NEVE_EINVAL;
    neve_large_allocator stated;
    neve_status status = nv_options_read(&stated, sizeof stated, allocator, "neve_large_allocator",
                                         message, message_size);
    if (status != NEVE_OK)
        return status;
    if (strcmp(name, "system") == 0) {
        hand_out(&nv_large_system, NULL, allocator);
        return NEVE_OK;
    }
    size_t i = 0;
    while (i < LIBRARIES && strcmp(name, libraries[i].name) != 0)
        i++;
    if (i == LIBRARIES)
        return NEVE_EINVAL;
    for (size_t f = 0; f < FUNCTIONS; f++) {
        void *address =
            nv_os_library_symbol(libraries[i].file, libraries[i].symbols[f], message, message_size);
        if (address == NULL)
            return NEVE_EUNSUPPORTED;
        /* Only the first one stores: another thread may be calling the function already. */
        void *nothing = NULL;
        (void)__atomic_compare_exchange_n(&found[i].addresses[f], &nothing, address, false,
                                          __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    hand_out(&libraries[i].allocator, &found[i], allocator);
    return NEVE_OK;
}
