# SPDX-License-Identifier: MIT
"""References that frames hold without counting them, on CPython 3.14 and later: what a suspended
frame has borrowed must not be taken for garbage because it is reported once too often.

In each program a frame that is garbage, young, has on its stack a borrowed reference to an object
which an old object keeps alive.  Counted as a reference it would hide the old object's.
"""

import harness
import pytest

PROGRAM = """
    import gc, sys, types, weakref
    gc.disable()
    class Node: pass
    class Future:
        def __await__(self): yield self
    def use(*arguments): pass
    kept = []
    gc.collect()                # `kept` is old from here on

    def generator(node, me):
        use(node, (yield))
    async def coroutine(node, me):
        use(node, await Future())
    async def async_generator(node, me):
        use(node, (yield))
    async def agen_in_await(node, me):
        use(node, await Future())
        yield

    def start(owner):
        if hasattr(owner, "asend"):
            step = owner.asend(None)
            try: step.send(None)
            except StopIteration: pass
            return step
        owner.send(None)

    def make(function):
        node = Node()
        node.name = function.__name__
        kept.append(node)
        cycle = []
        owner = function(node, cycle)
        cycle.append(owner)
        cycle.append(start(owner))
        return weakref.ref(node), weakref.ref(owner)

    for function in generator, coroutine, async_generator, agen_in_await:
        node, owner = make(function)
        assert owner() is not None
        COLLECT
        assert node() is kept[-1], (function, "its weak reference was cleared")
        assert vars(kept[-1]) == {"name": function.__name__}, (function, "it was cleared")
        assert owner() is None, (function, "the garbage itself must go")
    print("done")
"""


@pytest.mark.parametrize("collect", ["gc.collect(0)", "gc.collect(1)", "gc.collect()"])
def test_what_a_suspended_frame_borrows_stays_alive(runner, collect):
    result = runner.both_code(PROGRAM.replace("COLLECT", collect))
    assert result.out == "done\n" and result.err == ""


@pytest.mark.skipif(harness.VERSION < (3, 14), reason="nothing is borrowed before 3.14")
def test_the_programs_borrow(runner):
    # Or else the test above tests nothing.
    result = runner.stock("-c", """if True:
        import dis
        def generator(node, me):
            use(node, (yield))
        print([i.opname for i in dis.get_instructions(generator)])
    """)
    assert "BORROW" in result.out, result


def test_more_than_the_host_notes(runner):
    # A frame may borrow more references than are taken out one by one: 10 for each of 20 nodes.
    # With four of the ten left in, the nodes, which have four other references, would be lost.
    runner.both_code("""
        import gc, weakref
        gc.disable()
        class Node: pass
        kept = []
        gc.collect()
        names = [f"v{i}" for i in range(20)]
        namespace = {"use": lambda *a: None}
        call = "(yield)"        # a call with many arguments would put them into a list
        for i in range(10):
            call = f"use({', '.join(names)}, {call})"
        exec(f"def generator({', '.join(names)}, me):\\n    {call}\\n", namespace)
        def make():
            nodes = [Node() for _ in names]
            kept.extend(nodes * 4)
            cycle = []
            generator = namespace["generator"](*nodes, cycle)
            generator.send(None)
            cycle.append(generator)
            return [weakref.ref(node) for node in nodes]
        refs = make()
        gc.collect(0)
        print(all(ref() is node for ref, node in zip(refs, kept)))
    """)
