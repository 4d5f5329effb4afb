/* SPDX-License-Identifier: MIT */
/*
 * The interpreter's own collections become Neve's.
 *
 * The interpreter calls the callables in its list of callbacks at the "start"
 * and the "stop" of each collection. Neve gives it a list of its own, with one
 * callable, and calls the program's (the list known as gc.callbacks) itself,
 * so that these see a whole heap at "start", and at "stop" a pause and results
 * that are ours, and so that clearing gc.callbacks takes nothing from us.
 *
 *   start   call the program's callbacks; hide the lists of objects, so that
 *           CPython's collector finds next to nothing to do
 *   stop    give the lists back, collect, put our counts into `info` and into
 *           the interpreter's statistics, call the program's callbacks
 *
 * The trigger, the thresholds, gc.disable(), and gc.collect() from any thread
 * thus stay the interpreter's own, and so does its `collecting` flag, which
 * keeps collections from nesting.
 */
#include "neve_python.h"

static void call_program(PyObject *phase, PyObject *info)
{
    PyObject *arguments[2] = {phase, info};
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(nvpy.callbacks); i++) {
        PyObject *callback = Py_NewRef(PyList_GET_ITEM(nvpy.callbacks, i));
        PyObject *result = PyObject_Vectorcall(callback, arguments, 2, NULL);
        if (result == NULL)
            nvpy_compat_unraisable_in_callback(callback);
        else
            Py_DECREF(result);
        Py_DECREF(callback);
    }
}

static void hide(void)
{
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    for (int i = 0; i < NUM_GENERATIONS; i++) {
        nvpy_list_init(&nvpy.hidden[i]);
        nvpy_list_merge(nvpy_list(nvpy.interp, i), &nvpy.hidden[i]);
    }
    nvpy.is_hidden = true;
    nvpy.long_lived_total = gc->long_lived_total;
    nvpy.long_lived_pending = gc->long_lived_pending;
    for (int i = 0; i < NUM_GENERATIONS; i++)
        nvpy.hidden_counts[i] = nvpy_generation(nvpy.interp, i)->count;
    nvpy.hidden_debug = gc->debug & NVPY_DEBUG_STATS;
    gc->debug &= ~NVPY_DEBUG_STATS;
}

static void unhide(void)
{
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    for (int i = 0; i < NUM_GENERATIONS; i++)
        nvpy_list_merge_front(&nvpy.hidden[i], nvpy_list(nvpy.interp, i));
    nvpy.is_hidden = false;
    gc->long_lived_total = nvpy.long_lived_total;
    gc->long_lived_pending = nvpy.long_lived_pending;
    gc->debug |= nvpy.hidden_debug;
    nvpy.hidden_debug = 0;
}

/* gc.DEBUG_STATS, which CPython's collector would print for empty lists. */
static void print_start(int generation)
{
    PySys_FormatStderr("gc: collecting generation %d...\n", generation);
    neve_collector_stats stats;
    neve_collector_get_stats(nvpy.collector, &stats);
    PySys_FormatStderr("gc: objects in each generation: %zu %zu %zu\n",
                       stats.generations[0].objects, stats.generations[1].objects,
                       stats.generations[2].objects);
    PySys_FormatStderr("gc: objects in permanent generation: %zu\n", stats.frozen);
}

static void print_stop(const neve_collection *collection)
{
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%.4f", (double)collection->duration_ns / 1e9);
    PySys_FormatStderr("gc: done, %zu unreachable, %zu uncollectable, %ss elapsed\n",
                       collection->collected + collection->uncollectable, collection->uncollectable,
                       seconds);
}

/* Where cycles collect the old generation, the interpreter's 25% rule shall never
 * find that a full collection is due, so that whoever asks for one means it. */
#define NEVER_DUE (PY_SSIZE_T_MAX / 2)

static void set_long_lived(struct _gc_runtime_state *gc, size_t total, size_t pending)
{
    bool in_slices = neve_mode_has_cycles(neve_collector_mode(nvpy.collector));
    gc->long_lived_total = in_slices ? NEVER_DUE : (Py_ssize_t)total;
    gc->long_lived_pending = in_slices ? 0 : (Py_ssize_t)pending;
}

void nvpy_takeover_set_mode(neve_mode mode)
{
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    size_t total, pending;
    if (!neve_mode_has_cycles(neve_collector_mode(nvpy.collector)))
        neve_collector_set_long_lived(nvpy.collector, (size_t)gc->long_lived_total,
                                      (size_t)gc->long_lived_pending);
    (void)neve_collector_set_mode(nvpy.collector, mode);
    neve_collector_get_long_lived(nvpy.collector, &total, &pending);
    set_long_lived(gc, total, pending);
    nvpy_large_set_alarm(neve_collector_bytes_left(nvpy.collector));
}

/* What a slice of a cycle found is the old generation's, in gc.get_stats(). */
static void add_cycle_results(const neve_collection *collection)
{
    neve_collection part = {.collected = collection->cycle_collected,
                            .uncollectable = collection->cycle_uncollectable};
    if (collection->ended_cycle)
        nvpy_statistics(nvpy.interp, NUM_GENERATIONS - 1)->collections++;
    (void)nvpy_compat_add_results(nvpy.interp, NUM_GENERATIONS - 1, &part, NULL);
}

/* The interpreter has counted a collection, and begun to count to the next; but this was a
 * slice, and the young set is as it was. */
static void undo_counts(int generation)
{
    for (int i = 1; i < NUM_GENERATIONS; i++)
        nvpy_generation(nvpy.interp, i)->count = nvpy.hidden_counts[i];
    nvpy_statistics(nvpy.interp, generation)->collections--;
}

static void run_collection(int generation, PyObject *info)
{
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    bool in_slices = neve_mode_has_cycles(neve_collector_mode(nvpy.collector));
    if (!in_slices)
        neve_collector_set_long_lived(nvpy.collector, (size_t)gc->long_lived_total,
                                      (size_t)gc->long_lived_pending);
    /* (A full one is never due in slices: the C function asks for it.) */
    bool is_due = !nvpy.is_explicit && (!in_slices || generation < NUM_GENERATIONS - 1);
    if (is_due && in_slices) {
        uint32_t thresholds[NUM_GENERATIONS];
        for (int i = 0; i < NUM_GENERATIONS; i++)
            thresholds[i] = (uint32_t)nvpy_generation(nvpy.interp, i)->threshold;
        neve_collector_set_thresholds(nvpy.collector, thresholds);
    }
    neve_collection collection;
    neve_status status = is_due ? neve_collect_due(nvpy.collector, generation, &collection)
                                : neve_collect(nvpy.collector, generation, &collection);
    nvpy_timer_note_slice();
    nvpy_large_set_alarm(neve_collector_bytes_left(nvpy.collector));
    if (status != NEVE_OK) {
        /* Nothing was collected and nothing is lost; CPython, which needs no
         * memory to collect, reports nothing here either. */
        nvpy.last_found = 0;
        nvpy.runs++;
        return;
    }
    size_t total, pending;
    neve_collector_get_long_lived(nvpy.collector, &total, &pending);
    set_long_lived(gc, total, pending);
    if (generation == NUM_GENERATIONS - 1) {
        hide();
        nvpy_compat_empty_free_lists(nvpy.interp);
        unhide();
    }
    nvpy.last_found = (Py_ssize_t)(collection.collected + collection.uncollectable);
    nvpy.runs++;
    if (is_due && in_slices) {
        add_cycle_results(&collection);
        if (collection.is_slice)
            undo_counts(generation);
        struct gc_generation *young = nvpy_generation(nvpy.interp, 0);
        if (collection.next_after != 0 && (int)collection.next_after <= young->threshold)
            young->count = young->threshold - (int)collection.next_after;
    }
    neve_collection own = collection;
    own.collected -= collection.cycle_collected;
    own.uncollectable -= collection.cycle_uncollectable;
    /* Nobody but the program's callbacks gets to see `info`. */
    bool is_seen = PyList_GET_SIZE(nvpy.callbacks) > 0;
    if (!nvpy_compat_add_results(nvpy.interp, generation, &own, is_seen ? info : NULL))
        PyErr_WriteUnraisable(NULL);
    if ((gc->debug & NVPY_DEBUG_STATS) != 0)
        print_stop(&collection);
}

size_t nvpy_takeover_look(void)
{
    if (nvpy.interp == NULL)
        return 0;
    size_t left = neve_collector_bytes_left(nvpy.collector);
    struct gc_generation *young = nvpy_generation(nvpy.interp, 0);
    /* The next container that is allocated begins a collection, as if there were many. */
    if (left == 0 && PyGC_IsEnabled() && young->threshold > 0 && young->count <= young->threshold)
        young->count = young->threshold + 1;
    return left;
}

bool nvpy_takeover_step(unsigned budget_us)
{
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    if (gc->collecting)
        return false;
    /* As in a collection of the interpreter's: others are kept from starting, and an
     * exception that is on its way stays. */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    gc->collecting = 1;
    neve_collector_set_young_count(nvpy.collector,
                                   (uint32_t)nvpy_generation(nvpy.interp, 0)->count);
    neve_collection collection;
    bool is_more = neve_step(nvpy.collector, budget_us, &collection);
    nvpy_large_set_alarm(neve_collector_bytes_left(nvpy.collector));
    add_cycle_results(&collection);
    gc->collecting = 0;
    nvpy_timer_note_slice();
    PyErr_Restore(type, value, traceback);
    return is_more;
}

static int generation_of(PyObject *info)
{
    static PyObject *key; /* immortal; `info` is made for each collection anew, and twice */
    if (key == NULL && (key = PyUnicode_InternFromString("generation")) == NULL) {
        PyErr_Clear();
        return -1;
    }
    PyObject *value = PyDict_GetItem(info, key);
    long generation = value == NULL ? -1 : PyLong_AsLong(value);
    return generation < 0 || generation >= NUM_GENERATIONS ? -1 : (int)generation;
}

static PyObject *on_collection(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    (void)self;
    if (count != 2 || !PyUnicode_Check(arguments[0]) || !PyDict_CheckExact(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "neve's collection callback is for the interpreter only");
        return NULL;
    }
    PyObject *phase = arguments[0], *info = arguments[1];
    int generation = generation_of(info);
    if (PyInterpreterState_Get() != nvpy.interp || generation < 0)
        Py_RETURN_NONE;
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    if (!gc->collecting)
        Py_RETURN_NONE; /* called by hand */

    if (nvpy.is_hidden && PyUnicode_CompareWithASCIIString(phase, "start") == 0)
        unhide(); /* the last collection never came to its "stop" */
    if (PyUnicode_CompareWithASCIIString(phase, "start") == 0) {
        call_program(phase, info);
        if ((gc->debug & NVPY_DEBUG_STATS) != 0)
            print_start(generation);
        hide();
    } else if (nvpy.is_hidden) {
        unhide();
        run_collection(generation, info);
        call_program(phase, info);
        if (nvpy_compat_is_finalizing() && generation == NUM_GENERATIONS - 1) {
            nvpy_immortal_finalize();
            nvpy_takeover_leave();
        }
    }
    Py_RETURN_NONE;
}

static PyMethodDef on_collection_def = {"neve_on_collection",
                                        (PyCFunction)(void (*)(void))on_collection, METH_FASTCALL,
                                        "Neve's part in the interpreter's collections."};

/* What Neve has made immortal it finalizes even if it was uninstalled meanwhile: nobody else
 * would find it. For that it takes the lists of objects over once more. */
static void finalize_after_uninstall(void)
{
    if (nvpy.immortals == 0 || PyInterpreterState_Get() != PyInterpreterState_Main())
        return;
    if (!nvpy_takeover_install()) {
        PyErr_Clear(); /* no memory, or this is called by hand from a finalizer */
        return;
    }
    nvpy.is_leaving = true;
    nvpy_immortal_finalize();
    nvpy_takeover_leave();
}

/* Runs after all other atexit functions, unless they were registered before
 * Neve was installed. */
static PyObject *at_exit(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    nvpy.is_leaving = true;
    /* With the collector enabled, the interpreter collects once more before it
     * takes its modules apart, and we leave after that (see on_collection). */
    if (nvpy.interp == NULL) {
        finalize_after_uninstall();
    } else if (!PyGC_IsEnabled()) {
        nvpy_immortal_finalize();
        nvpy_takeover_leave();
    }
    Py_RETURN_NONE;
}

static PyMethodDef at_exit_def = {"neve_at_exit", at_exit, METH_NOARGS,
                                  "Gives the lists of objects back to CPython's collector."};

static bool register_at_exit(void)
{
    static bool is_registered = false;
    if (is_registered)
        return true;
    PyObject *module = PyImport_ImportModule("atexit");
    PyObject *function = module == NULL ? NULL : PyCFunction_New(&at_exit_def, NULL);
    PyObject *result =
        function == NULL ? NULL : PyObject_CallMethod(module, "register", "O", function);
    is_registered = result != NULL;
    Py_XDECREF(result);
    Py_XDECREF(function);
    Py_XDECREF(module);
    return is_registered;
}

bool nvpy_takeover_install(void)
{
    PyInterpreterState *interp = PyInterpreterState_Get();
    const char *refusal = nvpy_compat_refusal(interp);
    if (refusal == NULL && nvpy_gc(interp)->collecting)
        refusal = "a collection is under way; neve cannot be installed from a finalizer";
    if (refusal != NULL) {
        PyErr_SetString(PyExc_RuntimeError, refusal);
        return false;
    }
    neve_status status = NEVE_OK;
    if (nvpy.collector == NULL)
        status = neve_collector_create(nvpy.heap, &nvpy_host, NULL, NULL, &nvpy.collector);
    if (status != NEVE_OK) {
        nvpy_raise(status, "creating the collector");
        return false;
    }
    neve_histogram_reset(&nvpy.pauses);
    neve_listener listener = neve_histogram_listener(&nvpy.pauses);
    neve_collector_set_listener(nvpy.collector, &listener);

    /* gc.callbacks is bound to the interpreter's list when gc is first imported,
     * which must come before that list is exchanged. */
    PyObject *gc_module = PyImport_ImportModule("gc");
    PyObject *function = gc_module == NULL ? NULL : PyCFunction_New(&on_collection_def, NULL);
    Py_XDECREF(gc_module); /* sys.modules keeps it */
    PyObject *list = function == NULL ? NULL : PyList_New(1);
    nvpy_compat_learn_instances();
    if (list == NULL || !register_at_exit()) {
        Py_XDECREF(function);
        Py_XDECREF(list);
        return false;
    }
    PyList_SET_ITEM(list, 0, function);
    /* Nothing below runs Python code or can fail. */
    nvpy.interp = interp;
    nvpy.is_leaving = false;
    nvpy.callbacks = nvpy_gc(interp)->callbacks; /* its reference comes with it */
    nvpy.own_callbacks = Py_NewRef(list);
    nvpy_gc(interp)->callbacks = list;
    nvpy_lists_adopt();
    return true;
}

void nvpy_takeover_leave(void)
{
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    nvpy_takeover_set_mode(NEVE_MODE_GENERATIONAL); /* drains, and undoes NEVER_DUE */
    nvpy_gcmodule_leave();
    nvpy_sysmodule_leave();
    nvpy_exec_leave();
    if (nvpy.is_leaving)
        nvpy_lists_give_back_at_exit();
    else
        nvpy_lists_give_back();
    if (gc->collecting) {
        /* The interpreter is walking our list, and would go on with the
         * program's if it found that in its place: it is left empty there. No
         * callback is called any more after this collection, the last. */
        PyList_SetSlice(nvpy.own_callbacks, 0, PyList_GET_SIZE(nvpy.own_callbacks), NULL);
    } else {
        PyObject *ours = gc->callbacks;
        gc->callbacks = nvpy.callbacks;
        Py_DECREF(ours);
        nvpy.callbacks = NULL;
    }
    Py_CLEAR(nvpy.own_callbacks);
    nvpy.interp = NULL;
}
