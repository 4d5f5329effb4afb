# SPDX-License-Identifier: MIT
"""Copies a part of the standard library into a package of another name, so that mypy checks the
sources against its stubs instead of taking them for the modules themselves."""

import os
import pathlib
import shutil

PACKAGES = ["asyncio", "concurrent", "email", "html", "http", "importlib", "json", "logging",
            "multiprocessing", "unittest", "urllib", "wsgiref", "xml"]
MODULES = ["argparse", "ast", "configparser", "dataclasses", "datetime", "difflib", "dis", "enum",
           "fractions", "functools", "inspect", "ipaddress", "pathlib", "pickle", "pickletools",
           "shutil", "socket", "statistics", "subprocess", "tarfile", "tempfile", "textwrap",
           "threading", "tokenize", "traceback", "typing", "weakref", "zipfile"]


def copy(folder, packages=tuple(PACKAGES), modules=tuple(MODULES)):
    """Fill folder/library; returns how many files there are."""
    source = pathlib.Path(os.__file__).parent
    target = pathlib.Path(folder) / "library"
    target.mkdir(parents=True)
    (target / "__init__.py").write_text("")
    for name in modules:
        shutil.copyfile(source / f"{name}.py", target / f"{name}.py")
    for name in packages:
        shutil.copytree(source / name, target / name,
                        ignore=shutil.ignore_patterns("__pycache__", "test", "tests"))
    return len(list(target.rglob("*.py")))
