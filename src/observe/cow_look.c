/* SPDX-License-Identifier: MIT */
/*
 * A look at a process: whom to compare it with, the order of the work, the sums.
 *
 * Pages first: which of them are dirty is settled before anything else is done, because the
 * process that is looked at may be this one. For the same reason nothing here uses malloc.
 */
#include "cow_internal.h"

#include "platform/os.h"

#include <stdarg.h>
#include <stdio.h>

/* What a report consists of; callers see the first member. */
typedef struct nv_report {
    neve_cow_report shown;
    nv_mapping *mappings;
    nv_store pages, types, shown_types, shown_mappings;
} nv_report;

/* ---- the tables of names ---- */

#define KEY(name, key, text) key,
#define TEXT(name, key, text) text,
#define NAMES(what, enumerators, MAP)                                                              \
    const char *neve_cow_##what##_key(neve_cow_##what what)                                        \
    {                                                                                              \
        static const char *const keys[] = {MAP(KEY)};                                              \
        return (unsigned)what < enumerators ? keys[what] : "";                                     \
    }                                                                                              \
    const char *neve_cow_##what##_text(neve_cow_##what what)                                       \
    {                                                                                              \
        static const char *const texts[] = {MAP(TEXT)};                                            \
        return (unsigned)what < enumerators ? texts[what] : "";                                    \
    }
NAMES(state, NEVE_COW_STATES, NEVE_COW_STATE_MAP)
NAMES(area, NEVE_COW_AREAS, NEVE_COW_AREA_MAP)
NAMES(cause, NEVE_COW_CAUSES, NEVE_COW_CAUSE_MAP)
#undef KEY
#undef TEXT
#undef NAMES

/* ---- problems and remarks ---- */

static neve_status refuse(char problem[256], neve_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static neve_status refuse(char problem[256], neve_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, 256, format, arguments);
    va_end(arguments);
    return status;
}

static neve_status refuse_process(char problem[256], int pid, nv_process_answer answer)
{
    switch (answer) {
    case NV_PROCESS_NONE:
        return refuse(problem, NEVE_EINVAL, "there is no process %d", pid);
    case NV_PROCESS_EMPTY:
        return refuse(problem, NEVE_EINVAL,
                      "process %d has no memory: it has ended, or it is part of the kernel", pid);
    case NV_PROCESS_DENIED:
        return refuse(problem, NEVE_EBUSY,
                      "not permitted to look at process %d: be its user or root; with "
                      "kernel.yama.ptrace_scope above 0, be root",
                      pid);
    case NV_PROCESS_UNKNOWN:
        return refuse(problem, NEVE_EUNSUPPORTED,
                      "this system does not show the memory of processes in /proc");
    default:
        return refuse(problem, NEVE_ENOMEM, "not enough memory");
    }
}

static void remark(neve_cow_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void remark(neve_cow_report *report, const char *format, ...)
{
    size_t length = strlen(report->remark);
    if (length != 0 && length + 3 < sizeof report->remark) {
        memcpy(report->remark + length, "; ", 3);
        length += 2;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report->remark + length, sizeof report->remark - length, format, arguments);
    va_end(arguments);
}

/* ---- whom to compare with ---- */

static bool is_reference(const nv_look *look)
{
    char name[16];
    int pid = look->note.reference;
    return look->has_note && pid != 0 && pid != look->now.pid && nv_process_name(pid, name) &&
           strcmp(name, NV_REFERENCE_NAME) == 0 && nv_process_is_relative(pid, look->now.pid);
}

static neve_status choose_basis(nv_look *look, int chosen, char problem[256])
{
    static const char advice[] =
        "neve.cow_reference() before the fork keeps a copy to compare with";
    neve_cow_report *report = look->report;
    int parent = nv_process_parent(look->now.pid);
    int pid = chosen;
    report->basis = NEVE_COW_BASIS_PARENT;
    if (chosen != 0) {
        if (!nv_process_is_relative(chosen, look->now.pid))
            return refuse(problem, NEVE_EINVAL,
                          "processes %d and %d cannot be compared: neither was forked from the "
                          "other, nor both from a third",
                          look->now.pid, chosen);
    } else if (is_reference(look)) {
        pid = look->note.reference;
    } else if (parent > 0 && nv_process_is_relative(parent, look->now.pid)) {
        pid = parent;
    }
    if (pid != 0 && look->has_note && pid == look->note.reference)
        report->basis = NEVE_COW_BASIS_REFERENCE;
    if (pid == 0) {
        report->basis = NEVE_COW_BASIS_NONE;
        remark(report,
               "no process to compare with (the parent has ended or is another program), "
               "so that nothing is known of causes: %s",
               advice);
        return NEVE_OK;
    }
    nv_process_answer answer = nv_process_open(&look->then, pid);
    if (answer != NV_PROCESS_OK && chosen != 0)
        return refuse_process(problem, chosen, answer);
    if (answer != NV_PROCESS_OK) {
        report->basis = NEVE_COW_BASIS_NONE;
        remark(report, "process %d cannot be read to compare with: look as root", pid);
        return NEVE_OK;
    }
    look->has_then = true;
    report->basis_pid = pid;
    if (report->basis == NEVE_COW_BASIS_PARENT)
        remark(report,
               "compared with process %d as it is now: what that one has written since "
               "the fork counts too; %s",
               pid, advice);
    return NEVE_OK;
}

/* ---- heaps ---- */

static void find_heaps(nv_look *look)
{
    neve_cow_report *report = look->report;
    if (!look->has_note) {
        remark(report, "no heap of Neve's in it: objects cannot be told apart");
        return;
    }
    if (!nv_note_is_readable(&look->note)) {
        remark(report, "its Neve is another version or another kind of build than this one: "
                       "objects cannot be told apart; use the program neve of that build");
        return;
    }
    for (unsigned i = 0; i < NV_NOTE_HEAPS; i++) {
        const nv_note_heap *entry = &look->note.heaps[i];
        if (entry->ready == 0)
            continue;
        report->has_heap = true;
        if (look->model == NULL && entry->has_model)
            look->model = &entry->model;
        nv_cow_heap_regions(look, entry->ready);
    }
}

/* ---- sums ---- */

static void get_sums(nv_look *look)
{
    neve_cow_report *report = look->report;
    nv_process_sums sums;
    if (!nv_process_get_sums(&look->now, &sums))
        return;
    report->rss = sums.rss;
    report->pss = sums.pss;
    report->shared_clean = sums.shared_clean;
    report->shared_dirty = sums.shared_dirty;
    report->private_clean = sums.private_clean;
    report->private_dirty = sums.private_dirty;
    report->swap = sums.swap;
}

/* The main cause of each dirty page; what a page without a difference means. */
static void settle_page(const nv_look *look, neve_cow_page *page)
{
    if (page->type == UINT32_MAX)
        page->type = 0;
    if (page->state != NEVE_COW_STATE_DIRTY) {
        page->causes = 0;
        return;
    }
    if (page->causes == 0)
        page->causes =
            (uint16_t)(1u << (look->has_then ? NEVE_COW_CAUSE_SAME : NEVE_COW_CAUSE_UNKNOWN));
    page->cause = (uint8_t)(31 - __builtin_clz(page->causes));
}

static void sum_up(nv_look *look)
{
    neve_cow_report *report = look->report;
    for (size_t i = 0; i < look->pages.count; i++) {
        neve_cow_page *page = &nv_pages(look)[i];
        settle_page(look, page);
        neve_cow_sum *area = &report->areas[page->area];
        area->pages[page->state]++;
        report->mappings[page->mapping].pages[page->state]++;
        if (page->state != NEVE_COW_STATE_DIRTY)
            continue;
        area->main_causes[page->cause]++;
        for (unsigned c = 0; c < NEVE_COW_CAUSES; c++)
            area->causes[c] += (unsigned)page->causes >> c & 1u;
        if (page->type != 0)
            ((nv_type *)look->types.items)[page->type - 1].sums.pages_alone++;
    }
    for (unsigned a = 0; a < NEVE_COW_AREAS; a++) {
        for (unsigned s = 0; s < NEVE_COW_STATES; s++)
            report->whole.pages[s] += report->areas[a].pages[s];
        for (unsigned c = 0; c < NEVE_COW_CAUSES; c++) {
            report->whole.main_causes[c] += report->areas[a].main_causes[c];
            report->whole.causes[c] += report->areas[a].causes[c];
            report->whole.bytes[c] += report->areas[a].bytes[c];
        }
    }
}

static bool has_changes(const neve_cow_type *type)
{
    return type->pages + type->pages_same + type->allocated + type->freed + type->changed != 0;
}

static bool goes_before(const neve_cow_type *a, const neve_cow_type *b)
{
    size_t first = a->pages + a->pages_same, second = b->pages + b->pages_same;
    if (first != second)
        return first > second;
    return a->bytes[NEVE_COW_CAUSE_NEW] > b->bytes[NEVE_COW_CAUSE_NEW];
}

static bool list_types(nv_look *look, nv_report *report)
{
    for (size_t i = 0; i < look->types.count; i++) {
        nv_type *type = (nv_type *)look->types.items + i;
        if (!has_changes(&type->sums))
            continue;
        neve_cow_type *shown = nv_store_add(&report->shown_types);
        if (shown == NULL)
            return false;
        *shown = type->sums;
        shown->name = type->name;
    }
    /* By Shell's method: qsort may use malloc. Pages name types by the order before. */
    neve_cow_type *types = report->shown_types.items;
    size_t count = report->shown_types.count;
    for (size_t gap = count / 2; gap > 0; gap /= 2)
        for (size_t i = gap; i < count; i++)
            for (size_t k = i; k >= gap && goes_before(&types[k], &types[k - gap]); k -= gap) {
                neve_cow_type swapped = types[k];
                types[k] = types[k - gap];
                types[k - gap] = swapped;
            }
    return true;
}

/* Pages name types by their index in the sorted list. */
static void renumber_types(nv_look *look, const nv_report *report)
{
    const neve_cow_type *shown = report->shown_types.items;
    for (size_t i = 0; i < look->types.count; i++)
        ((nv_type *)look->types.items)[i].start = 0;
    for (size_t i = 0; i < report->shown_types.count; i++)
        for (size_t k = 0; k < look->types.count; k++) {
            nv_type *type = (nv_type *)look->types.items + k;
            if (type->name == shown[i].name)
                type->start = (uint32_t)i + 1;
        }
    for (size_t i = 0; i < look->pages.count; i++) {
        neve_cow_page *page = &nv_pages(look)[i];
        if (page->type != 0)
            page->type = ((nv_type *)look->types.items)[page->type - 1].start;
    }
}

static bool list_mappings(nv_look *look, nv_report *report)
{
    for (size_t i = 0; i < look->mapping_count; i++) {
        neve_cow_mapping *mapping = nv_store_add(&report->shown_mappings);
        if (mapping == NULL)
            return false;
        mapping->start = look->mappings[i].start;
        mapping->end = look->mappings[i].end;
        mapping->name = look->mappings[i].name;
        mapping->is_writable = look->mappings[i].is_writable;
    }
    report->shown.mappings = report->shown_mappings.items;
    report->shown.mapping_count = look->mapping_count;
    return true;
}

/* ---- the look ---- */

static size_t round_up(size_t bytes)
{
    size_t page = nv_os_page_bytes();
    return (bytes + page - 1) & ~(page - 1);
}

/* `look` has its process open. */
static neve_status look_at(nv_look *look, int basis, nv_report *report, char problem[256])
{
    static const char no_memory[] = "not enough memory";
    get_sums(look); /* first, before this process itself uses more memory for the report */
    if (!nv_pages_gather(look) || !nv_types_begin(look) || !list_mappings(look, report))
        return refuse(problem, NEVE_ENOMEM, no_memory);
    if (look->pages.count == 0)
        return refuse_process(problem, look->now.pid, NV_PROCESS_EMPTY);
    nv_pages_find_note(look);
    neve_status status = choose_basis(look, basis, problem);
    if (status != NEVE_OK)
        return status;
    find_heaps(look);
    nv_pages_set_areas(look);
    nv_cow_heap_compare(look);
    nv_cow_malloc_compare(look);
    nv_pages_compare_rest(look);
    sum_up(look);
    if (!list_types(look, report) || look->is_out_of_memory)
        return refuse(problem, NEVE_ENOMEM, no_memory);
    renumber_types(look, report);
    return NEVE_OK;
}

void neve_cow_report_free(neve_cow_report *shown)
{
    if (shown == NULL)
        return;
    nv_report *report = (nv_report *)shown;
    nv_process_mappings_free(report->mappings, report->shown.mapping_count);
    nv_store_free(&report->pages);
    nv_store_free(&report->types);
    nv_store_free(&report->shown_types);
    nv_store_free(&report->shown_mappings);
    nv_os_unmap(report, round_up(sizeof *report));
}

neve_status neve_cow_look(int pid, int basis_pid, neve_cow_report **out, char problem[256])
{
    problem[0] = '\0';
    nv_report *report = nv_os_map(round_up(sizeof *report));
    nv_look *look = nv_os_map(round_up(sizeof *look));
    if (report == NULL || look == NULL) {
        if (report != NULL)
            nv_os_unmap(report, round_up(sizeof *report));
        if (look != NULL)
            nv_os_unmap(look, round_up(sizeof *look));
        return refuse_process(problem, pid, NV_PROCESS_NO_MEMORY);
    }
    look->report = &report->shown;
    look->page_bytes = report->shown.page_bytes = nv_os_page_bytes();
    report->shown.pid = pid;
    look->pages.item_bytes = sizeof(neve_cow_page);
    look->regions.item_bytes = sizeof(nv_region);
    look->arenas.item_bytes = sizeof(nv_arena);
    look->cached_now.item_bytes = look->cached_then.item_bytes = sizeof(uintptr_t);
    look->types.item_bytes = sizeof(nv_type);
    report->shown_types.item_bytes = sizeof(neve_cow_type);
    report->shown_mappings.item_bytes = sizeof(neve_cow_mapping);

    nv_process_answer answer = nv_process_open(&look->now, pid);
    look->then.memory = look->then.page_map = -1;
    if (answer == NV_PROCESS_OK)
        answer = nv_process_mappings(&look->now, &look->mappings, &look->mapping_count);
    neve_status status = answer == NV_PROCESS_OK ? look_at(look, basis_pid, report, problem)
                                                 : refuse_process(problem, pid, answer);
    nv_process_close(&look->now);
    nv_process_close(&look->then);
    nv_store_free(&look->regions);
    nv_store_free(&look->arenas);
    nv_store_free(&look->cached_now);
    nv_store_free(&look->cached_then);
    report->mappings = look->mappings;
    report->shown.mapping_count = look->mapping_count;
    report->pages = look->pages;
    report->types = look->types;
    report->shown.pages = look->pages.items;
    report->shown.page_count = look->pages.count;
    report->shown.types = report->shown_types.items;
    report->shown.type_count = report->shown_types.count;
    nv_os_unmap(look, round_up(sizeof *look));
    if (status != NEVE_OK) {
        neve_cow_report_free(&report->shown);
        return status;
    }
    *out = &report->shown;
    return NEVE_OK;
}
