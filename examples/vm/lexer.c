/* SPDX-License-Identifier: MIT */
/*
 * The lexer: text to tokens. A line's end ends a statement where the token before it can end
 * one, so that programs need no semicolons; inside ( and [ it means nothing.
 *
 * Called by compiler.c, one token at a time.
 */
#include "lexer.h"

#include <ctype.h>
#include <string.h>

static const char *const keywords[] = {
    "and",    "as",    "break", "catch", "class", "continue", "else", "false",
    "fn",     "for",   "if",    "in",    "let",   "nil",      "not",  "or",
    "return", "slots", "throw", "true",  "try",   "while",    "with",
};

void lexer_begin(lexer *l, const char *text)
{
    memset(l, 0, sizeof *l);
    l->at = text;
    l->line = 1;
    l->last = T_END;
}

static token make(lexer *l, int kind, const char *start)
{
    l->last = kind;
    return (token){kind, start, (size_t)(l->at - start), l->line};
}

static token fail(lexer *l, const char *message)
{
    l->last = T_ERROR;
    return (token){T_ERROR, message, strlen(message), l->line};
}

static bool can_end_statement(int kind)
{
    switch (kind) {
    case T_NAME:
    case T_INTEGER:
    case T_NUMBER:
    case T_STRING:
    case T_BREAK:
    case T_CONTINUE:
    case T_RETURN:
    case T_NIL:
    case T_TRUE:
    case T_FALSE:
    case ')':
    case ']':
    case '}':
        return true;
    default:
        return false;
    }
}

static bool in_brackets(const lexer *l)
{
    return l->depth > 0 && l->open[l->depth - 1] != '{';
}

/* Skips space and comments. True: there was a line's end that ends a statement; the newline is
 * not yet skipped then. */
static bool skip_space(lexer *l)
{
    for (;; l->at++) {
        if (*l->at == '#') {
            while (*l->at != '\n' && *l->at != '\0')
                l->at++;
        }
        if (*l->at == '\n') {
            if (can_end_statement(l->last) && !in_brackets(l))
                return true;
            l->line++;
        } else if (*l->at != ' ' && *l->at != '\t' && *l->at != '\r') {
            return false;
        }
    }
}

static token lex_word(lexer *l, const char *start)
{
    while (isalnum((unsigned char)*l->at) || *l->at == '_')
        l->at++;
    size_t length = (size_t)(l->at - start);
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        if (strlen(keywords[i]) == length && memcmp(keywords[i], start, length) == 0)
            return make(l, T_AND + (int)i, start);
    }
    return make(l, T_NAME, start);
}

static token lex_number(lexer *l, const char *start)
{
    int kind = T_INTEGER;
    while (isdigit((unsigned char)*l->at))
        l->at++;
    if (*l->at == '.' && isdigit((unsigned char)l->at[1])) {
        kind = T_NUMBER;
        l->at++;
        while (isdigit((unsigned char)*l->at))
            l->at++;
    }
    if (isalpha((unsigned char)*l->at) || *l->at == '_')
        return fail(l, "a number is followed by a letter");
    return make(l, kind, start);
}

static token lex_string(lexer *l, const char *start)
{
    for (; *l->at != '"'; l->at++) {
        if (*l->at == '\\' && l->at[1] != '\0')
            l->at++;
        if (*l->at == '\0' || *l->at == '\n')
            return fail(l, "a string does not end on its line");
    }
    l->at++;
    return make(l, T_STRING, start);
}

/* Keeps account of the brackets; false if they do not fit. */
static bool bracket(lexer *l, char c)
{
    if (c == '(' || c == '[' || c == '{') {
        if (l->depth == BRACKETS)
            return false;
        l->open[l->depth++] = c;
    } else if (c == ')' || c == ']' || c == '}') {
        char opening = (char)(c == ')' ? '(' : c == ']' ? '[' : '{');
        if (l->depth == 0 || l->open[l->depth - 1] != opening)
            return false;
        l->depth--;
    }
    return true;
}

token lexer_next(lexer *l)
{
    if (skip_space(l)) {
        token end = make(l, T_END, l->at++);
        l->line++;
        return end;
    }
    const char *start = l->at;
    if (*start == '\0') /* the last line may lack its end */
        return make(l, can_end_statement(l->last) ? T_END : T_EOF, start);
    l->at++;
    if (isalpha((unsigned char)*start) || *start == '_')
        return lex_word(l, start);
    if (isdigit((unsigned char)*start))
        return lex_number(l, start);
    if (*start == '"')
        return lex_string(l, start);
    static const struct {
        char text[3];
        int kind;
    } pairs[] = {{"==", T_EQUAL},
                 {"!=", T_NOT_EQUAL},
                 {"<=", T_LESS_EQUAL},
                 {">=", T_GREATER_EQUAL},
                 {"//", T_QUOTIENT}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        if (start[0] == pairs[i].text[0] && start[1] == pairs[i].text[1]) {
            l->at++;
            return make(l, pairs[i].kind, start);
        }
    }
    if (*start == ';')
        return make(l, T_END, start);
    if (strchr("()[]{}.,:=+-*/%<>", *start) == NULL)
        return fail(l, "a character that no program has");
    if (!bracket(l, *start))
        return fail(l, "brackets do not match, or are nested too deeply");
    return make(l, *start, start);
}
