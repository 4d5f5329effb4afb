/* SPDX-License-Identifier: MIT */
/*
 * Cells: making them, counting, and what happens when a count reaches 0. The only
 * traces of Neve are the two calls that allocate and free, and the two beside them that
 * count containers for the collector's threshold.
 */
#include "value.h"

#include <string.h>

#define HEADER_BYTES offsetof(cell, as)
/* Candidates lie at least 32 bytes apart (neve/host.h). */
#define CONTAINER_MIN_BYTES 32u

static cell *cell_new(machine *m, kind k, uint32_t length, size_t bytes)
{
    /* Containers and leaves are kept apart: the collector reads the young containers
     * off the heap, and must find nothing else there. */
    bool is_container = k != KIND_TEXT;
    if (is_container && bytes < CONTAINER_MIN_BYTES)
        bytes = CONTAINER_MIN_BYTES;
    cell *c =
        neve_heap_calloc(m->heap, is_container ? NEVE_DOMAIN_OBJECT : NEVE_DOMAIN_LEAF, 1, bytes);
    if (c == NULL)
        return NULL;
    c->count = 1;
    c->kind = (uint8_t)k;
    c->length = length;
    m->cells++;
    if (is_container)
        neve_collector_count_alloc(m->collector);
    return c;
}

word text_new(machine *m, const char *text)
{
    size_t length = strlen(text);
    cell *c = cell_new(m, KIND_TEXT, (uint32_t)length, HEADER_BYTES + length + 1);
    if (c == NULL)
        return NIL;
    memcpy(c->as.text, text, length + 1);
    return (word)c;
}

word tuple_new(machine *m, uint32_t length)
{
    return (word)cell_new(m, KIND_TUPLE, length, HEADER_BYTES + length * sizeof(word));
}

word guard_new(machine *m, word item, end_function on_end)
{
    cell *c = cell_new(m, KIND_GUARD, 1, sizeof(cell));
    if (c == NULL)
        return NIL;
    c->as.guard.item = word_retain(item);
    c->as.guard.on_end = on_end;
    return (word)c;
}

word *cell_words(cell *c, size_t *count)
{
    *count = c->kind == KIND_TUPLE ? c->length : c->kind == KIND_GUARD;
    return c->kind == KIND_GUARD ? &c->as.guard.item : c->as.items;
}

word word_retain(word w)
{
    if (is_cell(w) && cell_of(w)->count != COUNT_STUCK)
        cell_of(w)->count++;
    return w;
}

bool guard_end(machine *m, cell *c)
{
    end_function on_end = c->kind == KIND_GUARD ? c->as.guard.on_end : NULL;
    if (on_end == NULL)
        return false;
    c->as.guard.on_end = NULL;
    on_end(m, c);
    return true;
}

void word_release(machine *m, word w)
{
    if (!is_cell(w) || cell_of(w)->count == COUNT_STUCK || --cell_of(w)->count > 0)
        return;
    cell *c = cell_of(w);
    /* The guard's function gets a whole cell, with a reference, and may store others. */
    c->count = 1;
    if (guard_end(m, c) && (c->count == COUNT_STUCK || --c->count > 0))
        return;
    c->count = 0;
    c->is_dying = true;
    /* Depth first: a chain of a million cells needs as many frames here. Neve's own
     * objects are queued instead (src/object/object.c). */
    size_t count;
    word *words = cell_words(c, &count);
    for (size_t i = 0; i < count; i++) {
        word held = words[i];
        words[i] = NIL;
        word_release(m, held);
    }
    if (c->kind != KIND_TEXT)
        neve_collector_count_free(m->collector);
    m->cells--;
    neve_heap_free(m->heap, c);
}
