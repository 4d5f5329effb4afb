# SPDX-License-Identifier: MIT
"""A Sphinx build of a large tree of documents, by one process and by several forked ones."""

import re
import sys

import harness
import pytest

TREE = harness.HERE / "sphinx_tree"
sys.path.insert(0, str(TREE))

import generate  # noqa: E402


@pytest.mark.parametrize("jobs, how", [(1, "environment"), (2, "runner")])
def test_sphinx(tmp_path, jobs, how):
    source = tmp_path / "source"
    # Fewer pages for the build that forks, which is about the processes.
    pages = generate.generate(source, *([15, 12] if jobs == 1 else [6, 5]))
    assert pages > (150 if jobs == 1 else 60)

    def run(side):
        out, err = side.run("-m", "sphinx", "-b", "html", "-j", jobs, "-q", source, "html",
                            timeout=600)
        texts = {"out": out, "errors": harness.sorted_lines(err)}
        for path in (side.folder / "html").rglob("*"):
            name = str(path.relative_to(side.folder))
            # Doctrees are pickles, and name the folder.
            if path.is_file() and ".doctrees" not in name:
                texts[name] = path.read_bytes()
            if jobs > 1 and path.name == "searchindex.js":
                # In the order in which the processes came to an end, on any interpreter.
                texts[name] = sorted(re.split(rb"[][{},:\s]+", path.read_bytes()))
        assert len(texts) > pages
        return texts

    sides = harness.compare(tmp_path, run, how)
    for side in sides.values():
        [main] = side.pids("finished")
        assert side.full_collections(main) > 0
        forked = side.pids("fork")
        assert (len(forked) > 2) == (jobs > 1)
        if jobs > 1:
            assert any(side.full_collections(pid) > 0 for pid in forked)
