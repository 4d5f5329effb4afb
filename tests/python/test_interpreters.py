# SPDX-License-Identifier: MIT
"""Interpreters beside the main one: those that share its GIL are served by Neve's heap, those with
a GIL of their own stay on the interpreter's own allocator; all keep CPython's collector."""

import harness
import pytest

COMMON = """
    import gc, sys, threading
    try:
        import _interpreters as api
        run = api.run_string if hasattr(api, "run_string") else api.exec
        create = lambda how: api.create(how)
    except ImportError:
        import _xxsubinterpreters as api
        run = api.run_string
        create = lambda how: api.create(isolated=how == "isolated")
    SOURCE = """ + '"""' + """if True:
        import gc, sys
        kept = []
        for i in range(30000):
            a = [i]; a.append(a); kept.append((a, {"x": str(i)}, "y" * (i % 700)))
            if i % 7000 == 0:
                gc.collect()
        for i, (a, d, s) in enumerate(kept):
            assert a[0] == i and a[1] is a and d["x"] == str(i) and len(s) == i % 700
        del kept
        assert gc.collect() >= 0
    """ + '"""' + """
    def work():
        kept = []
        for i in range(20000):
            a = [i]; a.append(a); kept.append((a, {"x": str(i)}))
        return kept
"""


def program(text):
    return harness.dedented(COMMON) + harness.dedented(text)


def test_with_gils_of_their_own(runner):
    if harness.VERSION < (3, 12):
        pytest.skip("interpreters share one GIL up to CPython 3.11")
    runner.neve_code(program("""
        import neve
        kept = work()
        before = neve.stats()["heap"]["small_blocks"]
        errors = []
        def body(number):
            try:
                run(number, SOURCE)
            except BaseException as error:
                errors.append(error)
        for turn in range(2):
            numbers = [create("isolated") for _ in range(3)]
            threads = [threading.Thread(target=body, args=(n,)) for n in numbers]
            for thread in threads: thread.start()
            for _ in range(5):
                work()
                gc.collect()
            for thread in threads: thread.join()
            for number in numbers: api.destroy(number)
        assert not errors, errors
        # Ours still come from the heap.
        more = work()
        assert neve.stats()["heap"]["small_blocks"] > before + 30000
        assert all(a[1] is a for a, d in kept)
        del kept, more
        assert gc.collect() >= 40000
    """))


def test_that_share_the_gil(runner):
    runner.neve_code(program("""
        import neve
        kept = work()
        numbers = [create("legacy") for _ in range(2)]
        for number in numbers:
            run(number, SOURCE)
        work()
        gc.collect()
        for number in numbers:
            run(number, SOURCE)
            api.destroy(number)
        assert all(a[1] is a for a, d in kept)
        del kept
        assert gc.collect() >= 20000
    """))


def test_made_before_neve_is_installed(runner):
    if harness.VERSION < (3, 12):
        pytest.skip("interpreters share one GIL up to CPython 3.11")
    runner.plain_code(program("""
        numbers = [create("isolated") for _ in range(2)]
        for number in numbers: run(number, SOURCE)
        import neve
        neve.install()
        threads = [threading.Thread(target=run, args=(n, SOURCE)) for n in numbers]
        for thread in threads: thread.start()
        for _ in range(5): work(); gc.collect()
        for thread in threads: thread.join()
        for number in numbers: api.destroy(number)
        neve.uninstall()
        work()
    """))
