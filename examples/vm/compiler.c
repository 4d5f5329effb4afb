/* SPDX-License-Identifier: MIT */
/*
 * The compiler's first half: expressions, variables, functions. One pass: each rule of the
 * grammar emits its instructions as it goes, and the operands are on the stack in that order.
 *
 * One thing is known too late for one pass: that a closure captures a variable. Until then its
 * value lies in its stack slot; from then on in a cell that both functions own. Instructions
 * have one size, so those that used the variable are rewritten when the capture is met.
 *
 * No safe point lies in here, so no collection does, and half-made functions are safe.
 */
#include "compiler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens ---- */

static void fail_at(compiler *c, uint32_t line, const char *message)
{
    if (c->failed)
        return;
    c->failed = true;
    c->now.kind = T_EOF;
    (void)vm_throw(c->m, "%s", message);
    snprintf(c->m->where, sizeof c->m->where, "%s:%u", c->m->file, line);
}

void compile_fail(compiler *c, const char *message)
{
    fail_at(c, c->now.line, message);
}

/* An object of the translation could not be made, and that has been thrown. */
static void fail_for_memory(compiler *c)
{
    c->failed = true;
    c->now.kind = T_EOF;
}

void compile_advance(compiler *c)
{
    c->before = c->now;
    if (c->failed)
        return;
    c->now = lexer_next(&c->lexer);
    if (c->now.kind == T_ERROR)
        compile_fail(c, c->now.text);
}

bool compile_take(compiler *c, int kind)
{
    if (c->now.kind != kind)
        return false;
    compile_advance(c);
    return true;
}

void compile_expect(compiler *c, int kind, const char *what)
{
    char message[160];
    if (compile_take(c, kind))
        return;
    int shown = c->now.length < 40 ? (int)c->now.length : 40;
    if (c->now.kind == T_EOF)
        snprintf(message, sizeof message, "%s is expected at the end of the text", what);
    else if (c->now.kind == T_END)
        snprintf(message, sizeof message, "%s is expected at the end of the line", what);
    else
        snprintf(message, sizeof message, "%s is expected before '%.*s'", what, shown, c->now.text);
    compile_fail(c, message);
}

void compile_skip_ends(compiler *c)
{
    while (compile_take(c, T_END))
        ;
}

bool compile_enter(compiler *c)
{
    if (++c->nested > NESTED_MAX)
        compile_fail(c, "this is nested too deeply");
    return !c->failed;
}

void compile_leave(compiler *c)
{
    c->nested--;
}

/* ---- instructions ---- */

size_t emit(compiler *c, int op, size_t a, int b)
{
    function *f = c->unit->code;
    if (a > UINT16_MAX || f->count >= UINT16_MAX)
        compile_fail(c, "a function is too long");
    if (f->count == f->capacity && !c->failed) {
        size_t capacity = f->capacity * 2 + 16;
        instruction *code =
            neve_heap_realloc(c->m->heap, NEVE_DOMAIN_RAW, f->code, capacity * sizeof(instruction));
        if (code == NULL) {
            vm_throw_no_memory(c->m);
            fail_for_memory(c);
        } else {
            f->code = code;
            f->capacity = capacity;
        }
    }
    if (c->failed)
        return 0;
    f->code[f->count] = (instruction){(uint8_t)op, (uint8_t)b, (uint16_t)a, c->before.line};
    return f->count++;
}

void emit_target(compiler *c, size_t jump)
{
    if (c->unit->code->count > UINT16_MAX)
        compile_fail(c, "a function is too long");
    if (!c->failed)
        c->unit->code->code[jump].a = (uint16_t)c->unit->code->count;
}

/* Takes the constant over; an equal name is not added twice. */
static size_t add_constant(compiler *c, value constant)
{
    list *constants = c->unit->code->constants;
    size_t i = 0;
    while (i < constants->count && constants->items[i] != constant)
        i++;
    if (constant == NO_VALUE || (i == constants->count && !list_push(c->m, constants, constant)))
        fail_for_memory(c);
    release(c->m, constant);
    return i;
}

size_t name_constant(compiler *c, token name)
{
    return c->failed ? 0 : add_constant(c, from_object(string_name(c->m, name.text, name.length)));
}

/* ---- variables ---- */

void declare_local(compiler *c, token name)
{
    unit *u = c->unit;
    if (u->local_count == LOCALS_MAX) {
        compile_fail(c, "a function has too many variables");
        return;
    }
    u->locals[u->local_count++] = (local){name.text, name.length, u->depth, u->code->count, false};
}

void begin_scope(compiler *c)
{
    c->unit->depth++;
}

void end_scope(compiler *c)
{
    unit *u = c->unit;
    u->depth--;
    while (u->local_count > 0 && u->locals[u->local_count - 1].depth > u->depth) {
        u->local_count--;
        emit(c, OP_POP, 0, 0);
    }
}

static int find_local(const unit *u, token name)
{
    int i = u->local_count - 1;
    while (i >= 0 && (u->locals[i].length != name.length ||
                      memcmp(u->locals[i].name, name.text, name.length) != 0))
        i--;
    return i;
}

/* The variable is a closure's too from now on: what used its slot looks for a cell there. */
static void share_local(unit *u, int slot)
{
    u->locals[slot].is_shared = true;
    for (size_t i = u->locals[slot].since; i < u->code->count; i++) {
        instruction *one = &u->code->code[i];
        if (one->a == slot && one->op == OP_GET_LOCAL)
            one->op = OP_GET_SHARED;
        else if (one->a == slot && one->op == OP_SET_LOCAL)
            one->op = OP_SET_SHARED;
    }
}

/* The number of the captured variable among the closure's cells, or -1: it is a global. */
static int find_capture(compiler *c, unit *u, token name)
{
    if (u->outer == NULL)
        return -1;
    capture found = {true, 0};
    int slot = find_local(u->outer, name);
    if (slot >= 0) {
        share_local(u->outer, slot);
    } else {
        found.is_local = false;
        slot = find_capture(c, u->outer, name);
        if (slot < 0)
            return -1;
    }
    found.slot = (uint8_t)slot;
    function *f = u->code;
    for (size_t i = 0; i < f->capture_count; i++) {
        if (f->captures[i].is_local == found.is_local && f->captures[i].slot == found.slot)
            return (int)i;
    }
    if (f->capture_count == CAPTURES_MAX) {
        compile_fail(c, "a closure captures too many variables");
        return 0;
    }
    f->captures[f->capture_count] = found;
    return (int)f->capture_count++;
}

static void use_variable(compiler *c, token name, bool is_set)
{
    int slot = find_local(c->unit, name);
    if (slot >= 0) {
        bool is_shared = c->unit->locals[slot].is_shared;
        emit(c,
             is_set      ? is_shared ? OP_SET_SHARED : OP_SET_LOCAL
             : is_shared ? OP_GET_SHARED
                         : OP_GET_LOCAL,
             (size_t)slot, 0);
    } else if ((slot = find_capture(c, c->unit, name)) >= 0) {
        emit(c, is_set ? OP_SET_CELL : OP_GET_CELL, (size_t)slot, 0);
    } else {
        emit(c, is_set ? OP_SET_GLOBAL : OP_GET_GLOBAL, name_constant(c, name), 0);
    }
}

void set_variable(compiler *c, token name)
{
    use_variable(c, name, true);
}

void get_variable(compiler *c, token name)
{
    use_variable(c, name, false);
}

/* ---- literals ---- */

static void string_literal(compiler *c)
{
    /* Without its quotes it can only become shorter. */
    const char *from = c->before.text + 1, *end = c->before.text + c->before.length - 1;
    char *text = neve_heap_alloc(c->m->heap, NEVE_DOMAIN_RAW, c->before.length);
    if (text == NULL) {
        vm_throw_no_memory(c->m);
        fail_for_memory(c);
        return;
    }
    size_t length = 0;
    while (from < end) {
        char one = *from++;
        if (one == '\\') {
            one = *from++;
            one = (char)(one == 'n' ? '\n' : one == 't' ? '\t' : one);
        }
        text[length++] = one;
    }
    string *s = string_new(c->m, text, length);
    neve_heap_free(c->m->heap, text);
    emit(c, OP_CONSTANT, add_constant(c, from_object(s)), 0);
}

static void integer_literal(compiler *c)
{
    errno = 0;
    long long i = strtoll(c->before.text, NULL, 10);
    if (errno != 0 || i > INT_MAX_VALUE)
        compile_fail(c, "an integer is too large");
    else if (i <= UINT16_MAX)
        emit(c, OP_INTEGER, (size_t)i, 0);
    else
        emit(c, OP_CONSTANT, add_constant(c, from_int((intptr_t)i)), 0);
}

/* A value waits on the stack while another is computed. */
static void wait(compiler *c, int values)
{
    c->unit->pending += values;
    if (c->unit->pending > PENDING_MAX)
        compile_fail(c, "an expression needs too many temporary values");
}

static void list_literal(compiler *c)
{
    emit(c, OP_MAKE_LIST, 0, 0);
    wait(c, 1);
    while (c->now.kind != ']' && !c->failed) {
        expression(c);
        emit(c, OP_ADD_ITEM, 0, 0);
        if (!compile_take(c, ','))
            break;
    }
    wait(c, -1);
    compile_expect(c, ']', "a ] after the items");
}

static void dict_literal(compiler *c)
{
    emit(c, OP_MAKE_DICT, 0, 0);
    wait(c, 2);
    compile_skip_ends(c);
    while (c->now.kind != '}' && !c->failed) {
        expression(c);
        compile_expect(c, ':', "a colon after the key");
        expression(c);
        emit(c, OP_ADD_PAIR, 0, 0);
        compile_skip_ends(c);
        if (!compile_take(c, ','))
            break;
        compile_skip_ends(c);
    }
    wait(c, -2);
    compile_expect(c, '}', "a } after the items");
}

/* ---- functions ---- */

static void parameters(compiler *c)
{
    compile_expect(c, '(', "a ( before the parameters");
    while (c->now.kind == T_NAME) {
        compile_advance(c);
        if (++c->unit->code->parameters > UINT8_MAX / 2)
            compile_fail(c, "a function has too many parameters");
        declare_local(c, c->before);
        if (!compile_take(c, ','))
            break;
    }
    compile_expect(c, ')', "a ) after the parameters");
}

/* Begins a function: from now on instructions go there. */
static bool unit_begin(compiler *c, unit *u, const char *name, size_t length)
{
    memset(u, 0, sizeof *u);
    string *s = c->failed ? NULL : string_name(c->m, name, length);
    if (s != NULL)
        u->code = function_new(c->m, s);
    release(c->m, from_object(s));
    if (u->code == NULL) {
        fail_for_memory(c);
        return false;
    }
    u->outer = c->unit;
    c->unit = u;
    return true;
}

static function *unit_end(compiler *c)
{
    unit *u = c->unit;
    emit(c, OP_PUSH_NIL, 0, 0);
    emit(c, OP_RETURN, 0, 0);
    c->unit = u->outer;
    return u->code;
}

void function_literal(compiler *c, token name)
{
    unit u;
    if (!compile_enter(c)) {
        compile_leave(c);
        return;
    }
    if (unit_begin(c, &u, name.text, name.length)) {
        parameters(c);
        compile_expect(c, '{', "a { before the body");
        begin_scope(c);
        statements(c, '}');
        compile_expect(c, '}', "a } after the body");
        value code = from_object(unit_end(c));
        emit(c, OP_MAKE_CLOSURE, add_constant(c, code), 0);
    }
    compile_leave(c);
}

/* ---- expressions ---- */

static void binary(compiler *c, int least);

void expression(compiler *c)
{
    if (compile_enter(c))
        binary(c, 1);
    compile_leave(c);
}

static int arguments(compiler *c)
{
    int count = 0;
    while (c->now.kind != ')' && !c->failed) {
        expression(c);
        wait(c, 1);
        count++;
        if (!compile_take(c, ','))
            break;
    }
    wait(c, -count);
    compile_expect(c, ')', "a ) after the arguments");
    return count;
}

static void primary(compiler *c)
{
    compile_advance(c);
    switch (c->before.kind) {
    case T_NAME:
        get_variable(c, c->before);
        break;
    case T_INTEGER:
        integer_literal(c);
        break;
    case T_NUMBER:
        emit(c, OP_CONSTANT,
             add_constant(c, from_object(number_new(c->m, strtod(c->before.text, NULL)))), 0);
        break;
    case T_STRING:
        string_literal(c);
        break;
    case T_NIL:
        emit(c, OP_PUSH_NIL, 0, 0);
        break;
    case T_TRUE:
        emit(c, OP_PUSH_TRUE, 0, 0);
        break;
    case T_FALSE:
        emit(c, OP_PUSH_FALSE, 0, 0);
        break;
    case T_FN:
        function_literal(c, (token){T_NAME, "fn", 2, c->before.line});
        break;
    case '(':
        expression(c);
        compile_expect(c, ')', "a ) after the expression");
        break;
    case '[':
        list_literal(c);
        break;
    case '{':
        dict_literal(c);
        break;
    default:
        fail_at(c, c->before.line, "an expression is expected");
    }
}

/* A primary with what follows it. True: it was assigned to, and no value is left. */
static bool postfix(compiler *c, bool can_assign)
{
    if (can_assign && c->now.kind == T_NAME) {
        token name = c->now;
        compile_advance(c);
        if (compile_take(c, '=')) {
            expression(c);
            set_variable(c, name);
            return true;
        }
        get_variable(c, name);
    } else {
        primary(c);
    }
    for (;;) {
        wait(c, 1);
        if (compile_take(c, '(')) {
            emit(c, OP_CALL, 0, arguments(c));
        } else if (compile_take(c, '[')) {
            expression(c);
            compile_expect(c, ']', "a ] after the index");
            if (can_assign && compile_take(c, '=')) {
                wait(c, 1);
                expression(c);
                emit(c, OP_SET_ITEM, 0, 0);
                wait(c, -2);
                return true;
            }
            emit(c, OP_GET_ITEM, 0, 0);
        } else if (compile_take(c, '.')) {
            compile_expect(c, T_NAME, "a field's name");
            size_t name = name_constant(c, c->before);
            if (can_assign && compile_take(c, '=')) {
                expression(c);
                emit(c, OP_SET_FIELD, name, 0);
                wait(c, -1);
                return true;
            }
            if (compile_take(c, '('))
                emit(c, OP_INVOKE, name, arguments(c));
            else
                emit(c, OP_GET_FIELD, name, 0);
        } else {
            wait(c, -1);
            return false;
        }
        wait(c, -1);
    }
}

/* How tightly each operator binds, and its instruction; `>` is `<` with the operands swapped,
 * which the interpreter is told of in b. */
static const struct {
    int token, binds, op, is_swapped;
} operators[] = {
    {T_OR, 1, OP_OR, 0},
    {T_AND, 2, OP_AND, 0},
    {T_EQUAL, 4, OP_EQUAL, 0},
    {T_NOT_EQUAL, 4, OP_NOT_EQUAL, 0},
    {'<', 4, OP_LESS, 0},
    {T_LESS_EQUAL, 4, OP_LESS_EQUAL, 0},
    {'>', 4, OP_LESS, 1},
    {T_GREATER_EQUAL, 4, OP_LESS_EQUAL, 1},
    {'+', 5, OP_ADD, 0},
    {'-', 5, OP_SUBTRACT, 0},
    {'*', 6, OP_MULTIPLY, 0},
    {'/', 6, OP_DIVIDE, 0},
    {T_QUOTIENT, 6, OP_QUOTIENT, 0},
    {'%', 6, OP_REMAINDER, 0},
};
#define BINDS_NOT 3
#define BINDS_NEGATE 7

static void binary_rest(compiler *c, int least)
{
    for (;;) {
        size_t i = 0, count = sizeof operators / sizeof operators[0];
        while (i < count && operators[i].token != c->now.kind)
            i++;
        if (i == count || operators[i].binds < least || c->failed)
            return;
        compile_advance(c);
        if (operators[i].op == OP_AND || operators[i].op == OP_OR) {
            size_t jump = emit(c, operators[i].op, 0, 0);
            binary(c, operators[i].binds + 1);
            emit_target(c, jump);
        } else {
            uint32_t line = c->before.line;
            wait(c, 1);
            binary(c, operators[i].binds + 1);
            wait(c, -1);
            size_t at = emit(c, operators[i].op, 0, operators[i].is_swapped);
            if (!c->failed)
                c->unit->code->code[at].line = line;
        }
    }
}

static void binary(compiler *c, int least)
{
    if (!compile_enter(c)) {
        compile_leave(c);
        return;
    }
    if (compile_take(c, T_NOT)) {
        binary(c, BINDS_NOT);
        emit(c, OP_NOT, 0, 0);
    } else if (compile_take(c, '-')) {
        binary(c, BINDS_NEGATE);
        emit(c, OP_NEGATE, 0, 0);
    } else {
        (void)postfix(c, false);
    }
    binary_rest(c, least);
    compile_leave(c);
}

bool expression_or_assignment(compiler *c)
{
    if (c->now.kind == T_NOT || c->now.kind == '-') {
        expression(c);
        return false;
    }
    if (postfix(c, true))
        return true;
    binary_rest(c, 1);
    return false;
}

closure *compile(vm *m, const char *text)
{
    compiler c = {.m = m};
    lexer_begin(&c.lexer, text);
    compile_advance(&c);
    unit u;
    closure *program = NULL;
    static const char name[] = "the program";
    if (!unit_begin(&c, &u, name, sizeof name - 1))
        return NULL;
    statements(&c, T_EOF);
    function *code = unit_end(&c);
    if (!c.failed)
        program = closure_new(m, code);
    release(m, from_object(code));
    return program;
}
