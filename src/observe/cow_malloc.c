/* SPDX-License-Identifier: MIT */
/*
 * The chunks of the main arena of glibc's malloc, from which blocks over NEVE_SMALL_MAX
 * come (code objects, classes, long lists), as they lie one behind the other from the
 * start of the heap on. Each begins with two words: the size of a free chunk before it,
 * and its own size with three flags, of which the lowest says whether the chunk before
 * is in use. Chunks that wait in malloc's caches look as if they were in use.
 *
 * Where the sizes make no sense (another allocator, a heap that changes right now) the
 * walk ends, and what lies behind is compared without knowing what it is.
 */
#include "cow_internal.h"

#define HEAD_BYTES ((uintptr_t)2 * sizeof(uintptr_t))
#define SIZE_FLAGS ((uintptr_t)7)
#define IS_PREVIOUS_USED ((uintptr_t)1)

/* One page of the heap, so that most heads cost no system call. */
typedef struct window {
    uintptr_t address; /* 0: none */
    unsigned char bytes[HEAD_BYTES + 4096];
} window;

/* The word with size and flags of the chunk at `address`; 0 if it cannot be read. */
static uintptr_t read_size(const nv_look *look, window *w, uintptr_t address)
{
    uintptr_t at = address + sizeof(uintptr_t), size;
    if (w->address == 0 || at < w->address || at + sizeof size > w->address + 4096) {
        w->address = at & ~(uintptr_t)4095;
        if (nv_page_of(look, at) == NULL ||
            nv_process_read(&look->now, w->address, w->bytes, 4096) != 4096)
            return 0;
    }
    memcpy(&size, w->bytes + (at - w->address), sizeof size);
    return size;
}

/* Compares the chunk's head and block, page by page. */
static void compare_chunk(nv_look *look, uintptr_t chunk, uintptr_t size, bool is_live)
{
    unsigned char first_now[HEAD_BYTES + NV_FIRST_BYTES], first_then[sizeof first_now];
    size_t first = size < sizeof first_now ? size : sizeof first_now;
    nv_pages_read(look, chunk, first, first_now, first_then);
    uintptr_t size_then;
    memcpy(&size_then, first_then + sizeof(uintptr_t), sizeof size_then);
    nv_block block = {
        .address = chunk + HEAD_BYTES,
        .size = size - HEAD_BYTES,
        .plain_type = NV_TYPE_MALLOC,
        .was_live = (size_then & ~SIZE_FLAGS) == size,
        .is_live = is_live,
        .now = first_now + HEAD_BYTES,
        .then = first_then + HEAD_BYTES,
        .first_bytes = first - HEAD_BYTES,
    };
    bool is_identified = false;
    for (uintptr_t at = chunk; at < chunk + size;) {
        size_t piece = look->page_bytes - (at & (look->page_bytes - 1));
        if (piece > chunk + size - at)
            piece = chunk + size - at;
        if (piece > sizeof look->bytes_now)
            piece = sizeof look->bytes_now;
        neve_cow_page *page = nv_page_of(look, at);
        if (nv_page_is_comparable(look, page)) {
            size_t head = at < block.address ? block.address - at : 0;
            if (head > piece)
                head = piece;
            nv_pages_read(look, at, piece, look->bytes_now, look->bytes_then);
            for (size_t i = 0; i < head; i++)
                if (look->bytes_now[i] != look->bytes_then[i])
                    nv_page_blame(look, page, NEVE_COW_CAUSE_LINK, 1);
            if (memcmp(look->bytes_now + head, look->bytes_then + head, piece - head) != 0) {
                if (!is_identified)
                    nv_block_identify(look, &block);
                is_identified = true;
                nv_block_compare(look, &block, at + head - block.address, look->bytes_now + head,
                                 look->bytes_then + head, piece - head, page);
            }
        }
        at += piece;
    }
    nv_block_count(look, &block);
}

static void walk(nv_look *look, uintptr_t start, uintptr_t end)
{
    window w = {0};
    size_t next_dirty = nv_page_at(look, start);
    uintptr_t size = read_size(look, &w, start);
    for (uintptr_t chunk = start; size != 0;) {
        uintptr_t bytes = size & ~SIZE_FLAGS;
        if (bytes < 2 * HEAD_BYTES || bytes % HEAD_BYTES != 0 || bytes > end - chunk)
            return;
        uintptr_t next = chunk + bytes;
        /* The last one is what malloc has not handed out yet. */
        uintptr_t size_behind = next + HEAD_BYTES <= end ? read_size(look, &w, next) : 0;
        while (next_dirty < look->pages.count &&
               (nv_pages(look)[next_dirty].address + look->page_bytes <= chunk ||
                nv_pages(look)[next_dirty].state != NEVE_COW_STATE_DIRTY))
            next_dirty++;
        if (next_dirty == look->pages.count || nv_pages(look)[next_dirty].address >= end)
            return;
        if (nv_pages(look)[next_dirty].address < next)
            compare_chunk(look, chunk, bytes, (size_behind & IS_PREVIOUS_USED) != 0);
        chunk = next;
        size = size_behind;
    }
}

void nv_cow_malloc_compare(nv_look *look)
{
    if (!look->has_then)
        return;
    for (size_t i = 0; i < look->mapping_count; i++)
        if (strcmp(look->mappings[i].name, "[heap]") == 0)
            walk(look, look->mappings[i].start, look->mappings[i].end);
}
