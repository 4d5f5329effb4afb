/* SPDX-License-Identifier: MIT */
/*
 * The functions that every program finds among its globals.
 *
 * A native borrows its arguments, which lie on the stack and are held by it, and gives a new
 * reference as its result; so it retains what it returns of them, and releases nothing of theirs.
 */
#include "vm.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool give(value *result, void *object)
{
    *result = from_object(object);
    return object != NULL;
}

static bool wants(vm *m, const char *name, value v, const neve_type *type)
{
    return is_a(v, type) || vm_throw(m, "%s() wants a %s, not %s", name, type->name, type_name(v));
}

/* ---- text ---- */

static bool native_print(vm *m, int count, value *args, value *result)
{
    for (int i = 0; i < count; i++) {
        string *text = value_text(m, args[i], false);
        if (text == NULL)
            return false;
        printf("%s%s", i > 0 ? " " : "", text->text);
        release(m, from_object(text));
    }
    putchar('\n');
    *result = NIL;
    return true;
}

static bool native_str(vm *m, int count, value *args, value *result)
{
    (void)count;
    return give(result, value_text(m, args[0], false));
}

static bool native_type_name(vm *m, int count, value *args, value *result)
{
    (void)count;
    const char *name = type_name(args[0]);
    return give(result, string_new(m, name, strlen(name)));
}

/* ---- numbers ---- */

static bool native_int(vm *m, int count, value *args, value *result)
{
    (void)count;
    if (is_a(args[0], &number_type)) {
        double is = trunc(((number *)object_of(args[0]))->is);
        /* The largest integers are no doubles: the bound is the power of two above them. */
        if (!(is < -(double)INT_MIN_VALUE && is >= (double)INT_MIN_VALUE))
            return vm_throw(m, "an integer is too large");
        *result = from_int((intptr_t)is);
        return true;
    }
    if (is_a(args[0], &string_type)) {
        char *end;
        const char *text = ((string *)object_of(args[0]))->text;
        errno = 0;
        long long is = strtoll(text, &end, 10);
        if (errno != 0 || *end != '\0' || end == text || is > INT_MAX_VALUE || is < INT_MIN_VALUE)
            return vm_throw(m, "int() wants an integer, not \"%.60s\"", text);
        *result = from_int((intptr_t)is);
        return true;
    }
    if (!is_int(args[0]))
        return vm_throw(m, "int() wants a number, not %s", type_name(args[0]));
    *result = args[0];
    return true;
}

/* ---- lists, dicts, arrays ---- */

static bool native_len(vm *m, int count, value *args, value *result)
{
    (void)count;
    size_t length;
    if (is_a(args[0], &list_type))
        length = ((list *)object_of(args[0]))->count;
    else if (is_a(args[0], &dict_type))
        length = ((dict *)object_of(args[0]))->live;
    else if (is_a(args[0], &array_type))
        length = ((array *)object_of(args[0]))->count;
    else if (is_a(args[0], &string_type))
        length = string_length((string *)object_of(args[0]));
    else
        return vm_throw(m, "%s has no length", type_name(args[0]));
    *result = from_int((intptr_t)length);
    return true;
}

static bool native_push(vm *m, int count, value *args, value *result)
{
    (void)count;
    *result = NIL;
    return wants(m, "push", args[0], &list_type) &&
           list_push(m, (list *)object_of(args[0]), args[1]);
}

static bool native_pop(vm *m, int count, value *args, value *result)
{
    (void)count;
    if (!wants(m, "pop", args[0], &list_type))
        return false;
    list *l = (list *)object_of(args[0]);
    if (l->count == 0)
        return vm_throw(m, "pop() of an empty list");
    *result = l->items[--l->count]; /* the reference changes hands */
    return true;
}

static bool native_keys(vm *m, int count, value *args, value *result)
{
    (void)count;
    if (!wants(m, "keys", args[0], &dict_type))
        return false;
    const dict *d = (dict *)object_of(args[0]);
    list *keys = list_new(m, d->live);
    for (uint32_t i = 0; keys != NULL && i < d->used; i++) {
        if (d->entries[i].key != NO_VALUE)
            (void)list_push(m, keys, d->entries[i].key); /* there is room */
    }
    return give(result, keys);
}

static bool native_has(vm *m, int count, value *args, value *result)
{
    (void)count;
    if (!wants(m, "has", args[0], &dict_type))
        return false;
    *result = from_bool(dict_get((dict *)object_of(args[0]), args[1]) != NO_VALUE);
    return true;
}

static bool native_remove(vm *m, int count, value *args, value *result)
{
    (void)count;
    if (!wants(m, "remove", args[0], &dict_type))
        return false;
    *result = dict_take(m, (dict *)object_of(args[0]), args[1]);
    return *result != NO_VALUE || vm_throw(m, "the dict has no such key");
}

/* array("f64", 1000), or array("u8", [1, 2, 3]). */
static bool native_array(vm *m, int count, value *args, value *result)
{
    static const char *const kinds[] = {
        [ARRAY_U8] = "u8", [ARRAY_I32] = "i32", [ARRAY_F64] = "f64"};
    (void)count;
    if (!wants(m, "array", args[0], &string_type))
        return false;
    int kind = ARRAY_U8;
    while (kind <= ARRAY_F64 && strcmp(kinds[kind], ((string *)object_of(args[0]))->text) != 0)
        kind++;
    if (kind > ARRAY_F64)
        return vm_throw(m, "array() knows u8, i32 and f64");
    const list *items = is_a(args[1], &list_type) ? (list *)object_of(args[1]) : NULL;
    if (items == NULL && (!is_int(args[1]) || int_of(args[1]) < 0))
        return vm_throw(m, "array() wants a length or a list");
    array *a = array_new(m, (array_kind)kind, items ? items->count : (size_t)int_of(args[1]));
    for (size_t i = 0; a != NULL && items != NULL && i < items->count; i++) {
        if (!array_set(m, a, i, items->items[i])) {
            release(m, from_object(a));
            return false;
        }
    }
    return give(result, a);
}

/* ---- weak references ---- */

/* `arg` is the program's function: neve holds it until the referent is dead. */
static void referent_died(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    vm_call_apart(neve_runtime_data(runtime), "a weak reference's callback", from_object(arg),
                  from_object(weakref));
}

/* weak(object) or weak(object, function): calling what it returns gives the object, or nil. */
static bool native_weak(vm *m, int count, value *args, value *result)
{
    if (!is_object(args[0]))
        return vm_throw(m, "%s has no weak references: it is no object", type_name(args[0]));
    bool has_callback = count == 2 && args[1] != NIL;
    if (has_callback && !is_object(args[1]))
        return vm_throw(m, "weak() wants a function, not %s", type_name(args[1]));
    neve_object *made =
        neve_weakref_new(m->runtime, object_of(args[0]), has_callback ? referent_died : NULL,
                         has_callback ? object_of(args[1]) : NULL);
    if (made == NULL)
        return vm_throw_no_memory(m);
    return give(result, made);
}

static bool native_refs(vm *m, int count, value *args, value *result)
{
    (void)m;
    (void)count;
    /* The argument on the stack is one of them. */
    *result = from_int(is_object(args[0]) ? (intptr_t)neve_count(object_of(args[0])) - 1 : 0);
    return true;
}

/* ---- measuring ---- */

/* Processor time of this process in microseconds: other processes do not count. */
static bool native_clock(vm *m, int count, value *args, value *result)
{
    (void)m;
    (void)count;
    (void)args;
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    *result = from_int((intptr_t)(now.tv_sec * 1000000 + now.tv_nsec / 1000));
    return true;
}

/* What blocks take, rounded to their size classes; large ones as they were asked for. */
static bool native_heap_bytes(vm *m, int count, value *args, value *result)
{
    (void)count;
    (void)args;
    neve_heap_stats stats;
    neve_heap_get_stats(m->heap, &stats);
    size_t bytes = stats.large_bytes;
    for (int i = 0; i < NEVE_DOMAINS; i++)
        bytes += stats.small_bytes[i];
    *result = from_int((intptr_t)bytes);
    return true;
}

/* ---- the program and the world ---- */

static bool native_assert(vm *m, int count, value *args, value *result)
{
    *result = NIL;
    if (is_true(args[0]))
        return true;
    string *text = count == 2 ? value_text(m, args[1], false) : NULL;
    if (count == 2 && text == NULL)
        return false;
    vm_throw(m, "assertion failed%s%.150s", text != NULL ? ": " : "", text ? text->text : "");
    release(m, from_object(text));
    return false;
}

/* Leaves through every `with`, and past every `catch`. */
static bool native_exit(vm *m, int count, value *args, value *result)
{
    (void)result;
    if (count == 1 && (!is_int(args[0]) || int_of(args[0]) < 0 || int_of(args[0]) > 255))
        return vm_throw(m, "exit() wants a status from 0 to 255");
    vm_throw(m, "exit() where the program cannot be left");
    m->is_exiting = true;
    m->exit_status = count == 1 ? (int)int_of(args[0]) : 0;
    return false;
}

/* on_interrupt(function): called at the next safe point after a SIGINT; nil: it is an error. */
static bool native_on_interrupt(vm *m, int count, value *args, value *result)
{
    (void)count;
    if (args[0] != NIL && !is_object(args[0]))
        return vm_throw(m, "on_interrupt() wants a function or nil");
    neve_object *old = m->on_interrupt;
    m->on_interrupt = args[0] == NIL ? NULL : neve_retain(object_of(args[0]));
    *result = old == NULL ? NIL : from_object(old);
    return true;
}

bool define_native(vm *m, dict *into, const char *name, native_fn call, int least, int most)
{
    string *key = string_name(m, name, strlen(name));
    native *made = key == NULL ? NULL : native_new(m, name, call, least, most);
    bool done = made != NULL && dict_set(m, into, from_object(key), from_object(made));
    release(m, from_object(key));
    release(m, from_object(made));
    return done;
}

bool builtins_define(vm *m)
{
    static const struct {
        const char *name;
        native_fn call;
        int least, most;
    } table[] = {
        {"print", native_print, 0, -1},
        {"str", native_str, 1, 1},
        {"type", native_type_name, 1, 1},
        {"int", native_int, 1, 1},
        {"len", native_len, 1, 1},
        {"push", native_push, 2, 2},
        {"pop", native_pop, 1, 1},
        {"keys", native_keys, 1, 1},
        {"has", native_has, 2, 2},
        {"remove", native_remove, 2, 2},
        {"array", native_array, 2, 2},
        {"weak", native_weak, 1, 2},
        {"refs", native_refs, 1, 1},
        {"clock", native_clock, 0, 0},
        {"heap_bytes", native_heap_bytes, 0, 0},
        {"assert", native_assert, 1, 2},
        {"exit", native_exit, 0, 1},
        {"on_interrupt", native_on_interrupt, 1, 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (!define_native(m, (dict *)m->globals, table[i].name, table[i].call, table[i].least,
                           table[i].most))
            return false;
    }
    return true;
}
