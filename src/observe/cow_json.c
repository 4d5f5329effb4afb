/* SPDX-License-Identifier: MIT */
/*
 * A report as JSON: the one place that says what its fields are called, for the program
 * and for every host that offers the report.
 */
#include "cow_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct emitter {
    neve_cow_write_fn write;
    void *ctx;
    bool needs_comma;
} emitter;

static void put(emitter *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(emitter *e, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0)
        e->write(e->ctx, text, (size_t)length);
}

/* Bytes that are no ASCII are shown as Latin-1 characters, so that the text is always valid. */
static void put_string(emitter *e, const char *string)
{
    put(e, "\"");
    for (; *string != '\0'; string++) {
        unsigned char c = (unsigned char)*string;
        if (c == '"' || c == '\\')
            put(e, "\\%c", c);
        else if (c < ' ' || c >= 127)
            put(e, "\\u%04x", c);
        else
            put(e, "%c", c);
    }
    put(e, "\"");
}

static void begin_item(emitter *e, const char *key)
{
    if (e->needs_comma)
        put(e, ", ");
    e->needs_comma = false;
    if (key != NULL)
        put(e, "\"%s\": ", key);
}

static void open_group(emitter *e, const char *key, char bracket)
{
    begin_item(e, key);
    put(e, "%c", bracket);
}

static void close_group(emitter *e, char bracket)
{
    put(e, "%c", bracket);
    e->needs_comma = true;
}

static void put_number(emitter *e, const char *key, uint64_t number)
{
    begin_item(e, key);
    put(e, "%" PRIu64, number);
    e->needs_comma = true;
}

static void put_text(emitter *e, const char *key, const char *text)
{
    begin_item(e, key);
    put_string(e, text);
    e->needs_comma = true;
}

static void put_flag(emitter *e, const char *key, bool is_true)
{
    begin_item(e, key);
    put(e, "%s", is_true ? "true" : "false");
    e->needs_comma = true;
}

static void put_states(emitter *e, const char *key, const size_t pages[NEVE_COW_STATES])
{
    open_group(e, key, '{');
    for (unsigned i = 0; i < NEVE_COW_STATES; i++)
        put_number(e, neve_cow_state_key((neve_cow_state)i), pages[i]);
    close_group(e, '}');
}

static void put_causes(emitter *e, const neve_cow_sum *sum)
{
    open_group(e, "causes", '{');
    for (unsigned i = 0; i < NEVE_COW_CAUSES; i++) {
        if (sum->causes[i] == 0)
            continue;
        open_group(e, neve_cow_cause_key((neve_cow_cause)i), '{');
        put_number(e, "pages", sum->main_causes[i]);
        put_number(e, "pages_with", sum->causes[i]);
        put_number(e, "bytes", sum->bytes[i]);
        close_group(e, '}');
    }
    close_group(e, '}');
}

static void put_type(emitter *e, const neve_cow_type *type)
{
    open_group(e, NULL, '{');
    put_text(e, "name", type->name);
    put_number(e, "pages", type->pages);
    put_number(e, "pages_alone", type->pages_alone);
    put_number(e, "pages_same", type->pages_same);
    put_number(e, "changed", type->changed);
    put_number(e, "count_only", type->count_only);
    put_number(e, "allocated", type->allocated);
    put_number(e, "freed", type->freed);
    open_group(e, "bytes", '{');
    for (unsigned i = 0; i < NEVE_COW_CAUSES; i++)
        if (type->bytes[i] != 0)
            put_number(e, neve_cow_cause_key((neve_cow_cause)i), type->bytes[i]);
    close_group(e, '}');
    close_group(e, '}');
}

static void put_page(emitter *e, const neve_cow_report *report, const neve_cow_page *page)
{
    open_group(e, NULL, '{');
    put_number(e, "address", page->address);
    put_text(e, "state", neve_cow_state_key((neve_cow_state)page->state));
    put_text(e, "area", neve_cow_area_key((neve_cow_area)page->area));
    open_group(e, "causes", '[');
    for (unsigned i = NEVE_COW_CAUSES; i-- > 0;)
        if ((page->causes >> i & 1) != 0)
            put_text(e, NULL, neve_cow_cause_key((neve_cow_cause)i));
    close_group(e, ']');
    if (page->type != 0)
        put_text(e, "type", report->types[page->type - 1].name);
    close_group(e, '}');
}

static void put_process(emitter *e, const neve_cow_report *report)
{
    open_group(e, "process", '{');
    put_number(e, "rss", report->rss);
    put_number(e, "pss", report->pss);
    put_number(e, "shared_clean", report->shared_clean);
    put_number(e, "shared_dirty", report->shared_dirty);
    put_number(e, "private_clean", report->private_clean);
    put_number(e, "private_dirty", report->private_dirty);
    put_number(e, "swap", report->swap);
    close_group(e, '}');
}

static void put_mapping(emitter *e, const neve_cow_mapping *mapping)
{
    open_group(e, NULL, '{');
    put_number(e, "start", mapping->start);
    put_number(e, "end", mapping->end);
    put_text(e, "name", mapping->name);
    put_flag(e, "writable", mapping->is_writable);
    put_states(e, "pages", mapping->pages);
    close_group(e, '}');
}

void neve_cow_write_json(const neve_cow_report *report, bool has_pages, neve_cow_write_fn write,
                         void *ctx)
{
    static const char *const bases[] = {
        [NEVE_COW_BASIS_NONE] = "none",
        [NEVE_COW_BASIS_PARENT] = "parent",
        [NEVE_COW_BASIS_REFERENCE] = "reference",
    };
    emitter e = {write, ctx, false};
    open_group(&e, NULL, '{');
    put_number(&e, "pid", (uint64_t)report->pid);
    put_text(&e, "basis", bases[report->basis]);
    put_number(&e, "basis_pid", (uint64_t)report->basis_pid);
    put_flag(&e, "has_heap", report->has_heap);
    put_text(&e, "remark", report->remark);
    put_number(&e, "page_bytes", report->page_bytes);
    put_process(&e, report);
    put_states(&e, "pages", report->whole.pages);
    put_causes(&e, &report->whole);
    open_group(&e, "areas", '{');
    for (unsigned i = 0; i < NEVE_COW_AREAS; i++) {
        open_group(&e, neve_cow_area_key((neve_cow_area)i), '{');
        put_states(&e, "pages", report->areas[i].pages);
        put_causes(&e, &report->areas[i]);
        close_group(&e, '}');
    }
    close_group(&e, '}');
    open_group(&e, "types", '[');
    for (size_t i = 0; i < report->type_count; i++)
        put_type(&e, &report->types[i]);
    close_group(&e, ']');
    open_group(&e, "mappings", '[');
    for (size_t i = 0; i < report->mapping_count; i++)
        put_mapping(&e, &report->mappings[i]);
    close_group(&e, ']');
    if (has_pages) {
        open_group(&e, "page_list", '[');
        for (size_t i = 0; i < report->page_count; i++)
            put_page(&e, report, &report->pages[i]);
        close_group(&e, ']');
    }
    close_group(&e, '}');
    put(&e, "\n");
}
