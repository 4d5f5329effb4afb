# SPDX-License-Identifier: MIT
"""tools/check_layers.py accepts a sound tree and names each kind of violation in a broken one."""

import pathlib
import subprocess
import sys

import pytest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_layers.py"

SOUND = {
    "include/neve.h": "#include <neve/heap.h>\n#include <neve/object.h>\n",
    "include/neve/base.h": "#include <stddef.h>\n",
    "include/neve/heap.h": "#include <neve/base.h>\n",
    "include/neve/collect.h": "#include <neve/heap.h>\n",
    "include/neve/host.h": "#include <neve/collect.h>\n",
    "include/neve/observe.h": "#include <neve/collect.h>\n",
    "include/neve/object.h": "#include <neve/collect.h>\n",
    "src/platform/os.h": "#include <neve/base.h>\n",
    "src/heap/pool.h": '#include "platform/os.h"\n',
    "src/heap/pool.c": '#include "pool.h"\n/* #include "collect/mark.h" */\n',
    "src/collect/mark.h": '#include "heap/pool.h"\n',
    "src/object/object.c": '#include <neve.h>\n#include "collect/mark.h"\n',
    "python/src/module.c": '#include <Python.h>\n#include <neve.h>\n#include "compat/compat.h"\n',
    "python/src/compat/compat.h": "#if PY_VERSION_HEX >= 0x030C0000\n#endif\n",
    "tests/heap/test_pool.c": '#include "heap/pool.h"\n',
    "examples/vm/vm.h": "#include <neve.h>\n",
    "examples/vm/main.c": '#include "vm.h"\n',
    "bench/models/model.h": "#include <neve.h>\n",
    "cli/bench.c": '#include "bench/models/model.h"\n',
}

BROKEN = [
    ("src/heap/pool.c", '\n#include "collect/mark.h"\n', ":2:", "heap lies below collect"),
    ("src/heap/pool.c", '#include "../collect/mark.h"\n', ":1:", "heap lies below collect"),
    ("src/platform/os.h", "#include <neve/heap.h>\n", ":1:", "platform lies below heap"),
    ("src/collect/mark.h", "#include <neve.h>\n", ":1:", "collect lies below object"),
    ("src/collect/mark.h", "#include <neve/gone.h>\n", ":1:", "not in include/"),
    ("src/collect/mark.h", "#include <Python.h>\n", ":1:", "only python/ knows CPython"),
    ("src/collect/mark.h", '#include "internal/pycore_gc.h"\n', ":1:", "only python/ knows"),
    ("src/collect/mark.h", "int x = PY_VERSION_HEX;\n", ":1:", "uses PY_VERSION_HEX"),
    ("include/neve/base.h", "#include <neve/heap.h>\n", ":1:", "base lies below heap"),
    ("include/neve/heap.h", '#include "../../src/heap/pool.h"\n', ":1:", "public headers only"),
    ("include/neve/other.h", "\n", ":1:", "belongs to no layer"),
    ("src/extra/extra.c", "\n", ":1:", "belongs to no layer"),
    ("python/src/module.c", '#include "heap/pool.h"\n', ":1:", "python/ sees include/ only"),
    ("python/src/module.c", '#include "../../src/heap/pool.h"\n', ":1:", "sees include/ only"),
    ("python/src/module.c", "#if PY_VERSION_HEX\n#endif\n", ":1:", "uses PY_VERSION_HEX"),
    ("examples/vm/main.c", '#include "heap/pool.h"\n', ":1:", "examples/ sees include/ only"),
    ("examples/vm/main.c", "#include <Python.h>\n", ":1:", "only python/ knows CPython"),
    ("cli/bench.c", '#include "src/heap/pool.h"\n', ":1:", "cli/ sees include/ only"),
    ("bench/models/model.h", '#include "cli/bench.c"\n', ":1:", "bench/models/ sees include/"),
    ("examples/vm/main.c", '#include "bench/models/model.h"\n', ":1:", "examples/ sees include/"),
    ("tests/python/helper.c", '#include "heap/pool.h"\n', ":1:", "tests/python/ sees include/"),
]


def run(root):
    return subprocess.run([sys.executable, str(TOOL), str(root)], capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path):
    for name, text in SOUND.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_sound_tree_passes(tree):
    done = run(tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name,text,line,sentence", BROKEN)
def test_violation_is_named(tree, name, text, line, sentence):
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    done = run(tree)
    assert done.returncode == 1
    assert done.stdout.startswith(name + line), done.stdout
    assert sentence in done.stdout


def test_empty_tree_is_not_a_success(tmp_path):
    assert run(tmp_path).returncode == 1
