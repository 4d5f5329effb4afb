/* SPDX-License-Identifier: MIT */
/*
 * A block as it is and as it was at the fork: which object it is, by the model that its
 * process published, and what of it differs.
 *
 * A block holds an object if what would be its type is one: it lies in memory that is
 * there, its own type is a type (a chain that ends at the type of types), and its
 * instances begin where this one would. A freed object and a new one of the same type in
 * its place look like one that was changed.
 */
#include "cow_internal.h"

enum { MAX_TYPE_BYTES = 512, MAX_CHAIN = 4 };
#define SEVERAL_TYPES UINT32_MAX /* in neve_cow_page.type, until the end */

static nv_type *type_at(const nv_look *look, uint32_t index)
{
    return (nv_type *)look->types.items + index;
}

bool nv_types_begin(nv_look *look)
{
    static const char *const names[NV_TYPES_FIXED] = {
        [NV_TYPE_BUFFER] = "(buffer)",
        [NV_TYPE_BLOCK] = "(block of no known type)",
        [NV_TYPE_MALLOC] = "(block of malloc)",
    };
    for (unsigned i = 0; i < NV_TYPES_FIXED; i++) {
        nv_type *type = nv_store_add(&look->types);
        if (type == NULL)
            return false;
        memcpy(type->name, names[i], strlen(names[i]) + 1);
    }
    return true;
}

/* ---- types ---- */

static uintptr_t word_at(const unsigned char *bytes)
{
    uintptr_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Whether the address lies in what a file says, unchanged: names in a program's constants.
 * A page of it that the process has not used yet is mapped by reading it, and stays shared. */
static bool is_constant(const nv_look *look, uintptr_t address)
{
    size_t low = 0, high = look->mapping_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (look->mappings[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    const nv_mapping *mapping = &look->mappings[low];
    return low < look->mapping_count && mapping->start <= address && mapping->inode != 0 &&
           mapping->is_readable && !mapping->is_writable;
}

/* Reads memory that is there already; never has the process get a page of its own. */
static bool read_present(const nv_look *look, uintptr_t address, void *out, size_t bytes)
{
    uintptr_t last = address + bytes - 1;
    return last >= address && (nv_page_of(look, address) != NULL || is_constant(look, address)) &&
           (nv_page_of(look, last) != NULL || is_constant(look, last)) &&
           nv_process_read(&look->now, address, out, bytes) == bytes;
}

/* The part of a type that matters; false if nothing of the kind can be there. */
static bool read_type(const nv_look *look, uintptr_t address, unsigned char bytes[MAX_TYPE_BYTES])
{
    const neve_cow_model *model = look->model;
    size_t flags_end = model->type_flags_offset + sizeof(uint64_t);
    size_t name_end = model->type_name_offset + sizeof(uintptr_t);
    size_t needed = flags_end > name_end ? flags_end : name_end;
    return address % sizeof(uintptr_t) == 0 && needed <= MAX_TYPE_BYTES &&
           read_present(look, address, bytes, needed);
}

static uint64_t flags_of(const nv_look *look, const unsigned char *type)
{
    uint64_t flags = 0;
    if (look->model->type_flags_offset != 0)
        memcpy(&flags, type + look->model->type_flags_offset, sizeof flags);
    return flags;
}

/* Whether the type of this type is a type, and so on, up to the type of types. */
static bool has_type_chain(const nv_look *look, const unsigned char *type)
{
    const neve_cow_model *model = look->model;
    uintptr_t top = (uintptr_t)model->type_of_types;
    unsigned char bytes[MAX_TYPE_BYTES];
    if (top == 0)
        return true;
    uintptr_t at = word_at(type + model->type_offset);
    for (unsigned i = 0; i < MAX_CHAIN && at != top; i++) {
        if (!read_type(look, at, bytes) || (flags_of(look, bytes) & model->type_flag) == 0)
            return false;
        at = word_at(bytes + model->type_offset);
    }
    return at == top;
}

/* A string of the process's; false if it is none that could be a name. */
static bool read_name(const nv_look *look, uintptr_t address, char *name, size_t room)
{
    size_t length = 0;
    for (; length + 1 < room; length++) {
        if (!read_present(look, address + length, &name[length], 1))
            return false;
        unsigned char c = (unsigned char)name[length];
        if (c == '\0')
            break;
        if (c < ' ' || c == 127)
            return false;
    }
    name[length] = '\0';
    return length != 0;
}

/* The new type's index, or 0 if there is no type at this address. */
static uint32_t learn_type(nv_look *look, uintptr_t address)
{
    const neve_cow_model *model = look->model;
    unsigned char bytes[MAX_TYPE_BYTES];
    char name[sizeof((nv_type *)NULL)->name];
    if (!read_type(look, address, bytes) || !has_type_chain(look, bytes) ||
        !read_name(look, word_at(bytes + model->type_name_offset), name, sizeof name))
        return 0;
    nv_type *type = nv_store_add(&look->types);
    if (type == NULL) {
        look->is_out_of_memory = true;
        return 0;
    }
    memcpy(type->name, name, sizeof name);
    type->start = model->head_bytes;
    for (unsigned i = 0; i < sizeof model->heads / sizeof *model->heads; i++)
        if ((flags_of(look, bytes) & model->heads[i].flags) != 0)
            type->start += model->heads[i].bytes;
    unsigned caches = 0;
    for (unsigned i = 0; i < NEVE_COW_CACHES; i++)
        if ((uintptr_t)model->caches[i].type == address)
            type->caches[caches++] = model->caches[i];
    return (uint32_t)look->types.count - 1;
}

static size_t slot_of(uintptr_t address)
{
    return (size_t)((uint64_t)address * 0x9e3779b97f4a7c15u >> 40) % NV_TYPE_SLOTS;
}

/* The slot of the type at this address, or the free one that it would have. */
static nv_type_slot *find_slot(nv_look *look, uintptr_t address)
{
    size_t at = slot_of(address);
    while (look->slots[at].address != 0 && look->slots[at].address != address)
        at = (at + 1) % NV_TYPE_SLOTS;
    return &look->slots[at];
}

/* The index of the type at this address, if it is known already, or 0. */
static uint32_t known_type(nv_look *look, uintptr_t address)
{
    return address == 0 ? 0 : find_slot(look, address)->type;
}

/* The same, found out if need be. */
static uint32_t find_type(nv_look *look, uintptr_t address)
{
    if (address < 4096)
        return 0;
    nv_type_slot *slot = find_slot(look, address);
    uintptr_t *miss = &look->misses[slot_of(address)];
    if (slot->address != 0)
        return slot->type;
    if (*miss == address || look->types.count > NV_TYPE_SLOTS / 2)
        return 0;
    uint32_t type = learn_type(look, address);
    if (type != 0)
        *slot = (nv_type_slot){address, type};
    else
        *miss = address;
    return type;
}

/* ---- blocks ---- */

/* Tries all places at which an object can begin in its block; `find` is one of the two
 * functions above. */
static uint32_t try_starts(nv_look *look, const nv_block *block, const unsigned char *first,
                           uint32_t (*find)(nv_look *look, uintptr_t address))
{
    const neve_cow_model *model = look->model;
    uint32_t start = model->head_bytes;
    for (unsigned i = 0;; i++) {
        if (start + model->type_offset + sizeof(uintptr_t) > block->first_bytes)
            return 0;
        uint32_t type = find(look, word_at(first + start + model->type_offset));
        if (type != 0 && type_at(look, type)->start == start)
            return type;
        if (i == sizeof model->heads / sizeof *model->heads)
            return 0;
        start += model->heads[i].bytes;
    }
}

/* Known types first: what stands at the wrong place is mostly a pointer that no other object
 * has, and each of these costs system calls to look at. */
static uint32_t type_of_object(nv_look *look, const nv_block *block, const unsigned char *first)
{
    uint32_t type = try_starts(look, block, first, known_type);
    return type != 0 ? type : try_starts(look, block, first, find_type);
}

void nv_block_identify(nv_look *look, nv_block *block)
{
    block->is_same_object = false;
    block->type = block->plain_type;
    if (block->plain_type == NV_TYPE_BUFFER || look->model == NULL)
        return;
    uint32_t is = block->is_live ? type_of_object(look, block, block->now) : 0;
    uint32_t was = block->was_live ? type_of_object(look, block, block->then) : 0;
    block->is_same_object = is != 0 && is == was;
    if (is != 0)
        block->type = is;
    else if (was != 0 && !block->is_live)
        block->type = was;
    /* Another object in the place of one that was freed. */
    if (is != 0 && was != 0 && is != was)
        block->was_live = false;
}

/* What the byte at this offset of a block is, if it differs. */
static neve_cow_cause cause_at(const nv_look *look, const nv_block *block, size_t offset)
{
    if (!block->is_live)
        return block->was_live ? NEVE_COW_CAUSE_FREED : NEVE_COW_CAUSE_LINK;
    if (!block->was_live)
        return NEVE_COW_CAUSE_ALLOCATED;
    if (!block->is_same_object)
        return NEVE_COW_CAUSE_BODY;
    const nv_type *type = type_at(look, block->type);
    if (offset < type->start)
        return NEVE_COW_CAUSE_HEAD;
    offset -= type->start;
    if (offset - look->model->count_offset < look->model->count_bytes)
        return NEVE_COW_CAUSE_COUNT;
    for (unsigned i = 0; i < NEVE_COW_CACHES && type->caches[i].type != NULL; i++)
        if (offset >= type->caches[i].offset &&
            (type->caches[i].bytes == 0 || offset - type->caches[i].offset < type->caches[i].bytes))
            return NEVE_COW_CAUSE_CACHE;
    return NEVE_COW_CAUSE_BODY;
}

void nv_block_compare(nv_look *look, nv_block *block, size_t offset, const unsigned char *now,
                      const unsigned char *then, size_t piece, neve_cow_page *page)
{
    nv_type *type = type_at(look, block->type);
    bool differs = false;
    for (size_t i = 0; i < piece; i++) {
        if (now[i] == then[i])
            continue;
        neve_cow_cause cause = cause_at(look, block, offset + i);
        block->causes |= (uint16_t)(1u << cause);
        type->sums.bytes[cause]++;
        nv_page_blame(look, page, cause, 1);
        differs = true;
    }
    if (!differs)
        return;
    if (type->last_page != page->address) {
        type->last_page = page->address;
        type->sums.pages++;
    }
    if (page->type == 0)
        page->type = block->type + 1;
    else if (page->type != block->type + 1)
        page->type = SEVERAL_TYPES;
}

void nv_block_count(nv_look *look, const nv_block *block)
{
    neve_cow_type *sums = &type_at(look, block->type)->sums;
    if (block->was_live && !block->is_live) {
        sums->freed++; /* also where the page went back to the system */
    } else if (block->causes == 0) {
        return;
    } else if (block->was_live) {
        sums->changed++;
        sums->count_only += block->causes == 1u << NEVE_COW_CAUSE_COUNT;
    } else if (block->is_live) {
        sums->allocated++;
    }
}

void nv_block_count_new(nv_look *look, nv_block *block)
{
    block->was_live = false;
    nv_block_identify(look, block);
    neve_cow_type *sums = &type_at(look, block->type)->sums;
    sums->allocated++;
    sums->bytes[NEVE_COW_CAUSE_NEW] += block->size;
}

void nv_block_count_gone(nv_look *look, nv_block *block)
{
    nv_block_identify(look, block);
    type_at(look, block->type)->sums.freed++;
}

/* ---- pages with the same contents again ---- */

void nv_tally_add(nv_look *look, nv_tally *tally, nv_block *block)
{
    nv_block_identify(look, block);
    if (block->type < NV_TYPES_FIXED)
        return;
    const neve_cow_model *model = look->model;
    size_t at = type_at(look, block->type)->start + model->count_offset;
    uint64_t count = 0;
    if (at + sizeof count <= block->first_bytes)
        memcpy(&count, block->now + at, sizeof count);
    if ((count & model->immortal_mask) != 0)
        return;
    for (unsigned i = 0; i < sizeof tally->types / sizeof *tally->types; i++) {
        if (tally->counts[i] != 0 && tally->types[i] != block->type)
            continue;
        tally->types[i] = block->type;
        tally->counts[i]++;
        return;
    }
}

void nv_tally_close(nv_look *look, const nv_tally *tally)
{
    unsigned most = 0;
    for (unsigned i = 1; i < sizeof tally->types / sizeof *tally->types; i++)
        if (tally->counts[i] > tally->counts[most])
            most = i;
    if (tally->counts[most] != 0)
        type_at(look, tally->types[most])->sums.pages_same++;
}
