# SPDX-License-Identifier: MIT
"""A dump of a runtime's objects, as a reader in another language finds it: every line is JSON of the kind
that docs/objects.md describes, and what the lines say of one another agrees."""

import collections
import json
import re

import pytest
from conftest import FLAGS, HERE, ROOT, pkg_config, run


@pytest.fixture(scope="module")
def lines(prefix, tmp_path_factory):
    program = tmp_path_factory.mktemp("dump") / "dump"
    run("cc", "-std=c11", *FLAGS, HERE / "dump.c", "-o", program,
        *pkg_config(prefix, "--cflags", "--libs"))
    text = run(program, LD_LIBRARY_PATH=str(prefix / "lib"))
    assert text.isascii() and text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def of_kind(lines, kind):
    return [line for line in lines if line["kind"] == kind]


def test_order_and_totals(lines):
    order = [line["kind"] for line in lines]
    assert order[0] == "heap" and order[-1] == "end"
    assert sorted(order[1:-1], key=["type", "root", "object"].index) == order[1:-1]
    head, objects = lines[0], of_kind(lines, "object")
    assert head["format"] == 1 and head["mode"] == "generational"
    assert head["objects"] == len(objects) == 1001 + 999 + 2    # rows, texts, weak references
    assert head["bytes"] == sum(one["bytes"] for one in objects)
    assert len({one["id"] for one in objects}) == len(objects)


def test_census_agrees_with_the_objects(lines):
    counted, summed = collections.Counter(), collections.Counter()
    for one in of_kind(lines, "object"):
        counted[one["type"]] += 1
        summed[one["type"]] += one["bytes"]
    census = of_kind(lines, "type")
    assert {row["name"]: (row["objects"], row["bytes"]) for row in census} == \
        {name: (counted[name], summed[name]) for name in counted}
    assert counted == {"row": 1001, 'te"xt\xe9': 999, "weakref": 2}
    assert [row["bytes"] for row in census] == sorted(summed.values(), reverse=True)


def test_counts_are_the_references(lines):
    """Each count is what objects and roots hold, and nothing else refers to these objects."""
    objects = {one["id"]: one for one in of_kind(lines, "object")}
    held = collections.Counter()
    for one in objects.values():
        held.update(one.get("references", ()))
    for root in of_kind(lines, "root"):
        if root["by"] != "weak handle":     # which holds a weak reference
            held[root["object"]] += 1
    assert set(held) <= set(objects)
    immortal = [one for one in objects.values() if one["count"] is None]
    assert len(immortal) == 1 and immortal[0]["length"] == 0
    for key, one in objects.items():
        if one["type"] != "weakref" and one["count"] is not None:
            assert one["count"] == held[key], one


def test_fields(lines):
    table = next(one for one in of_kind(lines, "object") if one.get("length") == 1000)
    assert table["type"] == "row" and table["generation"] == 2 and len(table["references"]) == 1000
    leaves = [one for one in of_kind(lines, "object") if one["type"].startswith("te")]
    assert sorted(one["length"] for one in leaves) == list(range(999))
    assert all("generation" not in one and "references" not in one for one in leaves)
    assert all(one["bytes"] >= 16 + one["length"] for one in leaves)
    weak = [one for one in of_kind(lines, "object") if one["type"] == "weakref"]
    assert table["id"] in {one["weakly"] for one in weak}
    roots = {root["by"]: root for root in of_kind(lines, "root")}
    assert set(roots) == {"scope", "handle", "weak handle"}
    assert re.search(r"dump\.c:\d+$", roots["handle"]["where"])
    assert roots["handle"]["object"] == roots["weak handle"]["object"]


def test_the_page_describes_every_field(lines):
    text = (ROOT / "docs/objects.md").read_text()
    section = text[text.index("## Looking at all objects"):]
    section = section[:section.index("\n## ")]
    for line in lines:
        assert f"`{line['kind']}`" in section
        for field in line:
            assert f"`{field}`" in section, field
