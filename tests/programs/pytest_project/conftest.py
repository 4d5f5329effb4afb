# SPDX-License-Identifier: MIT
"""Fixtures of the suite that is itself a program: pytest distributes and forks it."""

import gc

import pytest

import witness


def pytest_sessionstart(session):
    # The controller and each worker of xdist has a session.
    witness.note("worker" if hasattr(session.config, "workerinput") else "controller")


def pytest_sessionfinish(session):
    gc.collect()
    witness.note("worker" if hasattr(session.config, "workerinput") else "controller")


@pytest.fixture(scope="session")
def table():
    """Built once for a session, shared by what is forked from it."""
    return {number: [number, {"text": str(number)}] for number in range(10_000)}


@pytest.fixture
def ring():
    """Members that refer to one another; garbage after the test."""
    members = [{"number": number} for number in range(100)]
    for left, right in zip(members, members[1:] + members[:1]):
        left["next"], right["previous"] = right, left
    yield members
    members.clear()


@pytest.fixture(autouse=True)
def collected(request):
    yield
    if "collects" in request.keywords:
        gc.collect()
        witness.note("test")
