/* SPDX-License-Identifier: MIT */
/*
 * The compiler's second half: statements. What leaves a block early (return, break, continue)
 * emits here what the block owes at its end: a `with` calls exit() on its resource.
 *
 * Called by compiler.c for the program and for the bodies of functions.
 */
#include "compiler.h"

static const token hidden = {T_NAME, "", 0, 0}; /* a local that no program can name */

/* ---- try, with ---- */

static void emit_exit_call(compiler *c, const cleanup *with)
{
    token exit = {T_NAME, "exit", 4, c->before.line};
    emit(c, OP_GET_LOCAL, with->slot, 0);
    emit(c, OP_INVOKE, name_constant(c, exit), 0);
    emit(c, OP_POP, 0, 0);
}

/* For what leaves all but the `keep` outermost of the blocks around it. */
static void emit_cleanups(compiler *c, int keep)
{
    for (int i = c->unit->cleanup_count - 1; i >= keep; i--) {
        emit(c, OP_END_TRY, 0, 0);
        if (c->unit->cleanups[i].is_with)
            emit_exit_call(c, &c->unit->cleanups[i]);
    }
}

static void begin_cleanup(compiler *c, bool is_with, int slot)
{
    unit *u = c->unit;
    if (u->cleanup_count == ENCLOSING_MAX)
        compile_fail(c, "try and with are nested too deeply");
    else
        u->cleanups[u->cleanup_count++] = (cleanup){is_with, (uint16_t)slot};
}

static void try_statement(compiler *c)
{
    size_t begin = emit(c, OP_TRY, 0, false);
    begin_cleanup(c, false, 0);
    block(c);
    if (!c->failed)
        c->unit->cleanup_count--;
    emit(c, OP_END_TRY, 0, 0);
    size_t end = emit(c, OP_JUMP, 0, 0);
    emit_target(c, begin);
    compile_expect(c, T_CATCH, "catch");
    compile_expect(c, T_NAME, "a name for the error");
    begin_scope(c);
    declare_local(c, c->before); /* the handler finds the error on the stack */
    block(c);
    end_scope(c);
    emit_target(c, end);
}

/* with RESOURCE as NAME { ... }: resource.enter() gives NAME, and however the block is left,
 * resource.exit() is called. */
static void with_statement(compiler *c)
{
    token enter = {T_NAME, "enter", 5, c->before.line};
    begin_scope(c);
    expression(c);
    int slot = c->unit->local_count;
    declare_local(c, hidden);
    emit(c, OP_GET_LOCAL, (size_t)slot, 0);
    emit(c, OP_INVOKE, name_constant(c, enter), 0);
    token name = hidden;
    if (compile_take(c, T_AS)) {
        compile_expect(c, T_NAME, "a name for the resource");
        name = c->before;
    }
    declare_local(c, name);
    size_t begin = emit(c, OP_TRY, 0, true);
    begin_cleanup(c, true, slot);
    block(c);
    if (c->failed)
        return;
    const cleanup with = c->unit->cleanups[--c->unit->cleanup_count];
    emit(c, OP_END_TRY, 0, 0);
    emit_exit_call(c, &with);
    size_t end = emit(c, OP_JUMP, 0, 0);
    emit_target(c, begin);
    emit_exit_call(c, &with);
    emit(c, OP_RETHROW, 0, 0);
    emit_target(c, end);
    end_scope(c);
}

/* ---- loops ---- */

static void begin_loop(compiler *c)
{
    unit *u = c->unit;
    if (u->loop_count == ENCLOSING_MAX)
        compile_fail(c, "loops are nested too deeply");
    else
        u->loops[u->loop_count++] =
            (loop){.start = u->code->count, .locals = u->local_count, .cleanups = u->cleanup_count};
}

static void end_loop(compiler *c)
{
    if (c->failed)
        return;
    const loop *l = &c->unit->loops[--c->unit->loop_count];
    for (int i = 0; i < l->break_count; i++)
        emit_target(c, l->breaks[i]);
}

static void while_statement(compiler *c)
{
    begin_loop(c);
    size_t start = c->unit->code->count;
    expression(c);
    size_t end = emit(c, OP_JUMP_IF_FALSE, 0, 0);
    block(c);
    emit(c, OP_LOOP, start, 0);
    emit_target(c, end);
    end_loop(c);
}

/* Two hidden locals: what is iterated over, and how far it is. */
static void for_statement(compiler *c)
{
    compile_expect(c, T_NAME, "a variable's name");
    token name = c->before;
    compile_expect(c, T_IN, "in");
    begin_scope(c);
    expression(c);
    declare_local(c, hidden);
    emit(c, OP_INTEGER, 0, 0);
    declare_local(c, hidden);
    begin_loop(c);
    size_t start = emit(c, OP_FOR_NEXT, 0, 0);
    begin_scope(c);
    declare_local(c, name);
    block(c);
    end_scope(c);
    emit(c, OP_LOOP, start, 0);
    emit_target(c, start);
    end_loop(c);
    end_scope(c);
}

static void leave_loop(compiler *c, bool is_break)
{
    unit *u = c->unit;
    if (u->loop_count == 0) {
        compile_fail(c, is_break ? "break outside of a loop" : "continue outside of a loop");
        return;
    }
    loop *l = &u->loops[u->loop_count - 1];
    emit_cleanups(c, l->cleanups);
    for (int i = u->local_count; i > l->locals; i--)
        emit(c, OP_POP, 0, 0);
    if (!is_break)
        emit(c, OP_LOOP, l->start, 0);
    else if (l->break_count == BREAKS_MAX)
        compile_fail(c, "a loop has too many breaks");
    else
        l->breaks[l->break_count++] = emit(c, OP_JUMP, 0, 0);
}

/* ---- declarations ---- */

static bool is_global(const compiler *c)
{
    return c->unit->outer == NULL && c->unit->depth == 0;
}

static void let_statement(compiler *c)
{
    compile_expect(c, T_NAME, "a variable's name");
    token name = c->before;
    if (compile_take(c, '='))
        expression(c);
    else
        emit(c, OP_PUSH_NIL, 0, 0);
    if (is_global(c))
        emit(c, OP_DEFINE_GLOBAL, name_constant(c, name), 0);
    else
        declare_local(c, name);
}

static void fn_statement(compiler *c)
{
    compile_expect(c, T_NAME, "the function's name");
    token name = c->before;
    if (is_global(c)) {
        function_literal(c, name);
        emit(c, OP_DEFINE_GLOBAL, name_constant(c, name), 0);
        return;
    }
    /* The variable is there before the function, which may call itself by it. */
    emit(c, OP_PUSH_NIL, 0, 0);
    declare_local(c, name);
    function_literal(c, name);
    set_variable(c, name);
}

static void class_statement(compiler *c)
{
    compile_expect(c, T_NAME, "the class's name");
    token name = c->before;
    bool global = is_global(c);
    emit(c, OP_MAKE_CLASS, name_constant(c, name), 0);
    if (!global)
        declare_local(c, name);
    if (compile_take(c, '<')) {
        compile_expect(c, T_NAME, "the parent's name");
        get_variable(c, c->before);
        emit(c, OP_INHERIT, 0, 0);
    }
    compile_expect(c, '{', "a { before the class's body");
    compile_skip_ends(c);
    if (compile_take(c, T_SLOTS)) {
        do {
            compile_expect(c, T_NAME, "a slot's name");
            emit(c, OP_ADD_SLOT, name_constant(c, c->before), 0);
        } while (compile_take(c, ','));
        compile_skip_ends(c);
    }
    while (compile_take(c, T_FN)) {
        compile_expect(c, T_NAME, "a method's name");
        token method = c->before;
        function_literal(c, method);
        emit(c, OP_ADD_METHOD, name_constant(c, method), 0);
        compile_skip_ends(c);
    }
    compile_expect(c, '}', "a method or a } after the class's body");
    if (global)
        emit(c, OP_DEFINE_GLOBAL, name_constant(c, name), 0);
}

/* ---- all statements ---- */

static void if_statement(compiler *c)
{
    expression(c);
    size_t otherwise = emit(c, OP_JUMP_IF_FALSE, 0, 0);
    block(c);
    if (!compile_take(c, T_ELSE)) {
        emit_target(c, otherwise);
        return;
    }
    size_t end = emit(c, OP_JUMP, 0, 0);
    emit_target(c, otherwise);
    if (!compile_take(c, T_IF))
        block(c);
    else if (compile_enter(c)) {
        if_statement(c);
        compile_leave(c);
    }
    emit_target(c, end);
}

static void return_statement(compiler *c)
{
    if (c->now.kind == T_END || c->now.kind == '}')
        emit(c, OP_PUSH_NIL, 0, 0);
    else
        expression(c);
    emit_cleanups(c, 0);
    emit(c, OP_RETURN, 0, 0);
}

static void statement(compiler *c)
{
    compile_advance(c);
    switch (c->before.kind) {
    case T_LET:
        let_statement(c);
        return;
    case T_CLASS:
        class_statement(c);
        return;
    case T_IF:
        if_statement(c);
        return;
    case T_WHILE:
        while_statement(c);
        return;
    case T_FOR:
        for_statement(c);
        return;
    case T_TRY:
        try_statement(c);
        return;
    case T_WITH:
        with_statement(c);
        return;
    case T_RETURN:
        return_statement(c);
        return;
    case T_BREAK:
    case T_CONTINUE:
        leave_loop(c, c->before.kind == T_BREAK);
        return;
    default:
        expression(c);
        emit(c, OP_THROW, 0, 0);
    }
}

static bool begins_statement(int kind)
{
    switch (kind) {
    case T_LET:
    case T_CLASS:
    case T_IF:
    case T_WHILE:
    case T_FOR:
    case T_TRY:
    case T_WITH:
    case T_RETURN:
    case T_BREAK:
    case T_CONTINUE:
    case T_THROW:
        return true;
    default:
        return false;
    }
}

void statements(compiler *c, int end)
{
    compile_skip_ends(c);
    while (c->now.kind != end && c->now.kind != T_EOF && !c->failed) {
        if (!compile_enter(c))
            return;
        if (begins_statement(c->now.kind))
            statement(c);
        else if (compile_take(c, T_FN))
            fn_statement(c);
        else if (!expression_or_assignment(c))
            emit(c, OP_POP, 0, 0);
        compile_leave(c);
        if (c->now.kind != end)
            compile_expect(c, T_END, "the end of the statement");
        compile_skip_ends(c);
    }
}

void block(compiler *c)
{
    compile_expect(c, '{', "a { before the block");
    begin_scope(c);
    statements(c, '}');
    compile_expect(c, '}', "a } after the block");
    end_scope(c);
}
