/* SPDX-License-Identifier: MIT */
/*
 * The containers: how the collector sees them (traverse) and how they let go (clear), how they
 * are made, and where fields are found.
 *
 * The two halves of the contract, for each type: `traverse` visits exactly the references that
 * the object owns, and `clear` takes each out of its field before it releases it. Buffers of
 * values go in `clear` as well; code and captures, which hold no references, in `dealloc`.
 */
#include "vm.h"

#include <string.h>

/* Visits an object that a field of that very type refers to; true: go on. */
static bool visit_field(const void *field, neve_visit_fn visit, void *arg)
{
    return field == NULL || visit((void *)(uintptr_t)field, arg) == 0;
}

static bool visit_values(const value *values, size_t count, neve_visit_fn visit, void *arg)
{
    for (size_t i = 0; i < count; i++) {
        if (is_object(values[i]) && visit(object_of(values[i]), arg) != 0)
            return false;
    }
    return true;
}

/* For pointer fields of any object type. */
#define CLEAR(runtime, field)                                                                      \
    do {                                                                                           \
        neve_object *held = (neve_object *)(field);                                                \
        (field) = NULL;                                                                            \
        neve_release(runtime, held);                                                               \
    } while (0)

static void *object_new(vm *m, const neve_type *type)
{
    void *object = neve_object_new(m->runtime, type);
    if (object == NULL)
        vm_throw_no_memory(m);
    return object;
}

static void *object_new_var(vm *m, const neve_type *type, size_t length)
{
    void *object = neve_object_new_var(m->runtime, type, length);
    if (object == NULL)
        vm_throw_no_memory(m);
    return object;
}

/* ---- lists ---- */

static void list_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const list *l = (list *)object;
    (void)visit_values(l->items, l->count, visit, arg);
}

static void list_clear(neve_runtime *runtime, neve_object *object)
{
    vm *m = neve_runtime_data(runtime);
    list *l = (list *)object, old = *l;
    l->items = NULL;
    l->count = l->capacity = 0;
    for (size_t i = 0; i < old.count; i++)
        release(m, old.items[i]);
    neve_heap_free(m->heap, old.items);
}

const neve_type list_type = {.name = "list",
                             .size = sizeof(list),
                             .flags = NEVE_TYPE_CONTAINER,
                             .traverse = list_traverse,
                             .clear = list_clear};

static bool list_reserve(vm *m, list *l, size_t capacity)
{
    if (capacity <= l->capacity)
        return true;
    value *items = neve_heap_realloc(m->heap, NEVE_DOMAIN_RAW, l->items, capacity * sizeof(value));
    if (items == NULL)
        return vm_throw_no_memory(m);
    l->items = items;
    l->capacity = capacity;
    return true;
}

list *list_new(vm *m, size_t capacity)
{
    list *l = object_new(m, &list_type);
    if (l != NULL && !list_reserve(m, l, capacity)) {
        release(m, from_object(l));
        return NULL;
    }
    return l;
}

bool list_push(vm *m, list *l, value item)
{
    if (l->count == l->capacity && !list_reserve(m, l, l->capacity + l->capacity / 2 + 4))
        return false;
    l->items[l->count++] = retain(item);
    return true;
}

/* ---- functions, closures, the variables they share ---- */

static void function_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const function *f = (function *)object;
    if (visit_field(f->name, visit, arg))
        (void)visit_field(f->constants, visit, arg);
}

static void function_clear(neve_runtime *runtime, neve_object *object)
{
    function *f = (function *)object;
    CLEAR(runtime, f->name);
    CLEAR(runtime, f->constants);
}

static void function_dealloc(neve_runtime *runtime, neve_object *object)
{
    neve_heap *heap = neve_runtime_heap(runtime);
    neve_heap_free(heap, ((function *)object)->code);
    neve_heap_free(heap, ((function *)object)->captures);
}

const neve_type function_type = {.name = "code",
                                 .size = sizeof(function),
                                 .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_FREES_ONLY,
                                 .traverse = function_traverse,
                                 .clear = function_clear,
                                 .dealloc = function_dealloc};

function *function_new(vm *m, string *name)
{
    function *f = object_new(m, &function_type);
    if (f == NULL)
        return NULL;
    f->name = (string *)neve_retain(&name->base.base);
    f->constants = list_new(m, 0);
    f->captures = neve_heap_calloc(m->heap, NEVE_DOMAIN_RAW, CAPTURES_MAX, sizeof(capture));
    if (f->constants == NULL || f->captures == NULL) {
        release(m, from_object(f));
        vm_throw_no_memory(m);
        return NULL;
    }
    return f;
}

static void cell_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    (void)visit_values(&((cell *)object)->held, 1, visit, arg);
}

static void cell_clear(neve_runtime *runtime, neve_object *object)
{
    assign(neve_runtime_data(runtime), &((cell *)object)->held, NIL);
}

const neve_type cell_type = {.name = "cell",
                             .size = sizeof(cell),
                             .flags = NEVE_TYPE_CONTAINER,
                             .traverse = cell_traverse,
                             .clear = cell_clear};

cell *cell_new(vm *m, value held)
{
    cell *c = object_new(m, &cell_type);
    if (c != NULL)
        c->held = held;
    return c;
}

static void closure_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const closure *c = (closure *)object;
    if (!visit_field(c->code, visit, arg))
        return;
    for (size_t i = 0; i < c->base.length; i++) {
        if (!visit_field(c->cells[i], visit, arg))
            return;
    }
}

static void closure_clear(neve_runtime *runtime, neve_object *object)
{
    closure *c = (closure *)object;
    for (size_t i = 0; i < c->base.length; i++)
        CLEAR(runtime, c->cells[i]);
    CLEAR(runtime, c->code);
}

const neve_type closure_type = {.name = "function",
                                .size = sizeof(closure),
                                .item_size = sizeof(cell *),
                                .flags = NEVE_TYPE_CONTAINER,
                                .traverse = closure_traverse,
                                .clear = closure_clear};

closure *closure_new(vm *m, function *code)
{
    closure *c = object_new_var(m, &closure_type, code->capture_count);
    if (c != NULL)
        c->code = (function *)neve_retain(&code->base);
    return c;
}

/* ---- classes ---- */

static void class_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const class *c = (class *)object;
    if (visit_field(c->name, visit, arg) && visit_field(c->parent, visit, arg) &&
        visit_field(c->methods, visit, arg))
        (void)visit_field(c->slots, visit, arg);
}

static void class_clear(neve_runtime *runtime, neve_object *object)
{
    class *c = (class *)object;
    CLEAR(runtime, c->methods);
    CLEAR(runtime, c->slots);
    CLEAR(runtime, c->parent);
    CLEAR(runtime, c->name);
}

const neve_type class_type = {.name = "class",
                              .size = sizeof(class),
                              .flags = NEVE_TYPE_CONTAINER,
                              .traverse = class_traverse,
                              .clear = class_clear};

class *class_new(vm *m, string *name)
{
    class *c = object_new(m, &class_type);
    if (c == NULL)
        return NULL;
    c->name = (string *)neve_retain(&name->base.base);
    c->methods = dict_new(m);
    if (c->methods == NULL) {
        release(m, from_object(c));
        return NULL;
    }
    return c;
}

bool class_inherit(vm *m, class *c, class *parent)
{
    c->parent = (class *)neve_retain(&parent->base);
    c->has_drop = parent->has_drop;
    if (parent->slots == NULL)
        return true;
    c->slots = dict_new(m);
    for (uint32_t i = 0; c->slots != NULL && i < parent->slots->used; i++) {
        if (!dict_set(m, c->slots, parent->slots->entries[i].key, parent->slots->entries[i].item))
            return false;
    }
    return c->slots != NULL;
}

bool class_add_slot(vm *m, class *c, string *name)
{
    if (c->parent != NULL && c->parent->slots == NULL)
        return vm_throw(m, "class %s cannot have slots: its parent has none", c->name->text);
    if (c->slots == NULL && (c->slots = dict_new(m)) == NULL)
        return false;
    if (dict_get(c->slots, from_object(name)) != NO_VALUE)
        return vm_throw(m, "class %s has a slot %s already", c->name->text, name->text);
    return dict_set(m, c->slots, from_object(name), from_int((intptr_t)c->slots->live));
}

neve_object *class_find(const class *c, const string *name)
{
    for (; c != NULL; c = c->parent) {
        /* A class that a collection is clearing, in whose `drop` this happens, has no methods. */
        value found = c->methods == NULL
                          ? NO_VALUE
                          : dict_get(c->methods, from_object((void *)(uintptr_t)name));
        if (found != NO_VALUE)
            return object_of(found);
    }
    return NULL;
}

/* ---- instances ---- */

static void instance_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const instance *i = (instance *)object;
    if (visit_field(i->of, visit, arg))
        (void)visit_field(i->fields, visit, arg);
}

static void instance_clear(neve_runtime *runtime, neve_object *object)
{
    CLEAR(runtime, ((instance *)object)->fields);
    CLEAR(runtime, ((instance *)object)->of);
}

static void slotted_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const slotted *s = (slotted *)object;
    if (visit_field(s->of, visit, arg))
        (void)visit_values(s->fields, s->base.length, visit, arg);
}

static void slotted_clear(neve_runtime *runtime, neve_object *object)
{
    slotted *s = (slotted *)object;
    for (size_t i = 0; i < s->base.length; i++)
        assign(neve_runtime_data(runtime), &s->fields[i], NO_VALUE);
    CLEAR(runtime, s->of);
}

/* The last words of an instance: its method `drop`. Neve calls this once in the object's life,
 * before anything of it is cleared. */
static void instance_drop(neve_runtime *runtime, neve_object *object)
{
    vm *m = neve_runtime_data(runtime);
    neve_object *method = class_find(class_of(from_object(object)), m->drop_name);
    if (method != NULL)
        vm_call_apart(m, "drop", from_object(method), from_object(object));
}

/* A type with a finalizer costs more (its objects' end is awaited, whoever freezes or collects
 * them), so only classes that have a `drop` when the instance is made pay for it. */
const neve_type instance_type = {.name = "instance",
                                 .size = sizeof(instance),
                                 .flags = NEVE_TYPE_CONTAINER,
                                 .traverse = instance_traverse,
                                 .clear = instance_clear};
const neve_type instance_drop_type = {.name = "instance",
                                      .size = sizeof(instance),
                                      .flags = NEVE_TYPE_CONTAINER,
                                      .traverse = instance_traverse,
                                      .clear = instance_clear,
                                      .finalize = instance_drop};
const neve_type slotted_type = {.name = "instance",
                                .size = sizeof(slotted),
                                .item_size = sizeof(value),
                                .flags = NEVE_TYPE_CONTAINER,
                                .traverse = slotted_traverse,
                                .clear = slotted_clear};
const neve_type slotted_drop_type = {.name = "instance",
                                     .size = sizeof(slotted),
                                     .item_size = sizeof(value),
                                     .flags = NEVE_TYPE_CONTAINER,
                                     .traverse = slotted_traverse,
                                     .clear = slotted_clear,
                                     .finalize = instance_drop};

neve_object *instance_new(vm *m, class *c)
{
    if (c->slots == NULL) {
        instance *i = object_new(m, c->has_drop ? &instance_drop_type : &instance_type);
        if (i != NULL)
            i->of = (class *)neve_retain(&c->base);
        return i == NULL ? NULL : &i->base;
    }
    slotted *s =
        object_new_var(m, c->has_drop ? &slotted_drop_type : &slotted_type, c->slots->live);
    if (s != NULL)
        s->of = (class *)neve_retain(&c->base);
    return s == NULL ? NULL : &s->base.base;
}

class *class_of(value v)
{
    if (is_instance(v))
        return ((instance *)object_of(v))->of;
    return is_slotted(v) ? ((slotted *)object_of(v))->of : NULL;
}

/* Where a slot lies, or NULL. */
static value *slot_of(slotted *s, string *name)
{
    value found = s->of == NULL || s->of->slots == NULL ? NO_VALUE
                                                        : dict_get(s->of->slots, from_object(name));
    return found == NO_VALUE ? NULL : &s->fields[int_of(found)];
}

static void bound_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const bound *b = (bound *)object;
    if (visit_values(&b->receiver, 1, visit, arg))
        (void)visit_field(b->method, visit, arg);
}

static void bound_clear(neve_runtime *runtime, neve_object *object)
{
    assign(neve_runtime_data(runtime), &((bound *)object)->receiver, NIL);
    CLEAR(runtime, ((bound *)object)->method);
}

const neve_type bound_type = {.name = "method",
                              .size = sizeof(bound),
                              .flags = NEVE_TYPE_CONTAINER,
                              .traverse = bound_traverse,
                              .clear = bound_clear};

bound *bound_new(vm *m, value receiver, neve_object *method)
{
    bound *b = object_new(m, &bound_type);
    if (b != NULL) {
        b->receiver = retain(receiver);
        b->method = neve_retain(method);
    }
    return b;
}

value field_get(vm *m, value object, string *name)
{
    value found = NO_VALUE;
    if (is_a(object, &class_type)) {
        found = from_object(class_find((class *)object_of(object), name));
    } else if (is_instance(object)) {
        const dict *fields = ((instance *)object_of(object))->fields;
        if (fields != NULL)
            found = dict_get(fields, from_object(name));
    } else if (is_slotted(object)) {
        const value *slot = slot_of((slotted *)object_of(object), name);
        if (slot != NULL)
            found = *slot;
    }
    if (found != NO_VALUE)
        return retain(found);
    neve_object *method = class_find(class_of(object), name);
    if (method != NULL)
        return from_object(bound_new(m, object, method));
    vm_throw(m, "%s has no field %s", type_name(object), name->text);
    return NO_VALUE;
}

bool field_set(vm *m, value object, string *name, value item)
{
    if (is_instance(object)) {
        instance *i = (instance *)object_of(object);
        if (i->fields == NULL && (i->fields = dict_new(m)) == NULL)
            return false;
        return dict_set(m, i->fields, from_object(name), item);
    }
    if (is_slotted(object)) {
        value *slot = slot_of((slotted *)object_of(object), name);
        if (slot == NULL)
            return vm_throw(m, "instance has no slot %s", name->text);
        assign(m, slot, retain(item));
        return true;
    }
    return vm_throw(m, "a field of %s cannot be set", type_name(object));
}

/* ---- the stack ---- */

static void stack_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const stack *s = (stack *)object;
    (void)visit_values(s->values, (size_t)(s->top - s->values), visit, arg);
}

static void stack_clear(neve_runtime *runtime, neve_object *object)
{
    stack *s = (stack *)object;
    while (s->top != s->values)
        release(neve_runtime_data(runtime), *--s->top);
}

static void stack_dealloc(neve_runtime *runtime, neve_object *object)
{
    neve_heap_free(neve_runtime_heap(runtime), ((stack *)object)->values);
}

const neve_type stack_type = {.name = "stack",
                              .size = sizeof(stack),
                              .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_FREES_ONLY,
                              .traverse = stack_traverse,
                              .clear = stack_clear,
                              .dealloc = stack_dealloc};

stack *stack_new(vm *m)
{
    stack *s = object_new(m, &stack_type);
    if (s == NULL)
        return NULL;
    s->values = s->top = neve_heap_alloc(m->heap, NEVE_DOMAIN_RAW, STACK_VALUES * sizeof(value));
    if (s->values == NULL) {
        release(m, from_object(s));
        vm_throw_no_memory(m);
        return NULL;
    }
    return s;
}
