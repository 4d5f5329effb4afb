# SPDX-License-Identifier: MIT
"""mypy, which Debian compiles to an extension, over a part of the standard library."""

import sys

import harness

LIBRARY = harness.HERE / "mypy_library"
sys.path.insert(0, str(LIBRARY))

import copies  # noqa: E402


def test_mypy(tmp_path):
    source = tmp_path / "source"
    assert copies.copy(source) > 150

    def run(side):
        (side.folder / "library").symlink_to(source / "library")
        out, err = side.run("-m", "mypy", "--config-file", LIBRARY / "mypy.ini", "library",
                            timeout=600, status=1)
        return {"out": out, "err": err}

    sides = harness.compare(tmp_path, run, "environment", application=[LIBRARY])
    assert len((tmp_path / "neve.program.out").read_text().splitlines()) > 5000
    for side in sides.values():
        [pid] = side.pids("mypy")
        assert side.full_collections(pid) > 2
