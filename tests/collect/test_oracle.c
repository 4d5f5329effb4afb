/* SPDX-License-Identifier: MIT */
/*
 * Random programs on the native object model and on the oracle's model heap.
 *
 * NEVE_ORACLE_SEED=n runs the programs from seed n on, NEVE_ORACLE_RUNS=n so
 * many of them. A failure names its seed and aborts; the same seed with one
 * run repeats it. NEVE_ORACLE_THOROUGH=1 checks the heap after each operation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "collect/has_children.h"
#include "collect/oracle.h"
#include "object/slow.h"

#define PROGRAM_BYTES 2400u

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static const char *const mode_names[] = {"generational", "incremental", "snapshot"};

static void run_random_programs(neve_mode mode, uint64_t usual_runs)
{
    uint64_t first = from_environment("NEVE_ORACLE_SEED", 1);
    uint64_t runs = from_environment("NEVE_ORACLE_RUNS", usual_runs);
    uint64_t all = 0, exact = 0, deaths = 0, collected = 0, revived = 0, failures = 0;
    uint64_t cycles = 0, exact_cycles = 0, batches = 0, cycle_deaths = 0, discarded = 0, closed = 0;
    uint64_t snapshots = 0, taken = 0, died = 0, killed = 0, looks = 0, looks_dead = 0;
    for (uint64_t seed = first; seed < first + runs; seed++) {
        static uint8_t program[PROGRAM_BYTES];
        uint64_t state = seed;
        size_t size = 64 + (size_t)(next_random(&state) % (PROGRAM_BYTES - 64));
        for (size_t i = 0; i < size; i++)
            program[i] = (uint8_t)next_random(&state);
        char name[64];
        snprintf(name, sizeof name, "NEVE_ORACLE_SEED=%llu, %s mode", (unsigned long long)seed,
                 mode_names[mode]);
        oracle done = oracle_run(name, mode, program, size);
        all += done.collections;
        exact += done.exact_collections;
        deaths += done.deaths;
        collected += done.collected;
        revived += done.resurrections;
        failures += done.failures;
        cycles += done.cycles;
        exact_cycles += done.exact_cycles;
        batches += done.batches;
        cycle_deaths += done.cycle_deaths;
        discarded += done.discarded;
        closed += done.closed;
        looks += done.looks;
        looks_dead += done.looks_dead;
        snapshots += done.last.snapshots;
        taken += done.last.snapshots_taken;
        died += done.last.snapshot_failures[NEVE_SNAPSHOT_DIED];
        killed += done.killed;
    }
    print_message("%llu programs: %llu collections, %llu compared exactly, %llu without memory; "
                  "%llu deaths, %llu by collection (%llu discarded, %llu of them closed), "
                  "%llu resurrections\n",
                  (unsigned long long)runs, (unsigned long long)all, (unsigned long long)exact,
                  (unsigned long long)failures, (unsigned long long)deaths,
                  (unsigned long long)collected, (unsigned long long)discarded,
                  (unsigned long long)closed, (unsigned long long)revived);
    print_message("%llu looks at possible roots, %llu dead objects there\n",
                  (unsigned long long)looks, (unsigned long long)looks_dead);
    /* Programs that do nothing of interest would prove nothing. */
    if (runs >= 20)
        assert_true(exact > 2 * runs && deaths > 50 * runs && revived > runs / 4 &&
                    discarded > runs / 2);
    if (!neve_mode_has_cycles(mode))
        return;
    print_message("%llu cycles, %llu checked for what they left; %llu batches; %llu objects that "
                  "were garbage when a cycle began\n",
                  (unsigned long long)cycles, (unsigned long long)exact_cycles,
                  (unsigned long long)batches, (unsigned long long)cycle_deaths);
    if (runs >= 20)
        assert_true(exact_cycles > 2 * runs && batches > runs && cycle_deaths > 10 * runs &&
                    looks_dead > runs);
    if (mode != NEVE_MODE_SNAPSHOT)
        return;
    print_message("%llu snapshots, %llu taken, %llu killed, %llu found dead\n",
                  (unsigned long long)snapshots, (unsigned long long)taken,
                  (unsigned long long)killed, (unsigned long long)died);
    assert_true(died <= killed); /* the others were given up before */
    if (runs >= 20)
        assert_true(taken > 2 * runs && died > runs / 4);
}

static uint64_t usual_runs(void)
{
    return is_slow() ? 60 : 150;
}

static void test_random_programs(void **unused)
{
    (void)unused;
    run_random_programs(NEVE_MODE_GENERATIONAL, usual_runs());
}

static void test_random_programs_in_slices(void **unused)
{
    (void)unused;
    run_random_programs(NEVE_MODE_INCREMENTAL, usual_runs());
}

static void test_random_programs_with_snapshots(void **unused)
{
    (void)unused;
    if (!has_children())
        skip();
    run_random_programs(NEVE_MODE_SNAPSHOT, is_slow() ? 20 : 30);
}

/* A ring whose finalizer revives all of it: nothing dies in that round, and all
 * of it in the next. (Found by the fuzzer.) */
static void test_a_round_that_only_revives(void **unused)
{
    (void)unused;
    const uint8_t program[] = {0x2a, 0xaa, 0x2a, 0x31};
    for (neve_mode mode = NEVE_MODE_GENERATIONAL; mode <= NEVE_MODE_INCREMENTAL; mode++) {
        oracle done = oracle_run("a ring that is revived once", mode, program, sizeof program);
        assert_true(done.resurrections > 0 && done.deaths > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_round_that_only_revives),
        cmocka_unit_test(test_random_programs),
        cmocka_unit_test(test_random_programs_in_slices),
        cmocka_unit_test(test_random_programs_with_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
