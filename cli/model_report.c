/* SPDX-License-Identifier: MIT */
/*
 * neve model: the tables for people, and JSON. A ratio is what was measured over what was predicted.
 */
#include "model.h"

#include "cli.h"

#include <stdio.h>

static const char *const generation_names[NEVE_GENERATIONS] = {"young", "middle", "old"};

const char *model_mode_name(neve_mode mode)
{
    static const char *const names[MODEL_MODES] = {[NEVE_MODE_GENERATIONAL] = "generational",
                                                   [NEVE_MODE_INCREMENTAL] = "incremental",
                                                   [NEVE_MODE_SNAPSHOT] = "snapshot"};
    return names[mode];
}

/* Seconds for which the service runs. */
static double service_s(const model_service *service)
{
    return (double)service->requests / service->rate;
}

static double share(const model_service *service, const model_figures *figures)
{
    return figures->sum_ns / 1e9 / service_s(service);
}

static double ratio(double measured, double predicted)
{
    return predicted > 0 ? measured / predicted : 0;
}

/* How many times as long a request takes in which the pause falls. */
static double stretch(const model_service *service, double pause_ns)
{
    return (service->request_ms + pause_ns / 1e6) / service->request_ms;
}

/* By latencies alone, of the first collection that has the median number of objects. */
static double latencies_of(const model_report *report, int generation, double objects)
{
    const uint32_t *t = report->service.thresholds;
    double near = (t[0] + 1.0) * (t[1] + 2.0);
    return model_latencies_ns(&report->service, &report->machine, generation, objects,
                              near < objects ? near : objects);
}

/* ---- tables ---- */

static void print_machine(const model_report *report)
{
    const model_machine *m = &report->machine;
    printf("\n%-38s%9s%9s%9s%9s\n%-38s",
           report->is_calibrated ? "machine" : "machine (not measured)", "L1", "L2", "L3", "memory",
           "KiB");
    for (size_t i = 0; i + 1 < MODEL_LEVELS; i++)
        printf("%9zu", m->levels[i].bytes >> 10);
    printf("\n%-38s", "a reference that waits for another, ns");
    for (size_t i = 0; i < MODEL_LEVELS; i++)
        printf("%9.3g", m->levels[i].ns);
    printf("\n%-38s", "one of many that do not, ns");
    for (size_t i = 0; i < MODEL_LEVELS; i++)
        printf("%9.3g", m->levels[i].apart_ns);
    puts("");
    if (report->is_calibrated)
        printf("in L1 the collector takes %.3g ns to verify an object, %.3g ns to mark it, and "
               "%.3g and "
               "%.3g us\nfor a collection; a fork takes %.3g us, and %.3g us for each MiB\n",
               m->verify.object_ns, m->mark.object_ns, m->verify.fixed_ns / 1e3,
               m->mark.fixed_ns / 1e3, m->fork_fixed_ns / 1e3, m->fork_ns_per_mib / 1e3);
}

static void print_head(const model_report *report)
{
    const model_service *s = &report->service;
    nvcli_machine machine;
    nvcli_machine_get(&machine);
    nvcli_machine_print(&machine);
    printf("service: %g requests/s, each keeps %zu objects of %zu bytes with %zu references; "
           "thresholds "
           "%u, %u, %u;\n  %zu objects are there before; %zu requests, %.0f s\n",
           s->rate, s->kept, s->size, s->references, (unsigned)s->thresholds[0],
           (unsigned)s->thresholds[1], (unsigned)s->thresholds[2], s->live, s->requests,
           service_s(s));
    print_machine(report);
}

static void print_estimate(const model_report *report)
{
    double objects[NEVE_GENERATIONS], ns[NEVE_GENERATIONS];
    model_estimate(&report->service, objects, ns);
    printf("\nthe estimate, at 1 GHz, 4 cycles a reference in L1 and L2, 30 in "
           "L3\n%-12s%14s%10s%14s\n",
           "generation", "objects", "KiB", "ms");
    for (int i = 0; i < NEVE_GENERATIONS; i++)
        printf("%-12s%14.0f%10.0f%14.3f\n", generation_names[i], objects[i],
               objects[i] * (double)report->service.size / 1024, ns[i] / 1e6);
    printf("so a request of %g ms takes %.2f times as long at worst\n", report->service.request_ms,
           stretch(&report->service, ns[2]));
}

static bool print_generations(const model_report *report)
{
    printf("\ngenerational mode, medians of each generation's "
           "collections that look at objects\n%-11s%8s%11s%12s%12s%12s%12s%8s\n",
           "generation", "number", "objects", "latencies", "predicted", "measured", "longest",
           "ratio");
    printf("%-11s%8s%11s%12s%12s%12s%12s\n", "", "", "", "ms", "ms", "ms", "ms");
    for (int i = 0; i < NEVE_GENERATIONS; i++) {
        model_figures p, m;
        if (!model_summarize(&report->predicted[NEVE_MODE_GENERATIONAL], i, &p) ||
            !model_summarize(&report->measured[NEVE_MODE_GENERATIONAL], i, &m))
            return false;
        printf("%-11s%8zu%11.0f%12.3f%12.3f", generation_names[i], p.runs, p.objects,
               latencies_of(report, i, p.objects) / 1e6, p.ns / 1e6);
        if (report->has_run)
            printf("%12.3f%12.3f%8.2f\n", m.ns / 1e6, m.longest_ns / 1e6, ratio(m.ns, p.ns));
        else
            puts("           -           -       -");
        if (report->has_run &&
            (m.runs != p.runs || m.objects > p.objects * 1.02 || m.objects < p.objects * 0.98))
            printf("%-11s%8zu%11.0f  measured\n", "", m.runs, m.objects);
        if (p.looked < p.runs)
            printf("%-11s%8zu  of them verify; the others go unverified to the middle generation\n",
                   "", p.looked);
    }
    return true;
}

static bool print_modes(const model_report *report)
{
    const model_service *s = &report->service;
    printf("\nthe modes      longest pause, ms          share of time, %%           a request of "
           "%g ms takes\n"
           "%-13s%10s%10s%8s%10s%10s%8s%13s%13s\n",
           s->request_ms, "", "predicted", "measured", "ratio", "predicted", "measured", "ratio",
           "predicted", "measured");
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        model_figures p, m;
        if (!model_summarize(&report->predicted[mode], -1, &p) ||
            !model_summarize(&report->measured[mode], -1, &m))
            return false;
        printf("%-13s%10.3f", model_mode_name((neve_mode)mode), p.longest_ns / 1e6);
        if (report->has_run)
            printf("%10.3f %7.3g%10.4f%10.4f %7.3g%12.3fx%12.3fx\n", m.longest_ns / 1e6,
                   ratio(m.longest_ns, p.longest_ns), share(s, &p) * 100, share(s, &m) * 100,
                   ratio(m.sum_ns, p.sum_ns), stretch(s, p.longest_ns), stretch(s, m.longest_ns));
        else
            printf("%10s%8s%10.4f%10s%8s%12.3fx%13s\n", "-", "-", share(s, &p) * 100, "-", "-",
                   stretch(s, p.longest_ns), "-");
    }
    return true;
}

static void print_loops(const model_report *report)
{
    printf("\nthe longest request of the run, in which nothing but its pause takes long: CPU ms, "
           "and by the "
           "clock\n");
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        const model_loop *loop = &report->loops[mode];
        printf("%-13s%10.3f%10.3f", model_mode_name((neve_mode)mode), loop->longest_cpu_ns / 1e6,
               loop->longest_wall_ns / 1e6);
        if (mode == NEVE_MODE_SNAPSHOT)
            printf("   %llu of %llu snapshots came to their end; the longest fork %.3f ms",
                   (unsigned long long)loop->snapshots_taken, (unsigned long long)loop->snapshots,
                   (double)loop->longest_fork_ns / 1e6);
        puts("");
    }
    printf("%-13s%10.3f%10.3f\n", "(no collector)", report->control.longest_cpu_ns / 1e6,
           report->control.longest_wall_ns / 1e6);
}

bool model_print_tables(const model_report *report)
{
    print_head(report);
    print_estimate(report);
    if (report->predicted[NEVE_MODE_GENERATIONAL].count == 0)
        printf("\nno collection comes in so few requests: try more --requests\n");
    if (!print_generations(report) || !print_modes(report))
        return false;
    if (report->has_run)
        print_loops(report);
    puts("\n\"latencies\" is the estimate's way of counting, with this machine's latencies; "
         "\"predicted\" adds the\n"
         "collector's work on an object. docs/model-service.md says where they are off, and why.");
    return true;
}

/* ---- JSON ---- */

static void print_figures(const char *name, const model_service *service,
                          const model_figures *figures)
{
    printf("\"%s\": {\"collections\": %zu, \"looked\": %zu, \"objects\": %.0f, "
           "\"median_ms\": %.6f, \"longest_ms\": %.6f, \"share\": %.8f}",
           name, figures->runs, figures->looked, figures->objects, figures->ns / 1e6,
           figures->longest_ns / 1e6, share(service, figures));
}

static void print_settings(const model_report *report)
{
    const model_service *s = &report->service;
    const model_machine *m = &report->machine;
    nvcli_machine machine;
    nvcli_machine_get(&machine);
    printf("{");
    nvcli_machine_print_json(&machine);
    printf(",\n \"service\": {\"rate\": %g, \"kept\": %zu, \"size\": %zu, \"references\": %zu, "
           "\"thresholds\": [%u, %u, %u], \"live\": %zu, \"requests\": %zu, \"request_ms\": %g, "
           "\"pause_us\": %zu, \"work_bytes\": %zu, \"block_bytes\": %zu},\n \"levels\": [",
           s->rate, s->kept, s->size, s->references, (unsigned)s->thresholds[0],
           (unsigned)s->thresholds[1], (unsigned)s->thresholds[2], s->live, s->requests,
           s->request_ms, s->pause_us, s->work_bytes, model_block_bytes(s));
    for (size_t i = 0; i < MODEL_LEVELS; i++) {
        printf("%s{\"bytes\": ", i == 0 ? "" : ", ");
        if (i + 1 < MODEL_LEVELS)
            printf("%zu", m->levels[i].bytes);
        else
            printf("null");
        printf(", \"ns\": %.4f, \"apart_ns\": %.4f}", m->levels[i].ns, m->levels[i].apart_ns);
    }
    printf("],\n \"calibrated\": %s, \"verify_ns\": %.4f, \"mark_ns\": %.4f, \"fork_us_per_mib\": "
           "%.4f",
           report->is_calibrated ? "true" : "false", m->verify.object_ns, m->mark.object_ns,
           m->fork_ns_per_mib / 1e3);
}

static bool print_pair(const model_report *report, neve_mode mode, int generation)
{
    model_figures p, m;
    if (!model_summarize(&report->predicted[mode], generation, &p) ||
        !model_summarize(&report->measured[mode], generation, &m))
        return false;
    print_figures("predicted", &report->service, &p);
    if (report->has_run) {
        printf(", ");
        print_figures("measured", &report->service, &m);
    }
    if (generation >= 0)
        printf(", \"latencies_ms\": %.6f", latencies_of(report, generation, p.objects) / 1e6);
    return true;
}

bool model_print_json(const model_report *report)
{
    double objects[NEVE_GENERATIONS], ns[NEVE_GENERATIONS];
    model_estimate(&report->service, objects, ns);
    print_settings(report);
    for (int i = 0; i < NEVE_GENERATIONS; i++)
        printf("%s{\"generation\": %d, \"objects\": %.0f, \"ms\": %.6f}",
               i == 0 ? ",\n \"estimate\": [" : ", ", i, objects[i], ns[i] / 1e6);
    for (int i = 0; i < NEVE_GENERATIONS; i++) {
        printf("%s{\"generation\": %d, ", i == 0 ? "],\n \"generations\": [" : ",\n  ", i);
        if (!print_pair(report, NEVE_MODE_GENERATIONAL, i))
            return false;
        printf("}");
    }
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        const model_loop *loop = &report->loops[mode];
        printf("%s{\"mode\": \"%s\", ", mode == 0 ? "],\n \"modes\": [" : ",\n  ",
               model_mode_name((neve_mode)mode));
        if (!print_pair(report, (neve_mode)mode, -1))
            return false;
        if (report->has_run)
            printf(", \"request_cpu_ms\": %.6f, \"request_wall_ms\": %.6f, \"snapshots\": %llu, "
                   "\"snapshots_taken\": %llu, \"late_slices\": %llu, \"longest_fork_ms\": %.6f",
                   loop->longest_cpu_ns / 1e6, loop->longest_wall_ns / 1e6,
                   (unsigned long long)loop->snapshots, (unsigned long long)loop->snapshots_taken,
                   (unsigned long long)loop->late_slices, (double)loop->longest_fork_ns / 1e6);
        printf("}");
    }
    if (report->has_run)
        printf("],\n \"control\": {\"request_cpu_ms\": %.6f, \"request_wall_ms\": %.6f}}\n",
               report->control.longest_cpu_ns / 1e6, report->control.longest_wall_ns / 1e6);
    else
        printf("]}\n");
    return true;
}
