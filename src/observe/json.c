/* SPDX-License-Identifier: MIT */
/*
 * The writer of json.h.
 */
#include "observe/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void nv_json_begin(nv_json *json, bool (*write)(void *ctx, const char *text, size_t length),
                   void *ctx)
{
    json->write = write;
    json->ctx = ctx;
    json->needs_comma = false;
    json->has_failed = false;
    json->length = 0;
}

bool nv_json_flush(nv_json *json)
{
    if (json->length > 0 && !json->has_failed)
        json->has_failed = !json->write(json->ctx, json->buffer, json->length);
    json->length = 0;
    return !json->has_failed;
}

static void put(nv_json *json, const char *text, size_t length)
{
    while (length > 0) {
        if (json->length == sizeof json->buffer)
            (void)nv_json_flush(json);
        size_t room = sizeof json->buffer - json->length;
        size_t piece = length < room ? length : room;
        memcpy(json->buffer + json->length, text, piece);
        json->length += piece;
        text += piece;
        length -= piece;
    }
}

/* Bytes that are no ASCII are shown as Latin-1 characters, so that the text is always valid. */
static void put_string(nv_json *json, const char *string)
{
    put(json, "\"", 1);
    for (; *string != '\0'; string++) {
        unsigned char c = (unsigned char)*string;
        char text[8];
        int length = 1;
        text[0] = (char)c;
        if (c == '"' || c == '\\')
            length = snprintf(text, sizeof text, "\\%c", c);
        else if (c < ' ' || c >= 127)
            length = snprintf(text, sizeof text, "\\u%04x", c);
        put(json, text, (size_t)length);
    }
    put(json, "\"", 1);
}

static void begin_item(nv_json *json, const char *key)
{
    if (json->needs_comma)
        put(json, ", ", 2);
    json->needs_comma = false;
    if (key != NULL) {
        put_string(json, key);
        put(json, ": ", 2);
    }
}

static void put_word(nv_json *json, const char *key, const char *word)
{
    begin_item(json, key);
    put(json, word, strlen(word));
    json->needs_comma = true;
}

void nv_json_open(nv_json *json, const char *key, char bracket)
{
    begin_item(json, key);
    put(json, &bracket, 1);
}

void nv_json_close(nv_json *json, char bracket)
{
    put(json, &bracket, 1);
    json->needs_comma = true;
}

void nv_json_number(nv_json *json, const char *key, uint64_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, number);
    put_word(json, key, digits);
}

void nv_json_text(nv_json *json, const char *key, const char *text)
{
    begin_item(json, key);
    put_string(json, text);
    json->needs_comma = true;
}

void nv_json_flag(nv_json *json, const char *key, bool is_true)
{
    put_word(json, key, is_true ? "true" : "false");
}

void nv_json_null(nv_json *json, const char *key)
{
    put_word(json, key, "null");
}

void nv_json_address(nv_json *json, const char *key, const void *address)
{
    char digits[24];
    snprintf(digits, sizeof digits, "\"%" PRIxPTR "\"", (uintptr_t)address);
    put_word(json, key, digits);
}

void nv_json_line(nv_json *json)
{
    put(json, "\n", 1);
    json->needs_comma = false;
}
