/* SPDX-License-Identifier: MIT */
/*
 * What a process tells those who look at it: where its heaps are, how objects lie in
 * them, which process keeps a copy of the memory. The one piece of state in the library
 * that is the process's and no heap's: others look for it by its first bytes, so there is
 * one, at a fixed place in the library's data.
 */
#include "cow_internal.h"

#include "platform/os.h"

#include <unistd.h>

#define MAGIC "\177neve copy-on-write\n\0\1"
const unsigned char nv_note_magic[24] = MAGIC;

static _Alignas(NV_NOTE_ALIGNMENT) nv_note own = {
    .magic = MAGIC,
    .version = NV_NOTE_VERSION,
    .bytes = sizeof(nv_note),
    .self = 0,
    .heap_bytes = sizeof(neve_heap),
    .chunk_bytes = sizeof(nv_chunk),
    .pool_bytes = sizeof(nv_pool),
    .slab_bytes = sizeof(nv_slab),
    .leaf_bytes = sizeof(nv_leaf),
    .class_limit = NV_CLASSES,
};

const nv_note *nv_note_own(void)
{
    return &own;
}

neve_status neve_cow_publish(const neve_heap *heap, const neve_cow_model *model)
{
    if (heap == NULL)
        return NEVE_EINVAL;
    own.self = (uintptr_t)&own;
    for (unsigned i = 0; i < NV_NOTE_HEAPS; i++) {
        nv_note_heap *entry = &own.heaps[i];
        uintptr_t expected = 0;
        if (!__atomic_compare_exchange_n(&entry->heap, &expected, (uintptr_t)heap, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            continue;
        entry->has_model = model != NULL;
        if (model != NULL)
            entry->model = *model;
        __atomic_store_n(&entry->ready, (uintptr_t)heap, __ATOMIC_RELEASE);
        return NEVE_OK;
    }
    return NEVE_ENOMEM;
}

void neve_cow_withdraw(const neve_heap *heap)
{
    for (unsigned i = 0; i < NV_NOTE_HEAPS && heap != NULL; i++) {
        nv_note_heap *entry = &own.heaps[i];
        if (__atomic_load_n(&entry->heap, __ATOMIC_ACQUIRE) != (uintptr_t)heap)
            continue;
        __atomic_store_n(&entry->ready, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&entry->heap, 0, __ATOMIC_RELEASE);
        return;
    }
}

/* ---- the kept copy ---- */

/* Of a page that the two processes share until the copy has its name, by which those who
 * look know it. */
typedef struct greeting {
    int is_ready;
    pid_t parent;
} greeting;

/* The system's signal that the parent has died comes, once, when the thread ends that made
 * this process; the parent may live on, so it is asked for as well. */
static void wait_for_parent(void *arg)
{
    greeting *shared = arg;
    pid_t parent = shared->parent;
    __atomic_store_n(&shared->is_ready, 1, __ATOMIC_RELEASE);
    while (getppid() == parent)
        sleep(5);
}

neve_status neve_cow_keep_reference(void)
{
    neve_cow_drop_reference();
    own.self = (uintptr_t)&own;
    greeting *shared = nv_os_map_shared(nv_os_page_bytes());
    if (shared == NULL)
        return NEVE_EUNSUPPORTED;
    shared->parent = getpid();
    int child = nv_os_child_begin(wait_for_parent, shared, 0, NV_REFERENCE_NAME);
    bool lives = child != 0;
    while (lives && __atomic_load_n(&shared->is_ready, __ATOMIC_ACQUIRE) == 0) {
        lives = nv_os_child_reap(child) == NV_OS_CHILD_RUNS;
        usleep(100);
    }
    nv_os_unmap(shared, nv_os_page_bytes());
    if (!lives)
        return NEVE_EUNSUPPORTED;
    own.reference = child;
    own.reference_owner = nv_os_process();
    return NEVE_OK;
}

void neve_cow_drop_reference(void)
{
    if (own.reference != 0 && own.reference_owner == nv_os_process())
        nv_os_child_end(own.reference, true);
    if (own.reference != 0)
        own.reference = own.reference_owner = 0;
}

int neve_cow_reference(void)
{
    return own.reference;
}

/* ---- reading it ---- */

bool nv_note_read(const nv_process *process, uintptr_t address, nv_note *note)
{
    if (nv_process_read(process, address, note, sizeof *note) != sizeof *note)
        return false;
    /* The library's own copies of the magic bytes, and notes nobody has used, do not name
     * the place where they lie. */
    return memcmp(note->magic, nv_note_magic, sizeof nv_note_magic) == 0 && note->self == address;
}

bool nv_note_is_readable(const nv_note *note)
{
    return note->version == NV_NOTE_VERSION && note->bytes == sizeof *note &&
           note->heap_bytes == sizeof(neve_heap) && note->chunk_bytes == sizeof(nv_chunk) &&
           note->pool_bytes == sizeof(nv_pool) && note->slab_bytes == sizeof(nv_slab) &&
           note->leaf_bytes == sizeof(nv_leaf) && note->class_limit == NV_CLASSES;
}
