/* SPDX-License-Identifier: MIT */
/*
 * The nouns of the example VM: values, the objects that its programs are made of, the machine.
 * Every source of this folder includes it; docs/vm.md walks through them in order.
 *
 *   lexer.c      text -> tokens
 *   compiler.c   tokens -> instructions (expressions), statements.c the rest of the grammar
 *   value.c      what holds for every value: equality, hashes, text, the native types of the leaves
 *   dict.c       the hash table behind dicts, fields of instances, methods and globals
 *   object.c     the native types of the containers
 *   operate.c    operators, items, what `for` takes next
 *   interpret.c  the loop, calls, errors, safe points
 *   builtins.c   functions that every program finds, gc_module.c those of its module `gc`
 *   main.c       the command line
 *
 * Ownership, in one sentence: a `value` in an object or on the stack owns a reference, one
 * passed as an argument is borrowed, and one that a function returns is new.
 *
 * Any release may run code of the program (a `drop` method, a weak reference's callback), so
 * every function brings its structure in order first and releases last.
 */
#ifndef VM_H
#define VM_H

#include <neve.h>

#include "opcodes.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- values ---- */

/* One machine word. Small integers, nil and the truth values are immediates: they need no
 * memory, so arithmetic cannot fail for want of it, and no count is written when they are
 * copied. The price is a test of two bits wherever a value is retained, released or visited.
 *
 *   ....xxx1  an integer, one bit short of the word
 *   ....xx10  nil, false, true
 *   ....xx00  an object's address (blocks are aligned to NEVE_GRANULE), or 0: no value
 */
typedef uintptr_t value;
#define NO_VALUE ((value)0)
#define NIL ((value)2)
#define FALSE_VALUE ((value)6)
#define TRUE_VALUE ((value)10)

#define INT_MAX_VALUE (INTPTR_MAX >> 1)
#define INT_MIN_VALUE (INTPTR_MIN >> 1)

static inline bool is_int(value v)
{
    return (v & 1) != 0;
}
static inline bool is_object(value v)
{
    return (v & 3) == 0 && v != NO_VALUE;
}
static inline intptr_t int_of(value v)
{
    return (intptr_t)v >> 1;
}
static inline value from_int(intptr_t i)
{
    return ((value)i << 1) | 1;
}
static inline value from_bool(bool b)
{
    return b ? TRUE_VALUE : FALSE_VALUE;
}
static inline bool is_true(value v)
{
    return v != NIL && v != FALSE_VALUE;
}
static inline neve_object *object_of(value v)
{
    return (neve_object *)v; /* NULL for NO_VALUE */
}
static inline value from_object(void *object)
{
    return (value)object;
}
static inline bool is_a(value v, const neve_type *type)
{
    return is_object(v) && neve_type_of(object_of(v)) == type;
}

/* ---- objects ---- */

/* The leaves: they refer to nothing, and the collector never looks at them. */
typedef struct string {
    neve_var_object base; /* its length counts the 0 at the end */
    uint32_t hash;        /* computed at once: a frozen string is never written again */
    char text[];
} string;

typedef struct number {
    neve_object base;
    double is;
} number;

typedef enum array_kind { ARRAY_U8, ARRAY_I32, ARRAY_F64 } array_kind;
/* A typed array: numbers as the machine has them, in the object itself. */
typedef struct array {
    neve_var_object base; /* its length is in bytes */
    array_kind kind;
    size_t count;
    double data[]; /* of whatever kind; the type sets the alignment */
} array;

typedef struct vm vm;
/* False: an error was thrown, and *result is not set. */
typedef bool (*native_fn)(vm *m, int count, value *args, value *result);
typedef struct native {
    neve_object base;
    const char *name;
    native_fn call;
    int least, most; /* arguments; most -1: any number */
} native;

/* The containers. Their buffers are raw blocks of the same heap. */
typedef struct list {
    neve_object base;
    value *items;
    size_t count, capacity;
} list;

typedef struct dict_entry {
    value key, item; /* key NO_VALUE: removed */
} dict_entry;
/* Entries in the order in which they came, and a table of 2 * capacity numbers into them
 * (0: empty) behind them in the same block. */
typedef struct dict {
    neve_object base;
    dict_entry *entries;
    uint32_t used, live, capacity; /* entries: written, not removed, room */
} dict;

typedef struct instruction {
    uint8_t op;
    uint8_t b;
    uint16_t a;
    uint32_t line;
} instruction;

/* Where a closure finds a variable of an enclosing function when it is made. */
typedef struct capture {
    bool is_local; /* in the enclosing frame; otherwise among the enclosing closure's cells */
    uint8_t slot;
} capture;
#define CAPTURES_MAX 64

/* What the compiler makes of one `fn`. */
typedef struct function {
    neve_object base;
    string *name;
    instruction *code;
    size_t count, capacity;
    list *constants;
    capture *captures;
    size_t capture_count;
    int parameters;
} function;

/* A variable that a closure shares with the function that declared it. */
typedef struct cell {
    neve_object base;
    value held;
} cell;

/* A function and its captured variables: an object of variable size. */
typedef struct closure {
    neve_var_object base;
    function *code;
    cell *cells[];
} closure;

typedef struct class
{
    neve_object base;
    string *name;
    struct class *parent; /* or NULL */
    dict *methods;
    dict *slots; /* name -> number, the parent's included; NULL: instances have a dict */
    bool has_drop;
} class;

/* An instance of a class without `slots`: its fields are in a dict, which any field may join. */
typedef struct instance {
    neve_object base;
    class *of;
    dict *fields; /* NULL until the first field is set */
} instance;

/* An instance of a class with `slots`: its fields are its tail. */
typedef struct slotted {
    neve_var_object base;
    class *of;
    value fields[];
} slotted;

typedef struct bound {
    neve_object base;
    value receiver;
    neve_object *method;
} bound;

extern const neve_type string_type, number_type, array_type, native_type, list_type, dict_type,
    function_type, cell_type, closure_type, class_type, instance_type, instance_drop_type,
    slotted_type, slotted_drop_type, bound_type, stack_type;

static inline bool is_instance(value v)
{
    return is_a(v, &instance_type) || is_a(v, &instance_drop_type);
}
static inline bool is_slotted(value v)
{
    return is_a(v, &slotted_type) || is_a(v, &slotted_drop_type);
}

/* ---- the machine ---- */

#define STACK_VALUES 16384
#define FRAMES 1000
#define HANDLERS 1000
#define FRAME_VALUES 300 /* what one function may need: 180 locals, 100 temporaries */
#define NESTING 50       /* runs of the loop inside finalizers, callbacks and natives */

/* All values of all frames. An object like any other, so that the collector learns of the
 * stack by the contract that it has with every container. */
typedef struct stack {
    neve_object base;
    value *values;
    value *top; /* the first free one */
} stack;

typedef struct frame {
    closure *running; /* owned */
    const instruction *next;
    value *base;      /* parameters, then locals, then temporaries */
    bool drops_below; /* the callee lies below `base` and goes when the call returns */
    bool is_init;     /* the call returns its first parameter: the new instance */
} frame;

typedef struct handler {
    size_t frames;  /* how many there were */
    ptrdiff_t used; /* values on the stack */
    uint16_t target;
    bool is_cleanup; /* of a `with`: runs at an exit() as well */
} handler;

/* The events that share the eval breaker with the collector's. */
#define EVENT_INTERRUPT NEVE_EVENT_HOST        /* SIGINT came */
#define EVENT_COLLECTED (NEVE_EVENT_HOST << 1) /* gc.callbacks are to hear of a collection */
#define COLLECTIONS_KEPT 16                    /* of which gc.callbacks have not heard yet */

struct vm {
    neve_runtime *runtime;
    neve_heap *heap;
    neve_collector *collector;
    neve_eval_breaker breaker;

    /* Registered as roots. */
    neve_object *stack;
    neve_object *globals; /* dict: name -> value */
    neve_object *names;   /* dict: string -> itself, so that equal names are one object */
    neve_object *gc_callbacks;
    neve_object *on_interrupt; /* what the program wants called, or NULL */

    frame frames[FRAMES];
    size_t frame_count;
    handler handlers[HANDLERS];
    size_t handler_count;
    unsigned nesting;

    value thrown;         /* owned; NO_VALUE: no error is under way */
    bool is_exiting;      /* ... it is an exit(), which only `with` sees */
    bool was_interrupted; /* ... it began as SIGINT */
    int exit_status;
    char where[128], trace[512]; /* it was thrown: file and line; the calls that led there */
    value no_memory;             /* the error that needs no memory */
    string *drop_name, *init_name;

    neve_collection collections[COLLECTIONS_KEPT];
    unsigned collection_count;
    bool is_calling_back; /* gc.callbacks hear of no collection that they set off themselves */
    const char *file;
};

static inline value *stack_top(vm *m)
{
    return ((stack *)m->stack)->top;
}
static inline void push(vm *m, value v)
{
    *((stack *)m->stack)->top++ = v;
}
static inline value pop(vm *m)
{
    return *--((stack *)m->stack)->top;
}

static inline value retain(value v)
{
    if (is_object(v))
        (void)neve_retain(object_of(v));
    return v;
}
static inline void release(vm *m, value v)
{
    if (is_object(v))
        neve_release(m->runtime, object_of(v));
}
/* Sets *slot, and releases what it held last: by then the structure is in order. */
static inline void assign(vm *m, value *slot, value v)
{
    value old = *slot;
    *slot = v;
    release(m, old);
}

/* ---- value.c ---- */

/* All functions that return a pointer return NULL without memory, and have thrown then. */
string *string_new(vm *m, const char *text, size_t length);
string *string_join(vm *m, const string *a, const string *b);
/* The one string of that text that names are made of. */
string *string_name(vm *m, const char *text, size_t length);
static inline size_t string_length(const string *s)
{
    return s->base.length - 1;
}
number *number_new(vm *m, double is);
/* Zeros. */
array *array_new(vm *m, array_kind kind, size_t count);
value array_get(vm *m, const array *a, size_t i); /* NO_VALUE: thrown */
bool array_set(vm *m, array *a, size_t i, value item);
native *native_new(vm *m, const char *name, native_fn call, int least, int most);
bool value_equal(value a, value b);
uint32_t value_hash(value v);
const char *type_name(value v);
/* Any value as text; a string as itself or in quotes. */
string *value_text(vm *m, value v, bool quoted);

/* ---- dict.c ---- */

dict *dict_new(vm *m);
/* Borrowed; NO_VALUE: it is not there. */
value dict_get(const dict *d, value key);
bool dict_set(vm *m, dict *d, value key, value item);
/* Gives the item over to the caller, or NO_VALUE. */
value dict_take(vm *m, dict *d, value key);
void dict_clear(neve_runtime *runtime, neve_object *object);

/* ---- object.c ---- */

list *list_new(vm *m, size_t capacity);
bool list_push(vm *m, list *l, value item);
function *function_new(vm *m, string *name);
closure *closure_new(vm *m, function *code);
cell *cell_new(vm *m, value held); /* takes `held` over if it succeeds */
class *class_new(vm *m, string *name);
/* Takes over the slots of its parent, and makes their dict in any case. */
bool class_inherit(vm *m, class *c, class *parent);
bool class_add_slot(vm *m, class *c, string *name);
neve_object *class_find(const class *c, const string *name); /* borrowed, or NULL */
neve_object *instance_new(vm *m, class *c);
class *class_of(value v); /* borrowed; NULL: no instance */
bound *bound_new(vm *m, value receiver, neve_object *method);
stack *stack_new(vm *m);
value field_get(vm *m, value object, string *name); /* new; NO_VALUE: thrown */
bool field_set(vm *m, value object, string *name, value item);

/* ---- compiler.c ---- */

/* The whole program as a function without parameters. */
closure *compile(vm *m, const char *text);

/* ---- operate.c ---- */

/* Operands borrowed, the result new; NO_VALUE: thrown. */
value operate(vm *m, int op, value a, value b);
value item_get(vm *m, value object, value key);
bool item_set(vm *m, value object, value key, value item);
/* The item number `i` of what a `for` loops over, new. False: thrown; *item NO_VALUE: the end. */
bool item_next(vm *m, value object, size_t *i, value *item);

/* ---- interpret.c ---- */

/* Calls what lies below the `count` arguments on the stack, and puts the result, new, into
 * their place. False: thrown. */
bool vm_call(vm *m, int count);
/* The same from code that has nobody to hand an error to (a finalizer): prints it. `callee` and
 * the argument (NO_VALUE: none) are borrowed; the result is dropped. */
void vm_call_apart(vm *m, const char *what, value callee, value argument);
/* Always false, so that a caller can `return vm_throw(...)`. */
bool vm_throw(vm *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool vm_throw_value(vm *m, value thrown); /* takes it over */
bool vm_throw_no_memory(vm *m);
/* Prints the error under way to standard error, and forgets it. */
void vm_report(vm *m, const char *what);

/* ---- builtins.c, gc_module.c, main.c ---- */

bool builtins_define(vm *m);
bool gc_module_define(vm *m);
bool define_native(vm *m, dict *into, const char *name, native_fn call, int least, int most);
/* What gc.callbacks have not heard of yet. */
void gc_module_call_back(vm *m);

#endif
