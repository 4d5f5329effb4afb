# SPDX-License-Identifier: MIT
"""What is installed: the wheel and the source archive by meson-python, and `make install`.

The tests build with the project's own tools, for the interpreter that runs them.  meson-python is
there for Debian's interpreter (`make deps`); for others only `make install` is tested.
"""

import email
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import zipfile

import harness
import pytest

pytestmark = pytest.mark.skipif(os.environ.get("NEVE_TEST_BUILD") == "debug",
                                reason="what is installed is a release build")

TOOLS_PYTHON = "/usr/bin/python3"
has_backend = pytest.mark.skipif(
    not os.path.samefile(harness.PYTHON, TOOLS_PYTHON)
    and subprocess.run([harness.PYTHON, "-c", "import mesonpy"], capture_output=True).returncode,
    reason="meson-python is not installed for this interpreter")
IS_ON = "import sys; n = sys.modules.get('neve'); print(bool(n) and n.is_installed())"
VERSION = re.search(r"version: '([^']+)'", (harness.ROOT / "meson.build").read_text()).group(1)


def tool(*words, **variables):
    """tools/build.py; returns the last line that it printed."""
    done = subprocess.run([TOOLS_PYTHON, "-B", str(harness.ROOT / "tools/build.py"), *words],
                          capture_output=True, text=True,
                          env={**harness.environment({"PYTHONPATH": None}), **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def run(words, env=None):
    """A program with nothing of Neve on its search path; its output, both streams."""
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, cwd="/",
                          stderr=subprocess.STDOUT, text=True,
                          env=harness.environment({"PYTHONPATH": None, **(env or {})}))
    assert done.returncode == 0, done.stdout
    return done.stdout


def works(python):
    """Neve works in that environment, in all ways to switch it on."""
    assert run([python, "-c", IS_ON]) == "False\n"
    assert run([python, "-c", IS_ON], env={"NEVE": "1"}) == "True\n"
    assert run([python, "-m", "neve", "-c", IS_ON]) == "True\n"
    assert run([python, "-c", f"import neve; neve.install(); print(neve.__version__)"]) == (
        VERSION + "\n")


@pytest.fixture(scope="module")
def wheel():
    return tool("wheel", "--python", harness.PYTHON)


@has_backend
def test_what_the_wheel_holds(wheel):
    tag = "cp%d%d" % tuple(harness.facts()["version"][:2])
    assert os.path.basename(wheel).startswith(f"neve-{VERSION}-{tag}-{tag}-linux_")
    archive = zipfile.ZipFile(wheel)
    names = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = harness.ROOT / "python/neve"
    package = {f"neve/{path.name}" for path in source.iterdir() if path.suffix != ".pyc"
               and path.is_file()}
    assert {"neve/__init__.py", "neve/__init__.pyi", "neve/py.typed"} <= package
    extension = names & {name for name in names if name.startswith("neve/_neve.")}
    assert len(extension) == 1
    assert names == package | extension | {"neve.pth", "_neve_startup.py",
                                           f"neve-{VERSION}.data/scripts/neve"}
    for name in package:
        assert archive.read(name) == (harness.ROOT / "python" / name).read_bytes()
    metadata = email.message_from_bytes(archive.read(f"neve-{VERSION}.dist-info/METADATA"))
    assert metadata["Name"] == "neve" and metadata["Version"] == VERSION
    assert metadata["Requires-Python"] and metadata["Summary"]
    assert not metadata.get_all("Requires-Dist")
    assert metadata.get_payload() == (harness.ROOT / "README.md").read_text()
    assert f"neve-{VERSION}.dist-info/LICENSE" in archive.namelist()


@has_backend
def test_the_extension_shows_one_symbol(wheel, tmp_path):
    archive = zipfile.ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.startswith("neve/_neve."))
    path = archive.extract(name, tmp_path)
    symbols = run(["nm", "-D", "--defined-only", path]).split()
    assert symbols[2::3] == ["PyInit__neve"], symbols
    assert "libpython" not in run(["ldd", path])


@has_backend
def test_installing_the_wheel(wheel, tmp_path):
    run([harness.PYTHON, "-m", "venv", tmp_path / "env"])
    bin = tmp_path / "env/bin"
    pip = [bin / "python", "-m", "pip", "-q", "--disable-pip-version-check"]
    run([*pip, "install", "--no-index", "--no-deps", wheel])
    works(bin / "python")
    # The program is bound to the environment that it lies in.
    assert run([bin / "neve", "--version"]) == f"neve {VERSION}\n"
    assert run([bin / "neve", "run", "-c", IS_ON + "; print(sys.prefix)"]) == (
        f"True\n{tmp_path}/env\n")
    # pip is a program in PATH.
    out = run([bin / "neve", "run", "pip", "list", "--disable-pip-version-check"],
              env={"PATH": f"{bin}:{os.environ['PATH']}"})
    assert re.search(rf"^neve +{re.escape(VERSION)}$", out, re.MULTILINE), out
    run([*pip, "uninstall", "-y", "neve"])
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    assert not [path for path in [*site.iterdir(), *bin.iterdir()] if "neve" in path.name]
    assert run([bin / "python", "-c", IS_ON], env={"NEVE": "1"}) == "False\n"


@has_backend
def test_installing_from_the_sources(tmp_path):
    """What `pip install .` does; the build's tools come from outside the environment."""
    source = tmp_path / "source"
    if not (harness.ROOT / ".git").exists():
        pytest.skip("the source archive is made of a git checkout")
    with tarfile.open(tool("sdist", "--python", harness.PYTHON)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        assert {"pyproject.toml", "meson.build", "LICENSE", "python/startup/neve.pth",
                "cli/main.c", "src/heap/heap.c"} <= names
        assert not [name for name in names if name.startswith("build/")]
        archive.extractall(source)
    run([harness.PYTHON, "-m", "venv", "--system-site-packages", tmp_path / "env"])
    run([tmp_path / "env/bin/python", "-m", "pip", "-q", "--disable-pip-version-check", "install",
         "--no-index", "--no-deps", "--no-build-isolation", source / f"neve-{VERSION}"])
    works(tmp_path / "env/bin/python")
    assert run([tmp_path / "env/bin/neve", "run", "-c", IS_ON]) == "True\n"


def test_make_install_into_an_environment(tmp_path):
    run([harness.PYTHON, "-m", "venv", "--without-pip", tmp_path / "env"])
    python = tmp_path / "env/bin/python"
    said = tool("install", "--python-only", "--python", str(python))
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    assert said.endswith(f" to {site}"), said
    works(python)
    # Nothing of an older one stays.
    (site / "neve/_gone.py").write_text("")
    assert list((site / "neve/__pycache__").glob("__init__.*.pyc"))
    tool("install", "--python-only", "--python", str(python), "--prefix", str(tmp_path / "env"))
    assert not (site / "neve/_gone.py").exists()
    works(python)


def test_make_install_below_a_prefix(tmp_path):
    """With DESTDIR; then the tree lies where it was meant to be."""
    prefix, stage = tmp_path / "opt/neve", tmp_path / "stage"
    said = tool("install", "--python", harness.PYTHON, "--prefix", str(prefix), DESTDIR=str(stage))
    assert f" to {stage}{prefix}" in said and not prefix.exists()
    staged = pathlib.Path(f"{stage}{prefix}")
    for name in ("lib/libneve.a", "lib/libneve.so", "lib/pkgconfig/neve.pc", "include/neve.h",
                 "include/neve/heap.h", "bin/neve"):
        assert (staged / name).exists(), name
    site = next(staged.glob("lib/python*/site-packages"))
    assert {path.name for path in site.iterdir()} == {"neve", "neve.pth", "_neve_startup.py",
                                                      "__pycache__"}
    # The names in tracebacks are those of the place where it will lie.
    compiled = next((site / "neve/__pycache__").glob("_run.*.pyc")).read_bytes()
    assert str(stage).encode() not in compiled and str(prefix).encode() in compiled
    prefix.parent.mkdir(parents=True)
    shutil.move(staged, prefix)
    assert run([prefix / "bin/neve", "run", "--python", harness.PYTHON, "-c", IS_ON]) == "True\n"


def test_make_install_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = subprocess.run([TOOLS_PYTHON, "-B", str(harness.ROOT / "tools/build.py"), "install",
                           "--python-only", "--python", harness.PYTHON, "--prefix",
                           str(tmp_path / "file/x")], capture_output=True, text=True,
                          env=harness.environment({"PYTHONPATH": None}))
    assert done.returncode == 1 and done.stdout == "", done
    assert len(done.stderr.splitlines()) == 1 and "PREFIX=" in done.stderr, done
