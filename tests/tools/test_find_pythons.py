# SPDX-License-Identifier: MIT
"""tools/find_pythons.py and tools/fetch_pythons.py, on interpreters made of shell scripts."""

import json
import pathlib
import subprocess
import sys

import pytest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import fetch_pythons  # noqa: E402
import find_pythons  # noqa: E402


def fake(path, version, why=None, lacks=()):
    """An interpreter that answers any question with this."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps([version, why, list(lacks)])
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def places(tmp_path):
    for name in ("system", "pythons", "pyenv"):
        (tmp_path / name).mkdir()
    return tmp_path


def find(places):
    found, passed_over = find_pythons.find(places / "pythons", places / "system",
                                           places / "pyenv")
    return {one["minor"]: one["path"] for one in found}, passed_over


def test_one_for_each_version_in_the_order_of_places(places):
    system = fake(places / "system/python3", "3.11.2")
    fetched = fake(places / "pythons/3.13/usr/bin/python3.13", "3.13.18")
    fake(places / "pyenv/versions/3.11.7/bin/python3", "3.11.7")
    fake(places / "pyenv/versions/3.12.1/bin/python3", "3.12.1")
    newer = fake(places / "pyenv/versions/3.12.10/bin/python3", "3.12.10")
    fake(places / "pyenv/versions/3.13.0/bin/python3", "3.13.0")
    fake(places / "pyenv/versions/3.10.13/bin/python3", "3.10.13")
    found, passed_over = find(places)
    assert found == {"3.11": system, "3.12": newer, "3.13": fetched}
    assert list(found) == ["3.11", "3.12", "3.13"] and not passed_over
    assert find_pythons.missing([{"minor": minor} for minor in found]) == ["3.14", "3.15"]


def test_unusable_ones_are_passed_over_and_named(places):
    fake(places / "system/python3", "3.14.2", "is a free-threaded build")
    fetched = fake(places / "pythons/3.14/usr/bin/python3.14", "3.14.8")
    broken = places / "pythons/3.15/usr/bin/python3.15"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    found, passed_over = find(places)
    assert found == {"3.14": fetched}
    assert len(passed_over) == 2 and "free-threaded" in passed_over[0]
    assert passed_over[1] == f"{broken} does not run"


def test_this_interpreter_is_usable():
    version, why, _ = find_pythons.probe(sys.executable)
    assert why is None and version == "%d.%d.%d" % sys.version_info[:3]


def test_command(tmp_path):
    done = subprocess.run([sys.executable, "-B", str(TOOLS / "find_pythons.py"), "--pythons",
                           str(tmp_path)], capture_output=True, text=True,
                          env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[0].startswith("3.")
    assert "no CPython 3.12: put one under" in done.stderr
    assert "no CPython 3.15: make pythons fetches it" in done.stderr


def test_an_unfinished_tree_is_not_complete(tmp_path):
    tree = tmp_path / "3.14"
    python = tree / "usr/bin/python3.14"
    python.parent.mkdir(parents=True)
    python.write_text("")
    stamp = {"recipe": fetch_pythons.RECIPE, "path": str(tree)}
    assert not fetch_pythons.is_complete(tmp_path, "3.14")
    (tree / "stamp.json").write_text(json.dumps(stamp))
    assert fetch_pythons.is_complete(tmp_path, "3.14")
    # Moved trees look for their libraries at the old place.
    for wrong in (dict(stamp, path="/elsewhere/3.14"), dict(stamp, recipe=0), "cut"):
        (tree / "stamp.json").write_text(json.dumps(wrong) if wrong != "cut" else '{"rec')
        assert not fetch_pythons.is_complete(tmp_path, "3.14")
    (tree / "stamp.json").write_text(json.dumps(stamp))
    python.unlink()
    assert not fetch_pythons.is_complete(tmp_path, "3.14")


def test_packages_that_apt_did_not_leave_are_an_error(tmp_path):
    packages = [("zlib1g", "1:1.3-4", "amd64"), ("python3.14", "3.14.8-1", "amd64")]
    (tmp_path / "zlib1g_1%3a1.3-4_amd64.deb").write_text("")
    with pytest.raises(fetch_pythons.FetchError, match="could not be downloaded"):
        fetch_pythons.Apt.files("python3.14", tmp_path, packages, 0, "")
    (tmp_path / "python3.14_3.14.8-1_amd64.deb").write_text("")
    assert len(fetch_pythons.Apt.files("python3.14", tmp_path, packages, 0, "")) == 2
    with pytest.raises(fetch_pythons.FetchError):
        fetch_pythons.Apt.files("python3.14", tmp_path, packages, 100, "")


@pytest.mark.parametrize("word", ["nonsense", "4.0", "3.14.1"])
def test_wrong_versions(word, tmp_path):
    done = subprocess.run([sys.executable, "-B", str(TOOLS / "fetch_pythons.py"), "--into",
                           str(tmp_path), word], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_complete_tree_asks_nothing_of_the_network(tmp_path):
    # No tool on the path: anything but looking at the stamp would fail.
    tree = tmp_path / "3.14"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/python3.14").write_text("")
    (tree / "stamp.json").write_text(json.dumps({"recipe": fetch_pythons.RECIPE,
                                                 "path": str(tree)}))
    command = [sys.executable, "-B", str(TOOLS / "fetch_pythons.py"), "--into", str(tmp_path)]
    done = subprocess.run([*command, "3.14"], capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 0 and done.stdout.strip() == str(tree / "usr/bin/python3.14")
    done = subprocess.run([*command, "3.15"], capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 1
    assert done.stderr == "neve: patchelf is not installed: run make deps\n"
