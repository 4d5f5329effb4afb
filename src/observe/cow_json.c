/* SPDX-License-Identifier: MIT */
/*
 * A report as JSON: the one place that says what its fields are called, for the program
 * and for every host that offers the report.
 */
#include "cow_internal.h"

#include "observe/json.h"

static void put_states(nv_json *e, const char *key, const size_t pages[NEVE_COW_STATES])
{
    nv_json_open(e, key, '{');
    for (unsigned i = 0; i < NEVE_COW_STATES; i++)
        nv_json_number(e, neve_cow_state_key((neve_cow_state)i), pages[i]);
    nv_json_close(e, '}');
}

static void put_causes(nv_json *e, const neve_cow_sum *sum)
{
    nv_json_open(e, "causes", '{');
    for (unsigned i = 0; i < NEVE_COW_CAUSES; i++) {
        if (sum->causes[i] == 0)
            continue;
        nv_json_open(e, neve_cow_cause_key((neve_cow_cause)i), '{');
        nv_json_number(e, "pages", sum->main_causes[i]);
        nv_json_number(e, "pages_with", sum->causes[i]);
        nv_json_number(e, "bytes", sum->bytes[i]);
        nv_json_close(e, '}');
    }
    nv_json_close(e, '}');
}

static void put_type(nv_json *e, const neve_cow_type *type)
{
    nv_json_open(e, NULL, '{');
    nv_json_text(e, "name", type->name);
    nv_json_number(e, "pages", type->pages);
    nv_json_number(e, "pages_alone", type->pages_alone);
    nv_json_number(e, "pages_same", type->pages_same);
    nv_json_number(e, "changed", type->changed);
    nv_json_number(e, "count_only", type->count_only);
    nv_json_number(e, "allocated", type->allocated);
    nv_json_number(e, "freed", type->freed);
    nv_json_open(e, "bytes", '{');
    for (unsigned i = 0; i < NEVE_COW_CAUSES; i++)
        if (type->bytes[i] != 0)
            nv_json_number(e, neve_cow_cause_key((neve_cow_cause)i), type->bytes[i]);
    nv_json_close(e, '}');
    nv_json_close(e, '}');
}

static void put_page(nv_json *e, const neve_cow_report *report, const neve_cow_page *page)
{
    nv_json_open(e, NULL, '{');
    nv_json_number(e, "address", page->address);
    nv_json_text(e, "state", neve_cow_state_key((neve_cow_state)page->state));
    nv_json_text(e, "area", neve_cow_area_key((neve_cow_area)page->area));
    nv_json_open(e, "causes", '[');
    for (unsigned i = NEVE_COW_CAUSES; i-- > 0;)
        if ((page->causes >> i & 1) != 0)
            nv_json_text(e, NULL, neve_cow_cause_key((neve_cow_cause)i));
    nv_json_close(e, ']');
    if (page->type != 0)
        nv_json_text(e, "type", report->types[page->type - 1].name);
    nv_json_close(e, '}');
}

static void put_process(nv_json *e, const neve_cow_report *report)
{
    nv_json_open(e, "process", '{');
    nv_json_number(e, "rss", report->rss);
    nv_json_number(e, "pss", report->pss);
    nv_json_number(e, "shared_clean", report->shared_clean);
    nv_json_number(e, "shared_dirty", report->shared_dirty);
    nv_json_number(e, "private_clean", report->private_clean);
    nv_json_number(e, "private_dirty", report->private_dirty);
    nv_json_number(e, "swap", report->swap);
    nv_json_close(e, '}');
}

static void put_mapping(nv_json *e, const neve_cow_mapping *mapping)
{
    nv_json_open(e, NULL, '{');
    nv_json_number(e, "start", mapping->start);
    nv_json_number(e, "end", mapping->end);
    nv_json_text(e, "name", mapping->name);
    nv_json_flag(e, "writable", mapping->is_writable);
    put_states(e, "pages", mapping->pages);
    nv_json_close(e, '}');
}

typedef struct taker {
    neve_cow_write_fn write;
    void *ctx;
} taker;

static bool hand_on(void *ctx, const char *text, size_t length)
{
    const taker *to = ctx;
    to->write(to->ctx, text, length);
    return true;
}

void neve_cow_write_json(const neve_cow_report *report, bool has_pages, neve_cow_write_fn write,
                         void *ctx)
{
    static const char *const bases[] = {
        [NEVE_COW_BASIS_NONE] = "none",
        [NEVE_COW_BASIS_PARENT] = "parent",
        [NEVE_COW_BASIS_REFERENCE] = "reference",
    };
    taker to = {write, ctx};
    nv_json e;
    nv_json_begin(&e, hand_on, &to);
    nv_json_open(&e, NULL, '{');
    nv_json_number(&e, "pid", (uint64_t)report->pid);
    nv_json_text(&e, "basis", bases[report->basis]);
    nv_json_number(&e, "basis_pid", (uint64_t)report->basis_pid);
    nv_json_flag(&e, "has_heap", report->has_heap);
    nv_json_text(&e, "remark", report->remark);
    nv_json_number(&e, "page_bytes", report->page_bytes);
    put_process(&e, report);
    put_states(&e, "pages", report->whole.pages);
    put_causes(&e, &report->whole);
    nv_json_open(&e, "areas", '{');
    for (unsigned i = 0; i < NEVE_COW_AREAS; i++) {
        nv_json_open(&e, neve_cow_area_key((neve_cow_area)i), '{');
        put_states(&e, "pages", report->areas[i].pages);
        put_causes(&e, &report->areas[i]);
        nv_json_close(&e, '}');
    }
    nv_json_close(&e, '}');
    nv_json_open(&e, "types", '[');
    for (size_t i = 0; i < report->type_count; i++)
        put_type(&e, &report->types[i]);
    nv_json_close(&e, ']');
    nv_json_open(&e, "mappings", '[');
    for (size_t i = 0; i < report->mapping_count; i++)
        put_mapping(&e, &report->mappings[i]);
    nv_json_close(&e, ']');
    if (has_pages) {
        nv_json_open(&e, "page_list", '[');
        for (size_t i = 0; i < report->page_count; i++)
            put_page(&e, report, &report->pages[i]);
        nv_json_close(&e, ']');
    }
    nv_json_close(&e, '}');
    nv_json_line(&e);
    (void)nv_json_flush(&e);
}
