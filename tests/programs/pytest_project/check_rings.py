# SPDX-License-Identifier: MIT
"""A suite with fixtures, parameters, failures and garbage."""

import gc
import warnings
import weakref

import pytest

pytestmark = pytest.mark.filterwarnings("default")


class Node:
    def __init__(self):
        self.self = self


@pytest.mark.parametrize("number", range(60))
def test_table(table, number):
    assert table[number * 7][1]["text"] == str(number * 7)


@pytest.mark.parametrize("number", range(40))
def test_ring(ring, number):
    member = ring[number]
    for _ in range(len(ring)):
        member = member["next"]
    assert member is ring[number]


@pytest.mark.parametrize("number", range(12))
def test_collected(collected, request, number):
    request.applymarker(pytest.mark.collects)
    watched = [weakref.ref(Node()) for _ in range(number)]
    gc.collect()
    assert [reference() for reference in watched] == [None] * number


@pytest.mark.parametrize("number", range(4))
def test_that_fails(ring, number):
    found = {"ring": len(ring), "number": number}
    assert found == {"ring": 100, "number": 2}


@pytest.mark.xfail(strict=True)
def test_that_is_expected_to_fail():
    raise RuntimeError("as expected")


def test_that_is_skipped():
    pytest.skip("no reason")


def test_that_warns():
    warnings.warn("a warning", UserWarning)


def test_that_prints(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    print("hello")
    assert capsys.readouterr().out == "hello\n"
