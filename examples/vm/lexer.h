/* SPDX-License-Identifier: MIT */
/*
 * Tokens, for the compiler. The lexer points into the program's text and owns nothing.
 */
#ifndef VM_LEXER_H
#define VM_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum token_kind {
    T_EOF,
    T_ERROR, /* `text` is the message */
    T_END,   /* of a statement: a line's end after what can end one, or a semicolon */
    T_NAME,
    T_INTEGER,
    T_NUMBER,
    T_STRING, /* with its quotes and backslashes */
    /* Operators of two characters; those of one are their own kind. */
    T_EQUAL,
    T_NOT_EQUAL,
    T_LESS_EQUAL,
    T_GREATER_EQUAL,
    T_QUOTIENT,
    /* Keywords, in the order of the lexer's table. */
    T_AND = 256,
    T_AS,
    T_BREAK,
    T_CATCH,
    T_CLASS,
    T_CONTINUE,
    T_ELSE,
    T_FALSE,
    T_FN,
    T_FOR,
    T_IF,
    T_IN,
    T_LET,
    T_NIL,
    T_NOT,
    T_OR,
    T_RETURN,
    T_SLOTS,
    T_THROW,
    T_TRUE,
    T_TRY,
    T_WHILE,
    T_WITH,
} token_kind;

typedef struct token {
    int kind; /* a token_kind, or the character */
    const char *text;
    size_t length;
    uint32_t line;
} token;

#define BRACKETS 64
typedef struct lexer {
    const char *at;
    uint32_t line;
    int last; /* the kind of the token before */
    /* The brackets that are open: inside ( and [ a line's end means nothing. */
    char open[BRACKETS];
    int depth;
} lexer;

void lexer_begin(lexer *l, const char *text);
token lexer_next(lexer *l);

#endif
