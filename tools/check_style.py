#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check what can be checked of the style by machine.

C files are formatted as .clang-format says; C, header, Promela and Python files open with an SPDX line and a
head comment and stay under 1200 lines; no text file holds tabs (but Makefiles), trailing space or a
path of somebody's machine; src/meson.build lists exactly the sources there are.  Exit status 1 when
anything is found.  --fix formats the C files in place first.
"""

import argparse
import ast
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 1200
SPDX = "SPDX-License-Identifier: MIT"
TEXT = {".c", ".h", ".py", ".md", ".build", ".txt", ".sh", ".toml", ".in", ".supp", ".yml", ".pml", ""}
# Not preceded by a letter or a dot: a folder home in src is ours, a home folder at the root is somebody's.
MACHINE_PATH = re.compile(r"(?<![\w.~$})*-])/(?:root|work|home|Users)/")


def text_files():
    """Every text file of the tree, as git sees it: tracked, or new and not ignored."""
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
                          capture_output=True, text=True)
    if done.returncode == 0:
        paths = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*")
                 if p.relative_to(ROOT).parts[0] not in ("build", ".git")
                 and "__pycache__" not in p.parts]
    # Inputs of the fuzz targets are data, whatever their names.
    return sorted(p for p in paths if p.is_file() and not p.is_symlink() and p.suffix in TEXT
                  and "corpus" not in p.relative_to(ROOT).parts)


def head_comment_problem(path, text):
    """Why the head of a C, Promela or Python file is not as it should be, or None."""
    lines = text.split("\n")
    if not any(SPDX in line for line in lines[:3]):
        return f"has no line '{SPDX}' in its first three"
    if path.suffix == ".py":
        try:
            doc = ast.get_docstring(ast.parse(text))
        except SyntaxError as error:
            return f"does not parse: {error.msg}"
        comments = [line for line in lines[:8] if line.startswith("#")
                    and not line.startswith("#!") and SPDX not in line and line.strip("# ")]
        return None if doc or comments else "has no head comment"
    opening = re.match(r"\s*((?:/\*.*?\*/|//[^\n]*)\s*)+", text, re.S)
    words = re.sub(r"[\s/*]+", " ", opening.group(0)).replace(SPDX, "").strip() if opening else ""
    return None if len(words.split()) >= 4 else "has no head comment that says what it owns"


def check_text(path, relative):
    """Yield (line, sentence) for one file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        if path.suffix:
            yield 1, "is not UTF-8"
        return
    is_source = path.suffix in (".c", ".h", ".pml", ".py")
    lines = text.split("\n")
    if is_source:
        problem = head_comment_problem(path, text)
        if problem:
            yield 1, problem
        if len(lines) > MAX_LINES:
            yield len(lines), f"has over {MAX_LINES} lines: split it"
    if text and not text.endswith("\n"):
        yield len(lines), "does not end with a newline"
    for number, line in enumerate(lines, 1):
        if "\t" in line and path.name not in ("Makefile", ".gitmodules"):
            yield number, "holds a tab"
        if line != line.rstrip():
            yield number, "ends with space"
        if MACHINE_PATH.search(line):
            yield number, "holds a path of somebody's machine"


def check_source_list():
    """Yield what src/meson.build and the tree do not agree on."""
    build_file = ROOT / "src/meson.build"
    listed = set(re.findall(r"'([\w/]+\.c)'", build_file.read_text(encoding="utf-8")))
    present = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").glob("*/*.c")}
    for name in sorted(listed - present):
        yield "src/meson.build", 1, f"lists src/{name}, which does not exist"
    for name in sorted(present - listed):
        yield f"src/{name}", 1, "is not listed in src/meson.build"


def clang_format(files, fix):
    """Format, or yield what clang-format would change."""
    tool = shutil.which("clang-format")
    if tool is None:
        yield ".clang-format", 1, "cannot be applied: clang-format is not installed (make deps)"
        return
    if not files:
        return
    mode = ["-i"] if fix else ["--dry-run", "-Werror"]
    done = subprocess.run([tool, "--style=file", *mode, *map(str, files)], capture_output=True,
                          text=True, cwd=ROOT)
    bad = {}
    for match in re.finditer(r"^(\S+?):(\d+):\d+: (?:error|warning): code should be",
                             done.stderr, re.M):
        bad.setdefault(match.group(1), int(match.group(2)))
    for name, line in sorted(bad.items()):
        yield pathlib.Path(name).relative_to(ROOT).as_posix(), line, "is not formatted: make format"
    if done.returncode != 0 and not bad:
        yield ".clang-format", 1, "does not work: " + (done.stderr.strip().split("\n")[0] or "?")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fix", action="store_true", help="format the C files in place")
    args = parser.parse_args()
    files = text_files()
    problems = list(clang_format([p for p in files if p.suffix in (".c", ".h")], args.fix))
    for path in files:
        relative = path.relative_to(ROOT).as_posix()
        problems += [(relative, line, sentence) for line, sentence in check_text(path, relative)]
    problems += check_source_list()
    for name, line, sentence in problems:
        print(f"{name}:{line}: {sentence}.")
    if problems:
        return 1
    print(f"style: {len(files)} files in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
