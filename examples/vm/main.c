/* SPDX-License-Identifier: MIT */
/*
 * The command line: sets a machine up, runs one program, takes the machine down in the order
 * that finalizers need, and turns what happened into an exit status.
 */
#include "vm.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: vm [OPTION]... PROGRAM [ARGUMENT]...\n"
    "\n"
    "Runs a program of the example language on libneve (docs/vm.md). The arguments are strings in\n"
    "the program's list `args`.\n"
    "\n"
    "  --mode MODE     the collector: generational (the default), incremental or snapshot\n"
    "  --pause-us N    the pause that the incremental and the snapshot mode aim at: 500\n"
    "  --stats         print what each generation collected, to standard error, at the end\n"
    "  --code          print the program's instructions, and do not run it\n"
    "  --check         check heap and collector at the end, and that no object is left\n"
    "  -h, --help      print this\n"
    "\n"
    "Exit status: the program's; 1 after an error, 2 for a wrong command line, 130 after an\n"
    "interrupt.\n";

typedef struct options {
    neve_collector_options collect;
    bool shows_stats, shows_code, checks;
    const char *file;
    char **arguments;
    size_t own_buffers; /* of Neve's, before the machine has any */
} options;

#define STATUS_INTERRUPTED 130

static vm machine; /* one for the process: a signal handler has to find it */

/* All that a handler may do: the program hears of it at its next safe point. */
static void on_sigint(int signal_number)
{
    (void)signal_number;
    neve_breaker_set(&machine.breaker, EVENT_INTERRUPT);
}

/* ---- the command line ---- */

static bool parse_mode(const char *word, neve_mode *mode)
{
    static const char *const modes[] = {"generational", "incremental", "snapshot"};
    for (int i = 0; i < 3; i++) {
        if (word != NULL && strcmp(word, modes[i]) == 0) {
            *mode = (neve_mode)i;
            return true;
        }
    }
    fprintf(stderr, "vm: --mode is generational, incremental or snapshot\n");
    return false;
}

static bool parse_pause(const char *word, uint32_t *pause_us)
{
    char *end = NULL;
    unsigned long is = word != NULL && *word >= '0' && *word <= '9' ? strtoul(word, &end, 10) : 0;
    if (is < 1 || is > 60000000 || *end != '\0') {
        fprintf(stderr, "vm: --pause-us is from 1 to 60000000 microseconds\n");
        return false;
    }
    *pause_us = (uint32_t)is;
    return true;
}

/* False: a line about what is wrong has been printed. */
static bool parse_options(char **words, options *o)
{
    *o = (options){.collect = {.struct_size = sizeof o->collect}};
    for (; *words != NULL && (*words)[0] == '-'; words++) {
        bool takes_value = strcmp(*words, "--mode") == 0 || strcmp(*words, "--pause-us") == 0;
        if (strcmp(*words, "--") == 0) {
            words++;
            break;
        }
        if (strcmp(*words, "--stats") == 0)
            o->shows_stats = true;
        else if (strcmp(*words, "--code") == 0)
            o->shows_code = true;
        else if (strcmp(*words, "--check") == 0)
            o->checks = true;
        else if (!takes_value) {
            fprintf(stderr, "vm: unknown option '%s'; vm --help lists them\n", *words);
            return false;
        } else if (!(strcmp(*words, "--mode") == 0 ? parse_mode(words[1], &o->collect.mode)
                                                   : parse_pause(words[1], &o->collect.pause_us)))
            return false;
        words += takes_value;
    }
    o->file = *words;
    if (o->file == NULL) {
        fprintf(stderr, "vm: no program; vm --help says how to name one\n");
        return false;
    }
    o->arguments = words + 1;
    return true;
}

/* ---- the machine ---- */

static bool define_arguments(vm *m, char **arguments)
{
    string *name = string_name(m, "args", 4);
    list *args = list_new(m, 0);
    bool done = name != NULL && args != NULL;
    for (; done && *arguments != NULL; arguments++) {
        string *one = string_new(m, *arguments, strlen(*arguments));
        done = one != NULL && list_push(m, args, from_object(one));
        release(m, from_object(one));
    }
    done = done && dict_set(m, (dict *)m->globals, from_object(name), from_object(args));
    release(m, from_object(name));
    release(m, from_object(args));
    return done;
}

static size_t count_buffers(vm *m)
{
    neve_heap_stats stats;
    neve_heap_get_stats(m->heap, &stats);
    return stats.small_blocks[NEVE_DOMAIN_RAW] + stats.large_blocks;
}

static bool set_up(vm *m, options *o)
{
    o->collect.breaker = &m->breaker;
    neve_runtime_options all = {.struct_size = sizeof all, .collect = &o->collect};
    if (neve_runtime_create(&all, &m->runtime) != NEVE_OK)
        return false;
    neve_runtime_set_data(m->runtime, m);
    m->heap = neve_runtime_heap(m->runtime);
    m->collector = neve_runtime_collector(m->runtime);
    m->file = o->file;
    static const char words[] = "out of memory";
    string *no_memory = string_new(m, words, sizeof words - 1);
    if (no_memory == NULL)
        return false;
    m->no_memory = from_object(no_memory);
    /* What the machine holds, marking starts from. */
    neve_object **const roots[] = {&m->stack, &m->globals, &m->names, &m->gc_callbacks,
                                   &m->on_interrupt};
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        if (neve_root_add(m->runtime, roots[i]) != NEVE_OK)
            return false;
    }
    o->own_buffers = count_buffers(m);
    return (m->stack = (neve_object *)stack_new(m)) != NULL &&
           (m->names = (neve_object *)dict_new(m)) != NULL &&
           (m->globals = (neve_object *)dict_new(m)) != NULL &&
           (m->gc_callbacks = (neve_object *)list_new(m, 0)) != NULL &&
           (m->drop_name = string_name(m, "drop", 4)) != NULL &&
           (m->init_name = string_name(m, "init", 4)) != NULL && builtins_define(m) &&
           gc_module_define(m) && define_arguments(m, o->arguments);
}

/* First what the program made, finalizers and all, while the machine is whole; then the machine. */
static void release_all(vm *m)
{
    neve_clear_slot(m->runtime, &m->on_interrupt);
    if (m->gc_callbacks != NULL)
        list_type.clear(m->runtime, m->gc_callbacks);
    if (m->globals != NULL)
        dict_clear(m->runtime, m->globals);
    for (int i = 0; i < 8; i++) { /* a `drop` may leave new garbage */
        neve_collection done = {0};
        if (neve_collect(m->collector, NEVE_GENERATIONS - 1, &done) != NEVE_OK ||
            done.collected == 0)
            break;
    }
    neve_collector_drain(m->collector);
    neve_collector_set_listener(m->collector, NULL);
    neve_clear_slot(m->runtime, &m->gc_callbacks);
    neve_clear_slot(m->runtime, &m->globals);
    neve_clear_slot(m->runtime, &m->names);
    neve_clear_slot(m->runtime, &m->stack);
    release(m, from_object(m->drop_name));
    release(m, from_object(m->init_name));
    assign(m, &m->thrown, NO_VALUE);
    assign(m, &m->no_memory, NO_VALUE);
}

/* After release_all nothing is left, or a reference was lost on the way. */
static bool check_nothing_left(vm *m, size_t own_buffers)
{
    char message[256];
    if (neve_collector_check(m->collector, message, sizeof message) == NEVE_ECORRUPT ||
        neve_heap_check(m->heap, message, sizeof message) != NEVE_OK) {
        fprintf(stderr, "vm: %s\n", message);
        return false;
    }
    neve_heap_stats stats;
    neve_heap_get_stats(m->heap, &stats);
    size_t left = stats.small_blocks[NEVE_DOMAIN_OBJECT] + stats.small_blocks[NEVE_DOMAIN_LEAF];
    if (left > 0)
        fprintf(stderr, "vm: %zu objects are left\n", left);
    /* Neve has one more by now, if there was a weak reference: its table. (0: memory lacked
     * before Neve's own were counted.) */
    size_t buffers = count_buffers(m);
    bool has_lost_buffers = own_buffers > 0 && buffers > own_buffers + 1;
    if (has_lost_buffers)
        fprintf(stderr, "vm: %zu buffers are left\n", buffers - own_buffers);
    return left == 0 && !has_lost_buffers;
}

static void print_stats(vm *m)
{
    neve_collector_stats stats;
    neve_collector_get_stats(m->collector, &stats);
    fprintf(stderr, "generation  collections  collected  time ms  longest ms\n");
    for (int i = 0; i < NEVE_GENERATIONS; i++) {
        const neve_generation_stats *of = &stats.generations[i];
        fprintf(stderr, "%10d %12" PRIu64 " %10" PRIu64 " %8.2f %11.3f\n", i, of->collections,
                of->collected, (double)of->time_ns / 1e6, (double)of->longest_pause_ns / 1e6);
    }
}

/* ---- the program ---- */

/* The file's text in a raw block; NULL: a line has been printed. */
static char *read_program(vm *m, const char *file)
{
    FILE *from = fopen(file, "rb");
    char *text = NULL;
    size_t length = 0, room = 0, got = 0;
    if (from == NULL) {
        fprintf(stderr, "vm: cannot read %s: %s\n", file, strerror(errno));
        return NULL;
    }
    do {
        length += got;
        if (room - length < 4096) {
            room = room * 2 + 8192;
            char *more = neve_heap_realloc(m->heap, NEVE_DOMAIN_RAW, text, room);
            if (more == NULL) {
                fprintf(stderr, "vm: out of memory\n");
                goto failed;
            }
            text = more;
        }
        got = fread(text + length, 1, room - length - 1, from);
    } while (got > 0);
    if (ferror(from)) {
        fprintf(stderr, "vm: cannot read %s: %s\n", file, strerror(errno));
        goto failed;
    }
    text[length] = '\0';
    if (strlen(text) != length) {
        fprintf(stderr, "vm: %s is no text: it holds a zero byte\n", file);
        goto failed;
    }
    fclose(from);
    return text;
failed:
    fclose(from);
    neve_heap_free(m->heap, text);
    return NULL;
}

static void print_code(const function *f)
{
    static const char *const names[] = {
#define OPCODE(name) #name,
        OPCODES(OPCODE)
#undef OPCODE
    };
    printf("%s:\n", f->name->text);
    for (size_t i = 0; i < f->count; i++)
        printf("%5zu  line %-4u %-14s %u %u\n", i, f->code[i].line, names[f->code[i].op],
               f->code[i].a, f->code[i].b);
    for (size_t i = 0; i < f->constants->count; i++) {
        if (is_a(f->constants->items[i], &function_type))
            print_code((function *)object_of(f->constants->items[i]));
    }
}

static int run_program(vm *m, const options *o)
{
    char *text = read_program(m, o->file);
    if (text == NULL)
        return 1;
    closure *program = compile(m, text);
    neve_heap_free(m->heap, text);
    if (program == NULL) {
        vm_report(m, ": error: ");
        return 1;
    }
    if (o->shows_code) {
        print_code(program->code);
        release(m, from_object(program));
        return 0;
    }
    push(m, from_object(program));
    if (vm_call(m, 0)) {
        release(m, pop(m));
        return 0;
    }
    if (m->is_exiting)
        return m->exit_status;
    vm_report(m, ": error: ");
    return m->was_interrupted ? STATUS_INTERRUPTED : 1;
}

int main(int count, char **words)
{
    options o;
    (void)count;
    if (words[1] != NULL && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0)) {
        fputs(usage, stdout);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (!parse_options(words + 1, &o))
        return 2;
    vm *m = &machine;
    int status = 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (set_up(m, &o)) {
        struct sigaction action = {.sa_handler = on_sigint, .sa_flags = SA_RESTART};
        sigaction(SIGINT, &action, NULL);
        status = run_program(m, &o);
    } else {
        fprintf(stderr, "vm: out of memory\n");
    }
    if (m->runtime != NULL) {
        if (o.shows_stats)
            print_stats(m);
        m->is_exiting = false;
        release_all(m);
        if (o.checks && !check_nothing_left(m, o.own_buffers))
            status = 1;
    }
    neve_runtime_destroy(m->runtime);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "vm: cannot write to standard output\n");
        status = status == 0 ? 1 : status;
    }
    return status;
}
