/* SPDX-License-Identifier: MIT */
/*
 * neve model --plot: the pauses of each mode over the life of the service, predicted (lines) and measured
 * (dots), on a logarithmic scale; an SVG that needs nothing else.
 */
#include "model.h"

#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    WIDTH = 960,
    PANEL = 220,
    LEFT = 70,
    RIGHT = 20,
    TOP = 60,
    GAP = 40,
    COLUMNS =
        (WIDTH - LEFT - RIGHT) / 2, /* dots: of those that would cover each other the longest */
    HEIGHT = TOP + MODEL_MODES * (PANEL + GAP),
};

static const char *const colours[MODEL_MODES] = {"#d62728", "#1f77b4", "#2ca02c"};

/* The scale of one picture, the same in all panels. */
typedef struct scale {
    double objects;   /* kept at the right edge */
    double low, high; /* powers of ten, in milliseconds */
    const model_service *service;
} scale;

static double x_of(const scale *s, double kept)
{
    return LEFT + kept / s->objects * (WIDTH - LEFT - RIGHT);
}

static double y_of(const scale *s, int panel, double ns)
{
    double bottom = TOP + panel * (PANEL + GAP) + PANEL, at = log10(ns / 1e6);
    at = at < s->low ? s->low : at;
    return bottom - (at - s->low) / (s->high - s->low) * PANEL;
}

static void widen(scale *s, const model_timeline *timeline)
{
    for (size_t i = 0; i < timeline->count; i++) {
        if (!(timeline->items[i].ns > 0))
            continue;
        double at = log10(timeline->items[i].ns / 1e6);
        s->low = floor(at) < s->low ? floor(at) : s->low;
        s->high = ceil(at) > s->high ? ceil(at) : s->high;
    }
}

static void put_axes(FILE *out, const scale *s, int panel)
{
    double top = TOP + panel * (PANEL + GAP);
    fprintf(out, "<text x=\"%d\" y=\"%.0f\" font-weight=\"bold\" fill=\"%s\">%s</text>\n", LEFT,
            top - 8, colours[panel], model_mode_name((neve_mode)panel));
    for (double power = s->low; power <= s->high; power++) {
        double y = y_of(s, panel, pow(10, power) * 1e6);
        fprintf(out,
                "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%g ms</text>\n",
                LEFT, y, WIDTH - RIGHT, LEFT - 6, y + 4, pow(10, power));
    }
    for (int i = 0; i <= 4; i++) {
        double kept = s->objects * i / 4, x = x_of(s, kept);
        double at_s = kept / (double)s->service->kept / s->service->rate;
        fprintf(out,
                "<path d=\"M%.1f %.0fv%d\" stroke=\"#eee\"/><text x=\"%.1f\" y=\"%.0f\" "
                "text-anchor=\"middle\">%.0f s</text>\n",
                x, top, PANEL, x, top + PANEL + 15, at_s);
    }
}

/* Calls `put` with the longest pause of each column that has one. */
static void each_column(const scale *s, const model_timeline *timeline,
                        void (*put)(FILE *, double, double), FILE *out, int panel)
{
    double longest = 0, last = 0;
    int column = -1;
    for (size_t i = 0; i <= timeline->count; i++) {
        int now = COLUMNS + 1;
        if (i < timeline->count)
            now = (int)((double)timeline->items[i].kept / s->objects * COLUMNS);
        if (now != column && longest > 0) {
            put(out, last, y_of(s, panel, longest));
            longest = 0;
        }
        if (i == timeline->count)
            break;
        column = now;
        if (timeline->items[i].ns >= longest) {
            longest = timeline->items[i].ns;
            last = x_of(s, (double)timeline->items[i].kept);
        }
    }
}

static void put_stick(FILE *out, double x, double y)
{
    fprintf(out, "M%.1f %.1fh-3h6", x, y);
}

static void put_dot(FILE *out, double x, double y)
{
    fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2\"/>\n", x, y);
}

static void put_panel(FILE *out, const scale *s, const model_report *report, int panel)
{
    put_axes(out, s, panel);
    fprintf(
        out,
        "<path class=\"predicted\" stroke=\"#444\" stroke-width=\"1.5\" fill=\"none\" d=\"M0 0");
    each_column(s, &report->predicted[panel], put_stick, out, panel);
    fprintf(out, "\"/>\n<g class=\"measured\" fill=\"%s\" fill-opacity=\"0.7\">\n", colours[panel]);
    each_column(s, &report->measured[panel], put_dot, out, panel);
    fprintf(out, "</g>\n");
}

static void put_picture(FILE *out, const model_report *report)
{
    const model_service *service = &report->service;
    scale s = {.objects = (double)service->requests * (double)service->kept,
               .low = -2,
               .high = 0,
               .service = service};
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        widen(&s, &report->predicted[mode]);
        widen(&s, &report->measured[mode]);
    }
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
            "<text x=\"%d\" y=\"18\" font-size=\"14\">Pauses of a service: %g requests/s, each "
            "keeps %zu "
            "objects; dashes predicted, dots measured</text>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT, service->rate, service->kept);
    for (int mode = 0; mode < MODEL_MODES; mode++)
        put_panel(out, &s, report, mode);
    fprintf(out, "</svg>\n");
}

int model_plot(const model_report *report, const char *path)
{
    FILE *out = nvcli_replacement_begin("model", path);
    if (out == NULL)
        return NVCLI_FAILED;
    bool is_page = strcmp(path + strlen(path) - 5, ".html") == 0;
    if (is_page)
        fputs("<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"ascii\"><title>neve "
              "model</title>\n",
              out);
    put_picture(out, report);
    if (is_page)
        fputs("</html>\n", out);
    return nvcli_replacement_finish("model", path, out);
}
