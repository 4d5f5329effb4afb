/* SPDX-License-Identifier: MIT */
/*
 * The leaves (strings, numbers, typed arrays, native functions), and what holds for every value:
 * equality, hashes, text.
 *
 * Invariant: an object is whole before anything else is allocated, and nothing here writes to
 * one that it has not just made; so all that is frozen stays shared after a fork().
 */
#include "vm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A leaf needs no traverse and no clear: it is counted, and freed. */
const neve_type string_type = {.name = "string", .size = offsetof(string, text), .item_size = 1};
const neve_type number_type = {.name = "number", .size = sizeof(number)};
const neve_type array_type = {.name = "array", .size = offsetof(array, data), .item_size = 1};
const neve_type native_type = {.name = "native function", .size = sizeof(native)};

/* ---- strings ---- */

static uint32_t hash_text(const char *text, size_t length)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash;
}

static string *string_begin(vm *m, size_t length)
{
    string *s = (string *)neve_object_new_var(m->runtime, &string_type, length + 1);
    if (s == NULL)
        vm_throw_no_memory(m);
    return s;
}

string *string_new(vm *m, const char *text, size_t length)
{
    string *s = string_begin(m, length);
    if (s == NULL)
        return NULL;
    memcpy(s->text, text, length);
    s->hash = hash_text(text, length);
    return s;
}

string *string_join(vm *m, const string *a, const string *b)
{
    size_t length = string_length(a) + string_length(b);
    string *s = string_begin(m, length);
    if (s == NULL)
        return NULL;
    memcpy(s->text, a->text, string_length(a));
    memcpy(s->text + string_length(a), b->text, string_length(b));
    s->hash = hash_text(s->text, length);
    return s;
}

string *string_name(vm *m, const char *text, size_t length)
{
    string *s = string_new(m, text, length);
    if (s == NULL)
        return NULL;
    value known = dict_get((dict *)m->names, from_object(s));
    if (known != NO_VALUE) {
        release(m, from_object(s));
        return (string *)object_of(retain(known));
    }
    if (!dict_set(m, (dict *)m->names, from_object(s), from_object(s))) {
        release(m, from_object(s));
        return NULL;
    }
    return s;
}

/* ---- numbers, natives ---- */

number *number_new(vm *m, double is)
{
    number *n = (number *)neve_object_new(m->runtime, &number_type);
    if (n == NULL)
        vm_throw_no_memory(m);
    else
        n->is = is;
    return n;
}

native *native_new(vm *m, const char *name, native_fn call, int least, int most)
{
    native *n = (native *)neve_object_new(m->runtime, &native_type);
    if (n == NULL) {
        vm_throw_no_memory(m);
        return NULL;
    }
    n->name = name;
    n->call = call;
    n->least = least;
    n->most = most;
    return n;
}

/* ---- typed arrays ---- */

static const size_t item_bytes[] = {[ARRAY_U8] = 1, [ARRAY_I32] = 4, [ARRAY_F64] = 8};

array *array_new(vm *m, array_kind kind, size_t count)
{
    array *a = NULL;
    if (count <= SIZE_MAX / item_bytes[kind])
        a = (array *)neve_object_new_var(m->runtime, &array_type, count * item_bytes[kind]);
    if (a == NULL) {
        vm_throw_no_memory(m);
        return NULL;
    }
    a->kind = kind;
    a->count = count;
    return a;
}

value array_get(vm *m, const array *a, size_t i)
{
    switch (a->kind) {
    case ARRAY_U8:
        return from_int(((const uint8_t *)a->data)[i]);
    case ARRAY_I32:
        return from_int(((const int32_t *)(const void *)a->data)[i]);
    default:
        return from_object(number_new(m, a->data[i]));
    }
}

bool array_set(vm *m, array *a, size_t i, value item)
{
    if (a->kind == ARRAY_F64) {
        if (!is_int(item) && !is_a(item, &number_type))
            return vm_throw(m, "an array of f64 cannot hold %s", type_name(item));
        a->data[i] = is_int(item) ? (double)int_of(item) : ((number *)object_of(item))->is;
        return true;
    }
    intptr_t least = a->kind == ARRAY_U8 ? 0 : INT32_MIN;
    intptr_t most = a->kind == ARRAY_U8 ? UINT8_MAX : INT32_MAX;
    if (!is_int(item) || int_of(item) < least || int_of(item) > most)
        return vm_throw(m, "an array of %s holds integers from %" PRIdPTR " to %" PRIdPTR,
                        a->kind == ARRAY_U8 ? "u8" : "i32", least, most);
    if (a->kind == ARRAY_U8)
        ((uint8_t *)a->data)[i] = (uint8_t)int_of(item);
    else
        ((int32_t *)(void *)a->data)[i] = (int32_t)int_of(item);
    return true;
}

/* ---- any value ---- */

bool value_equal(value a, value b)
{
    if (a == b)
        return true;
    if (!is_object(a) || !is_object(b))
        return false;
    if (is_a(a, &string_type) && is_a(b, &string_type)) {
        const string *s = (string *)object_of(a), *t = (string *)object_of(b);
        return s->hash == t->hash && s->base.length == t->base.length &&
               memcmp(s->text, t->text, s->base.length) == 0;
    }
    return is_a(a, &number_type) && is_a(b, &number_type) &&
           ((number *)object_of(a))->is == ((number *)object_of(b))->is;
}

uint32_t value_hash(value v)
{
    if (is_a(v, &string_type))
        return ((string *)object_of(v))->hash;
    uint64_t bits = v;
    if (is_a(v, &number_type)) {
        double is = ((number *)object_of(v))->is + 0.0; /* -0.0 equals 0.0 */
        memcpy(&bits, &is, sizeof bits);
    }
    return (uint32_t)((bits * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

const char *type_name(value v)
{
    if (is_int(v))
        return "integer";
    if (v == NIL)
        return "nil";
    return is_object(v) ? neve_type_of(object_of(v))->name : "boolean";
}

/* Text as it grows; a raw block of the heap. */
typedef struct text {
    vm *m;
    char *at;
    size_t length, capacity;
    bool failed;
} text;

static void text_add(text *t, const char *what, size_t length)
{
    if (t->failed)
        return;
    if (t->capacity - t->length < length) {
        size_t capacity = (t->length + length) * 2;
        char *at = neve_heap_realloc(t->m->heap, NEVE_DOMAIN_RAW, t->at, capacity);
        if (at == NULL) {
            t->failed = true;
            return;
        }
        t->at = at;
        t->capacity = capacity;
    }
    memcpy(t->at + t->length, what, length);
    t->length += length;
}

static void text_add_words(text *t, const char *words)
{
    text_add(t, words, strlen(words));
}

#define TEXT_DEPTH 4 /* lists within lists that are shown; one that holds itself has no end */

static void text_value(text *t, value v, bool quoted, int depth)
{
    char buffer[64];
    if (is_int(v)) {
        snprintf(buffer, sizeof buffer, "%" PRIdPTR, int_of(v));
        text_add_words(t, buffer);
    } else if (!is_object(v)) {
        text_add_words(t, v == NIL ? "nil" : v == TRUE_VALUE ? "true" : "false");
    } else if (is_a(v, &string_type)) {
        const string *s = (string *)object_of(v);
        text_add(t, "\"", quoted ? 1 : 0);
        text_add(t, s->text, string_length(s));
        text_add(t, "\"", quoted ? 1 : 0);
    } else if (is_a(v, &number_type)) {
        snprintf(buffer, sizeof buffer, "%.10g", ((number *)object_of(v))->is);
        if (strpbrk(buffer, ".en") == NULL) /* 2.0 is no integer; inf and nan have an n */
            strcat(buffer, ".0");
        text_add_words(t, buffer);
    } else if (is_a(v, &list_type)) {
        const list *l = (list *)object_of(v);
        text_add_words(t, "[");
        for (size_t i = 0; i < l->count; i++) {
            text_add_words(t, i > 0 ? ", " : "");
            if (depth == 0) {
                text_add_words(t, "...");
                break;
            }
            text_value(t, l->items[i], true, depth - 1);
        }
        text_add_words(t, "]");
    } else if (is_a(v, &dict_type)) {
        const dict *d = (dict *)object_of(v);
        const char *between = "";
        text_add_words(t, "{");
        for (uint32_t i = 0; i < d->used; i++) {
            if (d->entries[i].key == NO_VALUE)
                continue;
            text_add_words(t, between);
            between = ", ";
            if (depth == 0) {
                text_add_words(t, "...");
                break;
            }
            text_value(t, d->entries[i].key, true, depth - 1);
            text_add_words(t, ": ");
            text_value(t, d->entries[i].item, true, depth - 1);
        }
        text_add_words(t, "}");
    } else {
        /* The rest have no text of their own: what they are. */
        const class *c = is_a(v, &class_type) ? (class *)object_of(v) : class_of(v);
        text_add_words(t, c == NULL ? "<" : is_a(v, &class_type) ? "<class " : "<instance of ");
        text_add_words(t, c == NULL || c->name == NULL ? type_name(v) : c->name->text);
        text_add_words(t, ">");
    }
}

string *value_text(vm *m, value v, bool quoted)
{
    if (is_a(v, &string_type) && !quoted)
        return (string *)object_of(retain(v));
    text t = {.m = m};
    text_value(&t, v, quoted, TEXT_DEPTH);
    string *s = NULL;
    if (t.failed)
        vm_throw_no_memory(m);
    else
        s = string_new(m, t.at == NULL ? "" : t.at, t.length);
    neve_heap_free(m->heap, t.at);
    return s;
}
