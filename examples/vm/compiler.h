/* SPDX-License-Identifier: MIT */
/*
 * What the two halves of the compiler share: the state of the translation, and the helpers by
 * which statements.c uses the expressions of compiler.c.
 */
#ifndef VM_COMPILER_H
#define VM_COMPILER_H

#include "lexer.h"
#include "vm.h"

#define LOCALS_MAX 180
#define PENDING_MAX 100 /* values that wait on the stack while an expression is evaluated */
#define NESTED_MAX 100  /* of the grammar, which is the C stack's */
#define ENCLOSING_MAX 16
#define BREAKS_MAX 32

typedef struct local {
    const char *name; /* in the program's text */
    size_t length;
    int depth;
    size_t since;   /* the code in which it exists begins here */
    bool is_shared; /* a closure has captured it */
} local;

/* A `try` or a `with` around the code that is being compiled. */
typedef struct cleanup {
    bool is_with;
    uint16_t slot; /* of the `with`'s resource */
} cleanup;

typedef struct loop {
    size_t start;
    int locals, cleanups; /* how many there were outside its body */
    size_t breaks[BREAKS_MAX];
    int break_count;
} loop;

/* One function that is being compiled. */
typedef struct unit {
    struct unit *outer;
    function *code;
    local locals[LOCALS_MAX];
    int local_count, depth, pending;
    cleanup cleanups[ENCLOSING_MAX];
    int cleanup_count;
    loop loops[ENCLOSING_MAX];
    int loop_count;
} unit;

typedef struct compiler {
    vm *m;
    lexer lexer;
    token now, before;
    unit *unit;
    int nested;
    /* The error is thrown already. From then on the text seems to be at its end, which ends
     * every loop of the parser by itself. */
    bool failed;
} compiler;

/* ---- compiler.c ---- */

void compile_fail(compiler *c, const char *message);
void compile_advance(compiler *c);
bool compile_take(compiler *c, int kind); /* if it is there */
void compile_expect(compiler *c, int kind, const char *what);
void compile_skip_ends(compiler *c);
bool compile_enter(compiler *c); /* a rule that nests; false: too deep */
void compile_leave(compiler *c);

size_t emit(compiler *c, int op, size_t a, int b); /* returns where it is */
void emit_target(compiler *c, size_t jump);        /* the jump goes to here */
size_t name_constant(compiler *c, token name);
void declare_local(compiler *c, token name); /* the value on top of the stack */
void begin_scope(compiler *c);
void end_scope(compiler *c);
void set_variable(compiler *c, token name);
void get_variable(compiler *c, token name);

void expression(compiler *c);
/* True: it was an assignment, and left no value. */
bool expression_or_assignment(compiler *c);
void function_literal(compiler *c, token name);

/* ---- statements.c ---- */

void block(compiler *c); /* { ... }, with a scope of its own */
void statements(compiler *c, int end);

#endif
