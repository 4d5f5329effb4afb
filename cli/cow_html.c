/* SPDX-License-Identifier: MIT */
/*
 * neve cow --html: a picture of the pages, one small square for each, with the tables
 * beside it, in one file that needs nothing else.
 *
 * The pages are written as runs of four numbers (how many; look; area; type), in address
 * order, mapping by mapping; a script in the file draws them. A look is 0 for a page that
 * is not present, then the states, then the causes of dirty pages.
 */
#include "cli.h"

#include <neve/cow.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Reds for what the program wants changed, yellows for counts, violet for the allocator. */
static const char *const cause_colours[NEVE_COW_CAUSES] = {
    [NEVE_COW_CAUSE_UNKNOWN] = "#e6550d",   [NEVE_COW_CAUSE_NEW] = "#2ca02c",
    [NEVE_COW_CAUSE_SAME] = "#ffe08a",      [NEVE_COW_CAUSE_COUNT] = "#ffbf00",
    [NEVE_COW_CAUSE_HEAD] = "#ff9f40",      [NEVE_COW_CAUSE_CACHE] = "#17becf",
    [NEVE_COW_CAUSE_LINK] = "#c5b0d5",      [NEVE_COW_CAUSE_FREED] = "#8c564b",
    [NEVE_COW_CAUSE_ALLOCATED] = "#9467bd", [NEVE_COW_CAUSE_BODY] = "#d62728",
    [NEVE_COW_CAUSE_OTHER] = "#e377c2",
};
static const char *const state_colours[NEVE_COW_STATES] = {
    [NEVE_COW_STATE_SHARED] = "#c9d8e8",
    [NEVE_COW_STATE_CLEAN] = "#8fb2d6",
    [NEVE_COW_STATE_DIRTY] = "#d62728",
    [NEVE_COW_STATE_SWAPPED] = "#7f7f7f",
};

static const char style[] =
    "body{font:14px sans-serif;margin:1em;color:#222}main{display:flex;gap:2em;flex-wrap:wrap}"
    "#map{min-width:660px}#map h3{font:12px monospace;margin:8px 0 2px}"
    "table{border-collapse:collapse;margin-bottom:1.5em}td,th{padding:1px 8px;text-align:right}"
    "td:first-child,th:first-child{text-align:left}tr:hover{background:#eee}"
    "i{display:inline-block;width:10px;height:10px;margin-right:6px;border:1px solid #999}"
    "#tip{position:fixed;background:#fff;border:1px solid #888;padding:2px 6px;font:12px monospace;"
    "display:none;pointer-events:none}";

/* `colours`, `looks`, `areas`, `types`, `maps` and `pageBytes` come before it. */
static const char script[] =
    "const W=128,S=5,tip=document.getElementById('tip'),map=document.getElementById('map');\n"
    "for(const m of maps){const pages=[];\n"
    " for(let i=0;i<m.runs.length;i+=4)for(let n=m.runs[i];n-->0;)pages.push(i);\n"
    " const h=document.createElement('h3');h.textContent=m.title;map.append(h);\n"
    " const c=document.createElement('canvas');c.width=W*S;c.height=Math.ceil(pages.length/W)*S;\n"
    " const g=c.getContext('2d');\n"
    " pages.forEach((r,i)=>{g.fillStyle=colours[m.runs[r+1]];"
    "g.fillRect(i%W*S,Math.floor(i/W)*S,S-1,S-1)});\n"
    " c.onmousemove=e=>{const i=Math.floor(e.offsetY/S)*W+Math.floor(e.offsetX/S),r=pages[i];\n"
    "  if(r===undefined)return;const t=m.runs[r+3];\n"
    "  tip.textContent='0x'+(BigInt(m.start)+BigInt(i)*BigInt(pageBytes)).toString(16)+"
    "': '+looks[m.runs[r+1]]+', '+areas[m.runs[r+2]]+(t?', only '+types[t-1]:'');\n"
    "  "
    "tip.style.display='block';tip.style.left=e.clientX+12+'px';tip.style.top=e.clientY+12+'px'};\n"
    " c.onmouseleave=()=>tip.style.display='none';map.append(c)}\n";

static void put_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '<' || c == '>' || c == '&' || c == '"' || c < ' ' || c >= 127)
            fprintf(out, "&#%u;", c);
        else
            putc(c, out);
    }
}

/* A string of the script's; also safe inside the element that holds it. */
static void put_string(FILE *out, const char *text)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c < ' ' || c >= 127)
            fprintf(out, "\\u%04x", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

static unsigned look_of(const neve_cow_page *page)
{
    return page->state == NEVE_COW_STATE_DIRTY ? 1u + NEVE_COW_STATES + page->cause
                                               : 1u + page->state;
}

static void put_run(FILE *out, size_t count, const neve_cow_page *page)
{
    if (count == 0)
        return;
    if (page == NULL)
        fprintf(out, "%zu,0,0,0,", count);
    else
        fprintf(out, "%zu,%u,%u,%u,", count, look_of(page), (unsigned)page->area, page->type);
}

static bool looks_same(const neve_cow_page *a, const neve_cow_page *b)
{
    return look_of(a) == look_of(b) && a->area == b->area && a->type == b->type;
}

/* The pages of one mapping, of which `page` is the first that is present. Gaps of more than
 * a few rows are shortened: address space that was only reserved. */
static size_t put_mapping(FILE *out, const neve_cow_report *report, size_t page)
{
    enum { GAP_MAX = 512 };
    const neve_cow_mapping *mapping = &report->mappings[report->pages[page].mapping];
    const uint32_t number = report->pages[page].mapping;
    const neve_cow_page *run = NULL;
    size_t count = 0;
    uintptr_t expected = report->pages[page].address;
    fprintf(out, "{start:\"0x%" PRIxPTR "\",title:", expected);
    char *title =
        nvcli_format("%" PRIxPTR "-%" PRIxPTR " %s", mapping->start, mapping->end, mapping->name);
    put_string(out, title);
    free(title);
    fputs(",runs:[", out);
    for (; page < report->page_count && report->pages[page].mapping == number; page++) {
        const neve_cow_page *this = &report->pages[page];
        size_t gap = (this->address - expected) / report->page_bytes;
        if (gap > GAP_MAX)
            break; /* another piece of the same mapping */
        if (gap != 0 || run == NULL || !looks_same(run, this)) {
            put_run(out, count, run);
            put_run(out, gap, NULL);
            run = this;
            count = 0;
        }
        count++;
        expected = this->address + report->page_bytes;
    }
    put_run(out, count, run);
    fputs("]},\n", out);
    return page;
}

static void put_data(FILE *out, const neve_cow_report *report)
{
    fprintf(out, "const pageBytes=%zu,colours=[\"#fff\"", report->page_bytes);
    for (unsigned s = 0; s < NEVE_COW_STATES; s++)
        fprintf(out, ",\"%s\"", state_colours[s]);
    for (unsigned c = 0; c < NEVE_COW_CAUSES; c++)
        fprintf(out, ",\"%s\"", cause_colours[c]);
    fputs("],\nlooks=[\"not present\"", out);
    for (unsigned s = 0; s < NEVE_COW_STATES; s++) {
        putc(',', out);
        put_string(out, neve_cow_state_text((neve_cow_state)s));
    }
    for (unsigned c = 0; c < NEVE_COW_CAUSES; c++) {
        putc(',', out);
        put_string(out, neve_cow_cause_text((neve_cow_cause)c));
    }
    fputs("],\nareas=[", out);
    for (unsigned a = 0; a < NEVE_COW_AREAS; a++) {
        put_string(out, neve_cow_area_text((neve_cow_area)a));
        putc(',', out);
    }
    fputs("],\ntypes=[", out);
    for (size_t i = 0; i < report->type_count; i++) {
        put_string(out, report->types[i].name);
        putc(',', out);
    }
    fputs("],\nmaps=[", out);
    for (size_t page = 0; page < report->page_count;)
        page = put_mapping(out, report, page);
    fputs("];\n", out);
}

static double kib(const neve_cow_report *report, size_t pages)
{
    return (double)pages * (double)report->page_bytes / 1024.0;
}

static void put_causes(FILE *out, const neve_cow_report *report)
{
    fputs("<table><tr><th>dirty pages by main cause<th>kB<th>any of it, kB<th>bytes\n", out);
    for (unsigned c = 0; c < NEVE_COW_CAUSES; c++) {
        if (report->whole.causes[c] == 0)
            continue;
        fprintf(out, "<tr><td><i style=\"background:%s\"></i>", cause_colours[c]);
        put_escaped(out, neve_cow_cause_text((neve_cow_cause)c));
        fprintf(out, "<td>%.0f<td>%.0f<td>%" PRIu64 "\n", kib(report, report->whole.main_causes[c]),
                kib(report, report->whole.causes[c]), report->whole.bytes[c]);
    }
    fputs("</table>\n", out);
}

static void put_areas(FILE *out, const neve_cow_report *report)
{
    fputs("<table><tr><th>kB, by part of the memory", out);
    for (unsigned s = 0; s < NEVE_COW_STATES; s++)
        fprintf(out, "<th><i style=\"background:%s\"></i>%s", state_colours[s],
                neve_cow_state_text((neve_cow_state)s));
    for (unsigned a = 0; a <= NEVE_COW_AREAS; a++) {
        const neve_cow_sum *sum = a < NEVE_COW_AREAS ? &report->areas[a] : &report->whole;
        fputs("\n<tr><td>", out);
        put_escaped(out, a < NEVE_COW_AREAS ? neve_cow_area_text((neve_cow_area)a) : "all");
        for (unsigned s = 0; s < NEVE_COW_STATES; s++)
            fprintf(out, "<td>%.0f", kib(report, sum->pages[s]));
    }
    fputs("</table>\n", out);
}

static void put_types(FILE *out, const neve_cow_report *report)
{
    fputs(
        "<table><tr><th>dirty pages by type of object<th>kB<th>alone<th>same<th>changed<th>counts "
        "only<th>allocated<th>freed\n",
        out);
    for (size_t i = 0; i < report->type_count; i++) {
        const neve_cow_type *t = &report->types[i];
        fputs("<tr><td>", out);
        put_escaped(out, t->name);
        fprintf(out, "<td>%.0f<td>%.0f<td>%.0f<td>%zu<td>%zu<td>%zu<td>%zu\n",
                kib(report, t->pages), kib(report, t->pages_alone), kib(report, t->pages_same),
                t->changed, t->count_only, t->allocated, t->freed);
    }
    fputs("</table>\n", out);
}

static void put_page(FILE *out, const neve_cow_report *report)
{
    fprintf(out,
            "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"ascii\"><title>neve cow %d</title>"
            "<style>%s</style>\n<h1>Process %d</h1>\n",
            report->pid, style, report->pid);
    if (report->basis_pid != 0)
        fprintf(out, "<p>Compared with %s process %d%s.\n",
                report->basis == NEVE_COW_BASIS_REFERENCE ? "the copy that" : "the memory of",
                report->basis_pid,
                report->basis == NEVE_COW_BASIS_REFERENCE ? " keeps" : " as it is now");
    if (report->remark[0] != '\0') {
        fputs("<p>Note: ", out);
        put_escaped(out, report->remark);
    }
    fprintf(
        out,
        "\n<p>Private dirty %.0f kB, shared %.0f kB, Rss %.0f kB, Pss %.0f kB. A square is a page "
        "of %zu bytes.\n<main><div id=\"map\"></div><div>\n",
        (double)report->private_dirty / 1024,
        (double)(report->shared_clean + report->shared_dirty) / 1024, (double)report->rss / 1024,
        (double)report->pss / 1024, report->page_bytes);
    put_causes(out, report);
    put_areas(out, report);
    put_types(out, report);
    fputs("</div></main><div id=\"tip\"></div>\n<script>\n", out);
    put_data(out, report);
    fprintf(out, "%s</script></html>\n", script);
}

int nvcli_cow_html(const neve_cow_report *report, const char *path)
{
    FILE *out = nvcli_replacement_begin("cow", path);
    if (out == NULL)
        return NVCLI_FAILED;
    put_page(out, report);
    return nvcli_replacement_finish("cow", path, out);
}
