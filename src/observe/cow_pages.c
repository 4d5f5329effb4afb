/* SPDX-License-Identifier: MIT */
/*
 * Mappings and pages of the process that is looked at: what is shared, what is private,
 * and, for the pages that no heap explains, what differs.
 *
 * A page is private if no other process maps it, and dirty if it is not a file's; so the
 * kernel itself counts, in the sums that it shows of a process.
 */
#include "cow_internal.h"

#include "platform/os.h"

/* Mappings beyond this are reservations, of sanitizers for example; reading their page map
 * takes minutes. */
#define MAX_MAPPING_BYTES ((size_t)(UINT64_C(1) << (sizeof(size_t) == 8 ? 38 : 31)))
#define BATCH 4096u
#define WAS_LOOKED_AT 0x8000u /* in neve_cow_page.causes, until the end */

void *nv_store_add(nv_store *store)
{
    if ((store->count + 1) * store->item_bytes > store->bytes) {
        size_t bytes = store->bytes == 0 ? (size_t)1 << 16 : 2 * store->bytes;
        void *items =
            store->bytes == 0 ? nv_os_map(bytes) : nv_os_remap(store->items, store->bytes, bytes);
        if (items == NULL)
            return NULL;
        store->items = items;
        store->bytes = bytes;
    }
    return (char *)store->items + store->count++ * store->item_bytes;
}

void nv_store_free(nv_store *store)
{
    if (store->items != NULL)
        nv_os_unmap(store->items, store->bytes);
    store->items = NULL;
    store->count = store->bytes = 0;
}

/* ---- gathering ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Whose data a file's mapping holds. */
static neve_cow_area area_of_file(const nv_look *look, const char *path)
{
    const char *name = last_part(path);
    if (begins_with(name, "_neve.") || begins_with(name, "libneve"))
        return NEVE_COW_AREA_TABLES;
    if (strcmp(path, look->now.program) == 0 || begins_with(name, "libpython"))
        return NEVE_COW_AREA_PROGRAM;
    return NEVE_COW_AREA_LIBRARIES;
}

/* The area of the mapping's anonymous pages. */
static neve_cow_area area_of(const nv_look *look, size_t number)
{
    const nv_mapping *mapping = &look->mappings[number];
    if (mapping->is_shared)
        return NEVE_COW_AREA_FILES;
    if (strcmp(mapping->name, "[heap]") == 0)
        return NEVE_COW_AREA_MALLOC;
    if (strcmp(mapping->name, "[stack]") == 0)
        return NEVE_COW_AREA_STACK;
    if (mapping->inode != 0)
        return area_of_file(look, mapping->name);
    if (mapping->name[0] == '[' && !begins_with(mapping->name, "[anon"))
        return NEVE_COW_AREA_FILES;
    /* What a file's data are to begin with zeros follows it directly. */
    if (number > 0 && look->mappings[number - 1].inode != 0 &&
        look->mappings[number - 1].is_writable && !look->mappings[number - 1].is_shared &&
        look->mappings[number - 1].end == mapping->start && mapping->is_writable)
        return area_of_file(look, look->mappings[number - 1].name);
    return NEVE_COW_AREA_ANONYMOUS;
}

static neve_cow_state state_of(uint64_t bits)
{
    if ((bits & NV_PAGE_PRESENT) == 0)
        return NEVE_COW_STATE_SWAPPED;
    if ((bits & NV_PAGE_EXCLUSIVE) == 0)
        return NEVE_COW_STATE_SHARED;
    return (bits & NV_PAGE_OF_FILE) != 0 ? NEVE_COW_STATE_CLEAN : NEVE_COW_STATE_DIRTY;
}

static bool gather_mapping(nv_look *look, size_t number, uint64_t bits[BATCH])
{
    const nv_mapping *mapping = &look->mappings[number];
    neve_cow_area area = area_of(look, number);
    for (uintptr_t at = mapping->start; at < mapping->end;) {
        size_t count = (mapping->end - at) / look->page_bytes;
        if (count > BATCH)
            count = BATCH;
        if (!nv_process_page_bits(&look->now, at, bits, count))
            return true;
        for (size_t i = 0; i < count; i++, at += look->page_bytes) {
            if ((bits[i] & (NV_PAGE_PRESENT | NV_PAGE_SWAPPED)) == 0)
                continue;
            neve_cow_page *page = nv_store_add(&look->pages);
            if (page == NULL)
                return false;
            page->address = at;
            page->mapping = (uint32_t)number;
            page->state = (uint8_t)state_of(bits[i]);
            page->area = (uint8_t)((bits[i] & NV_PAGE_OF_FILE) != 0 ? NEVE_COW_AREA_FILES : area);
        }
    }
    return true;
}

bool nv_pages_gather(nv_look *look)
{
    static const size_t bytes = BATCH * sizeof(uint64_t);
    uint64_t *bits = nv_os_map(bytes);
    if (bits == NULL)
        return false;
    bool is_done = true;
    for (size_t i = 0; i < look->mapping_count && is_done; i++)
        if (look->mappings[i].end - look->mappings[i].start <= MAX_MAPPING_BYTES)
            is_done = gather_mapping(look, i, bits);
    nv_os_unmap(bits, bytes);
    return is_done;
}

/* ---- finding pages ---- */

size_t nv_page_at(const nv_look *look, uintptr_t address)
{
    const neve_cow_page *pages = nv_pages(look);
    size_t low = 0, high = look->pages.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pages[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

neve_cow_page *nv_page_of(const nv_look *look, uintptr_t address)
{
    uintptr_t start = address & ~(uintptr_t)(look->page_bytes - 1);
    size_t at = nv_page_at(look, start);
    neve_cow_page *page = nv_pages(look) + at;
    return at < look->pages.count && page->address == start ? page : NULL;
}

void nv_pages_find_note(nv_look *look)
{
    for (size_t i = 0; i < look->pages.count; i++) {
        const neve_cow_page *page = &nv_pages(look)[i];
        const nv_mapping *mapping = &look->mappings[page->mapping];
        /* Data of a program or a library, or the zeros behind: never in allocated memory. */
        bool is_data = page->area == NEVE_COW_AREA_TABLES || page->area == NEVE_COW_AREA_PROGRAM ||
                       page->area == NEVE_COW_AREA_LIBRARIES;
        if (!is_data || !mapping->is_writable || page->state == NEVE_COW_STATE_SWAPPED)
            continue;
        for (size_t done = 0; done < look->page_bytes; done += sizeof look->bytes_now) {
            size_t piece = look->page_bytes - done;
            if (piece > sizeof look->bytes_now)
                piece = sizeof look->bytes_now;
            if (nv_process_read(&look->now, page->address + done, look->bytes_now, piece) != piece)
                break;
            for (size_t at = 0; at + sizeof nv_note_magic <= piece; at += NV_NOTE_ALIGNMENT) {
                if (memcmp(look->bytes_now + at, nv_note_magic, sizeof nv_note_magic) == 0 &&
                    nv_note_read(&look->now, page->address + done + at, &look->note)) {
                    look->has_note = true;
                    return;
                }
            }
        }
    }
}

void nv_pages_set_areas(nv_look *look)
{
    const nv_region *regions = look->regions.items;
    for (size_t i = 0; i < look->regions.count; i++)
        for (size_t at = nv_page_at(look, regions[i].start & ~(uintptr_t)(look->page_bytes - 1));
             at < look->pages.count && nv_pages(look)[at].address < regions[i].end; at++)
            nv_pages(look)[at].area = regions[i].area;
}

/* ---- comparing ---- */

void nv_page_blame(nv_look *look, neve_cow_page *page, neve_cow_cause cause, size_t bytes)
{
    page->causes |= (uint16_t)(1u << cause);
    look->report->areas[page->area].bytes[cause] += bytes;
}

bool nv_page_is_comparable(nv_look *look, neve_cow_page *page)
{
    const unsigned is_new = 1u << NEVE_COW_CAUSE_NEW;
    if (page == NULL || page->state != NEVE_COW_STATE_DIRTY || !look->has_then)
        return false;
    if ((page->causes & WAS_LOOKED_AT) == 0) {
        uint64_t bits = 0;
        page->causes |= WAS_LOOKED_AT;
        nv_process_page_bits(&look->then, page->address, &bits, 1);
        if ((bits & (NV_PAGE_PRESENT | NV_PAGE_SWAPPED)) == 0)
            nv_page_blame(look, page, NEVE_COW_CAUSE_NEW, look->page_bytes);
    }
    return (page->causes & is_new) == 0;
}

/* Whether the page was there then and is not now. */
static bool is_given_up(const nv_look *look, const neve_cow_page *page, uintptr_t address)
{
    uint64_t bits = 0;
    return page == NULL && look->has_then && nv_process_page_bits(&look->then, address, &bits, 1) &&
           (bits & (NV_PAGE_PRESENT | NV_PAGE_SWAPPED)) != 0;
}

void nv_pages_read(nv_look *look, uintptr_t address, size_t bytes, unsigned char *now,
                   unsigned char *then)
{
    for (size_t done = 0; done < bytes;) {
        uintptr_t at = address + done;
        size_t piece = look->page_bytes - (at & (look->page_bytes - 1));
        if (piece > bytes - done)
            piece = bytes - done;
        neve_cow_page *page = nv_page_of(look, at);
        size_t got = 0;
        if (page != NULL)
            got = nv_process_read(&look->now, at, now + done, piece);
        memset(now + done + got, 0, piece - got);
        if ((!nv_page_is_comparable(look, page) && !is_given_up(look, page, at)) ||
            nv_process_read(&look->then, at, then + done, piece) != piece)
            memcpy(then + done, now + done, piece);
        done += piece;
    }
}

static void compare_page(nv_look *look, neve_cow_page *page)
{
    for (size_t done = 0; done < look->page_bytes; done += sizeof look->bytes_now) {
        size_t piece = look->page_bytes - done;
        if (piece > sizeof look->bytes_now)
            piece = sizeof look->bytes_now;
        nv_pages_read(look, page->address + done, piece, look->bytes_now, look->bytes_then);
        size_t differ = 0;
        for (size_t i = 0; i < piece; i++)
            differ += look->bytes_now[i] != look->bytes_then[i];
        if (differ != 0)
            nv_page_blame(look, page, NEVE_COW_CAUSE_OTHER, differ);
    }
}

void nv_pages_compare_rest(nv_look *look)
{
    for (size_t i = 0; i < look->pages.count; i++) {
        neve_cow_page *page = &nv_pages(look)[i];
        if ((page->causes & WAS_LOOKED_AT) == 0 && nv_page_is_comparable(look, page))
            compare_page(look, page);
        page->causes &= (uint16_t)~WAS_LOOKED_AT;
    }
}
