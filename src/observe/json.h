/* SPDX-License-Identifier: MIT */
/*
 * Writing JSON, piece by piece, through a small buffer: for reports and dumps. It
 * allocates nothing, and the text is ASCII whatever the strings hold.
 */
#ifndef NV_JSON_H
#define NV_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nv_json {
    /* Takes a piece of text, which no NUL ends; false: it could not be written. */
    bool (*write)(void *ctx, const char *text, size_t length);
    void *ctx;
    bool needs_comma;
    bool has_failed; /* a piece was not taken: nothing more is written */
    size_t length;
    char buffer[4096];
} nv_json;

void nv_json_begin(nv_json *json, bool (*write)(void *ctx, const char *text, size_t length),
                   void *ctx);
/* Hands on what is in the buffer; false if any piece was not taken. */
bool nv_json_flush(nv_json *json);

/* `key` is NULL for the items of an array and for a line's own value. */
void nv_json_open(nv_json *json, const char *key, char bracket);
void nv_json_close(nv_json *json, char bracket);
void nv_json_number(nv_json *json, const char *key, uint64_t number);
void nv_json_text(nv_json *json, const char *key, const char *text);
void nv_json_flag(nv_json *json, const char *key, bool is_true);
void nv_json_null(nv_json *json, const char *key);
/* An address, in hexadecimal digits, as a string: it may be no number of JavaScript's. */
void nv_json_address(nv_json *json, const char *key, const void *address);
/* Ends a line; the next value stands alone. */
void nv_json_line(nv_json *json);

#endif
