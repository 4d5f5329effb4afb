/* SPDX-License-Identifier: MIT */
/*
 * The interpreter: the loop over instructions, calls, errors, and the safe points.
 *
 * Safe points are calls and backward jumps: whatever loops or recurses meets one, and at each of
 * them every container is in order. There one load asks for all events at once: Neve's request
 * for a collection, an interrupt, news for gc.callbacks.
 *
 * The loop is entered again for what a release runs (`drop`, callbacks of weak references), for
 * gc.callbacks and for nothing else: calls of the program's own push a frame and go on.
 */
#include "vm.h"

#include <string.h>

/* ---- errors ---- */

static uint32_t line_of(const frame *f)
{
    return f->next == f->running->code->code ? f->next->line : f->next[-1].line;
}

/* Where an error comes from is noted when it is thrown: the frames are gone when it is printed. */
static void note_where(vm *m)
{
    m->where[0] = m->trace[0] = '\0';
    if (m->frame_count == 0)
        return;
    const frame *f = &m->frames[m->frame_count - 1];
    snprintf(m->where, sizeof m->where, "%.100s:%u", m->file, line_of(f));
    size_t used = 0;
    for (int shown = 0; f > m->frames && shown < 8; shown++, f--) {
        int wrote =
            snprintf(m->trace + used, sizeof m->trace - used, "  in %.40s, called from line %u\n",
                     f->running->code->name->text, line_of(f - 1));
        used += (size_t)wrote;
        if (used >= sizeof m->trace)
            break;
    }
}

bool vm_throw_value(vm *m, value thrown)
{
    assign(m, &m->thrown, thrown);
    note_where(m);
    return false;
}

bool vm_throw_no_memory(vm *m)
{
    return vm_throw_value(m, retain(m->no_memory));
}

bool vm_throw(vm *m, const char *format, ...)
{
    char message[256];
    va_list words;
    va_start(words, format);
    (void)vsnprintf(message, sizeof message, format, words);
    va_end(words);
    string *s = string_new(m, message, strlen(message));
    return s == NULL ? false : vm_throw_value(m, from_object(s));
}

void vm_report(vm *m, const char *what)
{
    value thrown = m->thrown;
    m->thrown = NO_VALUE;
    string *text = value_text(m, thrown, false);
    fflush(stdout);
    fprintf(stderr, "%s%s%s%s\n%s", m->where[0] != '\0' ? m->where : m->file, what,
            is_a(thrown, &string_type) ? "" : "thrown: ",
            text != NULL ? text->text : "out of memory", m->trace);
    release(m, from_object(text));
    release(m, m->thrown); /* of value_text */
    m->thrown = NO_VALUE;
    release(m, thrown);
}

/* ---- frames ---- */

static void drop_values(vm *m, const value *down_to)
{
    while (stack_top(m) != down_to)
        release(m, pop(m));
}

static void drop_frames(vm *m, size_t down_to)
{
    while (m->frame_count > down_to)
        release(m, from_object(m->frames[--m->frame_count].running));
}

/* Begins a call: the `count` arguments are on top of the stack. */
static bool push_frame(vm *m, closure *callee, int count, bool drops_below, bool is_init)
{
    const function *code = callee->code;
    if (code->parameters != count)
        return vm_throw(m, "%s takes %d arguments, not %d", code->name->text,
                        code->parameters - is_init, count - is_init);
    const stack *s = (stack *)m->stack;
    if (m->frame_count == FRAMES || s->top + FRAME_VALUES > s->values + STACK_VALUES)
        return vm_throw(m, "calls are nested too deeply");
    m->frames[m->frame_count++] = (frame){.running = (closure *)neve_retain(&callee->base.base),
                                          .next = code->code,
                                          .base = s->top - count,
                                          .drops_below = drops_below,
                                          .is_init = is_init};
    return true;
}

static value unshared(value v)
{
    return is_a(v, &cell_type) ? ((cell *)object_of(v))->held : v;
}

static void pop_frame(vm *m)
{
    frame f = m->frames[m->frame_count - 1];
    value result = pop(m);
    if (f.is_init) {
        release(m, result);
        result = retain(unshared(f.base[0]));
    }
    while (m->handler_count > 0 && m->handlers[m->handler_count - 1].frames == m->frame_count)
        m->handler_count--;
    drop_values(m, f.drops_below ? f.base - 1 : f.base);
    drop_frames(m, m->frame_count - 1);
    push(m, result);
}

/* To the innermost handler above `stop` frames; false: there is none, and the frames are gone. */
static bool unwind(vm *m, size_t stop)
{
    while (m->handler_count > 0 && m->handlers[m->handler_count - 1].frames > stop) {
        const handler h = m->handlers[--m->handler_count];
        if (m->is_exiting && !h.is_cleanup)
            continue;
        if (!h.is_cleanup)
            m->was_interrupted = false;
        drop_frames(m, h.frames);
        drop_values(m, ((stack *)m->stack)->values + h.used);
        push(m, m->thrown);
        m->thrown = NO_VALUE;
        frame *f = &m->frames[m->frame_count - 1];
        f->next = f->running->code->code + h.target;
        return true;
    }
    drop_frames(m, stop);
    return false;
}

/* ---- calls ---- */

static bool call_native(vm *m, const native *callee, int count)
{
    if (count < callee->least || (callee->most >= 0 && count > callee->most))
        return vm_throw(m, "%s() does not take %d arguments", callee->name, count);
    value result;
    if (!callee->call(m, count, stack_top(m) - count, &result))
        return false;
    drop_values(m, stack_top(m) - count - 1);
    push(m, result);
    return true;
}

static bool call_class(vm *m, class *callee, int count)
{
    neve_object *made = instance_new(m, callee), *init = class_find(callee, m->init_name);
    if (made == NULL)
        return false;
    if (init == NULL && count > 0) {
        neve_release(m->runtime, made);
        return vm_throw(m, "class %s has no init, and takes no arguments", callee->name->text);
    }
    /* The instance takes the place of its class, which it holds: as the first parameter. */
    assign(m, stack_top(m) - count - 1, from_object(made));
    return init == NULL || push_frame(m, (closure *)init, count + 1, false, true);
}

/* What lies below `count` arguments is called: a frame is pushed, or the result is there. */
static bool call_value(vm *m, int count)
{
    value *place = stack_top(m) - count - 1, callee = *place;
    if (is_a(callee, &closure_type))
        return push_frame(m, (closure *)object_of(callee), count, true, false);
    if (is_a(callee, &native_type))
        return call_native(m, (native *)object_of(callee), count);
    if (is_a(callee, &class_type))
        return call_class(m, (class *)object_of(callee), count);
    if (is_a(callee, &bound_type)) {
        const bound *b = (bound *)object_of(callee);
        /* The frame holds the method before the bound one, which may be its last holder, goes. */
        if (!push_frame(m, (closure *)b->method, count + 1, false, false))
            return false;
        assign(m, place, retain(b->receiver));
        return true;
    }
    if (is_object(callee) && neve_is_weakref(m->runtime, object_of(callee))) {
        neve_object *referent = neve_weakref_get(m->runtime, object_of(callee));
        drop_values(m, place);
        push(m, referent == NULL ? NIL : from_object(referent));
        return true;
    }
    return vm_throw(m, "%s cannot be called", type_name(callee));
}

static bool invoke(vm *m, string *name, int count)
{
    value *place = stack_top(m) - count - 1;
    neve_object *method = class_find(class_of(*place), name);
    if (method != NULL)
        return push_frame(m, (closure *)method, count + 1, false, false);
    value callee = field_get(m, *place, name);
    if (callee == NO_VALUE)
        return false;
    assign(m, place, callee);
    return call_value(m, count);
}

static bool run(vm *m, size_t stop);

bool vm_call(vm *m, int count)
{
    size_t frames = m->frame_count;
    ptrdiff_t used = stack_top(m) - ((stack *)m->stack)->values - count - 1;
    bool done = m->nesting < NESTING ? call_value(m, count)
                                     : vm_throw(m, "finalizers or callbacks are nested too deeply");
    if (done && m->frame_count > frames) {
        m->nesting++;
        done = run(m, frames);
        m->nesting--;
    }
    if (!done)
        drop_values(m, ((stack *)m->stack)->values + used);
    return done;
}

void vm_call_apart(vm *m, const char *what, value callee, value argument)
{
    /* An error may be under way, whose unwinding released what called us: it goes on after. */
    value thrown = m->thrown;
    bool is_exiting = m->is_exiting, was_interrupted = m->was_interrupted;
    char where[sizeof m->where], trace[sizeof m->trace], words[64];
    memcpy(where, m->where, sizeof where);
    memcpy(trace, m->trace, sizeof trace);
    m->thrown = NO_VALUE;
    m->is_exiting = m->was_interrupted = false;

    push(m, retain(callee));
    if (argument != NO_VALUE)
        push(m, retain(argument));
    if (vm_call(m, argument != NO_VALUE)) {
        release(m, pop(m));
    } else {
        snprintf(words, sizeof words, ": ignored in %s: ", what);
        vm_report(m, words);
    }

    m->thrown = thrown;
    m->is_exiting = is_exiting;
    m->was_interrupted = was_interrupted;
    memcpy(m->where, where, sizeof where);
    memcpy(m->trace, trace, sizeof trace);
}

/* ---- safe points ---- */

static bool handle_events(vm *m)
{
    uint32_t events = neve_breaker_take(&m->breaker, EVENT_INTERRUPT | EVENT_COLLECTED);
    if ((events & EVENT_COLLECTED) != 0)
        gc_module_call_back(m);
    if ((events & EVENT_INTERRUPT) != 0) {
        if (m->on_interrupt == NULL) {
            vm_throw(m, "interrupted");
            m->was_interrupted = true;
            return false;
        }
        push(m, retain(from_object(m->on_interrupt)));
        if (!vm_call(m, 0))
            return false;
        release(m, pop(m));
    }
    /* Neve's own event: it collects what is due, and clears the bit. */
    neve_poll(m->collector, &m->breaker);
    return true;
}

static inline bool safe_point(vm *m)
{
    return NEVE_LIKELY(neve_breaker_get(&m->breaker) == 0) || handle_events(m);
}

/* ---- single instructions ---- */

static bool make_closure(vm *m, const frame *f, function *code)
{
    closure *made = closure_new(m, code);
    if (made == NULL)
        return false;
    push(m, from_object(made));
    for (size_t i = 0; i < code->capture_count; i++) {
        const capture *from = &code->captures[i];
        cell *shared;
        if (!from->is_local) {
            shared = f->running->cells[from->slot];
        } else {
            value *slot = &f->base[from->slot];
            if (!is_a(*slot, &cell_type)) {
                cell *first = cell_new(m, *slot);
                if (first == NULL)
                    return false; /* whoever unwinds drops the closure */
                *slot = from_object(first);
            }
            shared = (cell *)object_of(*slot);
        }
        made->cells[i] = (cell *)neve_retain(&shared->base);
    }
    return true;
}

static bool begin_try(vm *m, instruction i)
{
    if (m->handler_count == HANDLERS)
        return vm_throw(m, "try and with are nested too deeply");
    m->handlers[m->handler_count++] = (handler){.frames = m->frame_count,
                                                .used = stack_top(m) - ((stack *)m->stack)->values,
                                                .target = i.a,
                                                .is_cleanup = i.b != 0};
    return true;
}

static bool add_method(vm *m, value in, string *name, value method)
{
    class *c = (class *)object_of(unshared(in));
    if (value_equal(from_object(name), from_object(m->drop_name)))
        c->has_drop = true;
    return dict_set(m, c->methods, from_object(name), method);
}

static bool inherit(vm *m, value in, value from)
{
    if (!is_a(from, &class_type))
        return vm_throw(m, "%s cannot be a parent", type_name(from));
    return class_inherit(m, (class *)object_of(unshared(in)), (class *)object_of(from));
}

/* Replaces the topmost `count` values by a result; false without one. */
static bool replace(vm *m, int count, value result)
{
    if (result == NO_VALUE)
        return false;
    drop_values(m, stack_top(m) - count);
    push(m, result);
    return true;
}

static bool negate(vm *m)
{
    value v = stack_top(m)[-1];
    if (is_a(v, &number_type))
        return replace(m, 1, from_object(number_new(m, -((number *)object_of(v))->is)));
    if (!is_int(v))
        return vm_throw(m, "%s cannot be negated", type_name(v));
    return replace(m, 1, operate(m, OP_SUBTRACT, from_int(0), v));
}

/* ---- the loop ---- */

/* Runs the topmost frame until `stop` frames are left. False: an error left it. */
static bool run(vm *m, size_t stop)
{
    while (m->frame_count > stop) {
        frame *f = &m->frames[m->frame_count - 1];
        const instruction i = *f->next++;
        const value *constants = f->running->code->constants->items;
        value *top = stack_top(m), v;
        bool done = true;
        switch ((enum opcode)i.op) {
        case OP_CONSTANT:
            push(m, retain(constants[i.a]));
            break;
        case OP_INTEGER:
            push(m, from_int(i.a));
            break;
        case OP_PUSH_NIL:
            push(m, NIL);
            break;
        case OP_PUSH_TRUE:
            push(m, TRUE_VALUE);
            break;
        case OP_PUSH_FALSE:
            push(m, FALSE_VALUE);
            break;
        case OP_POP:
            release(m, pop(m));
            break;

        case OP_GET_LOCAL:
            push(m, retain(f->base[i.a]));
            break;
        case OP_SET_LOCAL:
            v = pop(m);
            assign(m, &f->base[i.a], v);
            break;
        case OP_GET_SHARED:
            push(m, retain(unshared(f->base[i.a])));
            break;
        case OP_SET_SHARED: {
            value *slot = &f->base[i.a];
            v = pop(m);
            assign(m, is_a(*slot, &cell_type) ? &((cell *)object_of(*slot))->held : slot, v);
            break;
        }
        case OP_GET_CELL:
            push(m, retain(f->running->cells[i.a]->held));
            break;
        case OP_SET_CELL:
            v = pop(m);
            assign(m, &f->running->cells[i.a]->held, v);
            break;
        case OP_GET_GLOBAL:
            v = dict_get((dict *)m->globals, constants[i.a]);
            if (v != NO_VALUE)
                push(m, retain(v));
            else
                done = vm_throw(m, "there is no variable %s",
                                ((string *)object_of(constants[i.a]))->text);
            break;
        case OP_SET_GLOBAL:
            if (dict_get((dict *)m->globals, constants[i.a]) == NO_VALUE) {
                done = vm_throw(m, "there is no variable %s: declare it with let",
                                ((string *)object_of(constants[i.a]))->text);
                break;
            }
            /* fall through */
        case OP_DEFINE_GLOBAL:
            done = dict_set(m, (dict *)m->globals, constants[i.a], top[-1]);
            if (done)
                release(m, pop(m));
            break;

        case OP_GET_FIELD:
            done = replace(m, 1, field_get(m, top[-1], (string *)object_of(constants[i.a])));
            break;
        case OP_SET_FIELD:
            done = field_set(m, top[-2], (string *)object_of(constants[i.a]), top[-1]);
            if (done)
                drop_values(m, top - 2);
            break;
        case OP_GET_ITEM:
            done = replace(m, 2, item_get(m, top[-2], top[-1]));
            break;
        case OP_SET_ITEM:
            done = item_set(m, top[-3], top[-2], top[-1]);
            if (done)
                drop_values(m, top - 3);
            break;

        case OP_MAKE_LIST:
            done = replace(m, 0, from_object(list_new(m, 0)));
            break;
        case OP_ADD_ITEM:
            done = list_push(m, (list *)object_of(top[-2]), top[-1]);
            if (done)
                release(m, pop(m));
            break;
        case OP_MAKE_DICT:
            done = replace(m, 0, from_object(dict_new(m)));
            break;
        case OP_ADD_PAIR:
            done = dict_set(m, (dict *)object_of(top[-3]), top[-2], top[-1]);
            if (done)
                drop_values(m, top - 2);
            break;
        case OP_MAKE_CLOSURE:
            done = make_closure(m, f, (function *)object_of(constants[i.a]));
            break;
        case OP_MAKE_CLASS:
            done = replace(m, 0, from_object(class_new(m, (string *)object_of(constants[i.a]))));
            break;
        case OP_ADD_METHOD:
            done = add_method(m, top[-2], (string *)object_of(constants[i.a]), top[-1]);
            if (done)
                release(m, pop(m));
            break;
        case OP_INHERIT:
            done = inherit(m, top[-2], top[-1]);
            if (done)
                release(m, pop(m));
            break;
        case OP_ADD_SLOT:
            done = class_add_slot(m, (class *)object_of(unshared(top[-1])),
                                  (string *)object_of(constants[i.a]));
            break;

        case OP_CALL:
            done = safe_point(m) && call_value(m, i.b);
            break;
        case OP_INVOKE:
            done = safe_point(m) && invoke(m, (string *)object_of(constants[i.a]), i.b);
            break;
        case OP_RETURN:
            pop_frame(m);
            break;
        case OP_JUMP:
            f->next = f->running->code->code + i.a;
            break;
        case OP_JUMP_IF_FALSE:
            v = pop(m);
            if (!is_true(v))
                f->next = f->running->code->code + i.a;
            release(m, v);
            break;
        case OP_AND:
        case OP_OR:
            if (is_true(top[-1]) == (i.op == OP_OR))
                f->next = f->running->code->code + i.a;
            else
                release(m, pop(m));
            break;
        case OP_LOOP:
            f->next = f->running->code->code + i.a;
            done = safe_point(m);
            break;
        case OP_FOR_NEXT: {
            size_t at = (size_t)int_of(top[-1]);
            done = item_next(m, top[-2], &at, &v);
            if (done && v != NO_VALUE) {
                top[-1] = from_int((intptr_t)at);
                push(m, v);
            } else if (done) {
                f->next = f->running->code->code + i.a;
            }
            break;
        }

        case OP_TRY:
            done = begin_try(m, i);
            break;
        case OP_END_TRY:
            m->handler_count--;
            break;
        case OP_THROW:
            done = vm_throw_value(m, pop(m));
            break;
        case OP_RETHROW: /* after the exit() of a `with`: it was thrown where it was */
            m->thrown = pop(m);
            done = false;
            break;

        case OP_NOT:
            done = replace(m, 1, from_bool(!is_true(top[-1])));
            break;
        case OP_NEGATE:
            done = negate(m);
            break;
        case OP_ADD:
        case OP_SUBTRACT:
        case OP_MULTIPLY:
        case OP_DIVIDE:
        case OP_QUOTIENT:
        case OP_REMAINDER:
        case OP_LESS:
        case OP_LESS_EQUAL:
        case OP_EQUAL:
        case OP_NOT_EQUAL:
            done = replace(m, 2,
                           i.b == 0 ? operate(m, i.op, top[-2], top[-1])
                                    : operate(m, i.op, top[-1], top[-2]));
            break;
        }
        if (!done && !unwind(m, stop))
            return false;
    }
    return true;
}
