# SPDX-License-Identifier: MIT
"""Writes a large tree of documents for Sphinx, the same each time.

    generate.py FOLDER [CHAPTERS]

Each chapter is an index and nine pages of text with references to other chapters, code, tables,
footnotes, glossary terms and index entries; besides there is a page of automatic documentation for
each of many modules of the standard library.
"""

import pathlib
import random
import sys

WORDS = ("the snow falls on high ground and stays where the sun is weak so layer upon layer is "
         "pressed until air is gone what remains is ice that flows down its valley and melts").split()

MODULES = """abc bisect cmd code contextlib csv fnmatch functools getopt heapq html.parser
http.cookies json mimetypes pprint queue reprlib sched shlex textwrap timeit weakref
xml.etree.ElementTree""".split()

SECTIONS = 2

CODE = '''
def melt_{number}(layers, *, heat={heat}):
    """Take what the sun takes."""
    gone = [layer for layer in layers if layer.depth < heat * {number}]
    for layer in gone:
        layers.remove(layer)  # comments are highlighted, too
    return {{"gone": len(gone), "left": [repr(layer) for layer in layers]}}
'''


def sentence(rng):
    words = rng.choices(WORDS, k=rng.randrange(8, 16))
    decorated = rng.randrange(len(words))
    words[decorated] = rng.choice(["*{}*", "**{}**", "``{}``"]).format(words[decorated])
    return " ".join(words).capitalize() + "."


def paragraph(rng):
    return " ".join(sentence(rng) for _ in range(rng.randrange(3, 7)))


def indented(text, depth=3):
    return "\n".join(" " * depth + line if line else "" for line in text.splitlines())


def page(rng, name, pages):
    """The text of one page."""
    parts = [f".. _{name}:", "", f"Page {name}", "=" * (5 + len(name)), ""]
    for section in range(SECTIONS):
        label = f"{name}-section-{section}"
        parts += [f".. _{label}:", "", f"Section {section}", "-" * 9, "", paragraph(rng), ""]
        others = rng.sample(pages, 4)
        parts += ["See " + ", ".join(f":ref:`{other}`" for other in others[:2])
                  + f", :doc:`/{others[2].replace('-', '/', 1)}` and "
                  + f":ref:`the end <{others[3]}-section-0>`; :term:`term {rng.randrange(40)}`; "
                  + f":py:func:`melt_{rng.randrange(300)}`, :py:class:`list`.", ""]
        parts += [f".. index:: {rng.choice(WORDS)}; {rng.choice(WORDS)}, {name}", ""]
        parts += [".. code-block:: python", "   :linenos:",
                  indented(CODE.format(number=section, heat=rng.random())), ""]
        parts += [".. list-table:: Layers", "   :header-rows: 1", ""]
        for row in range(6):
            parts += [f"   * - {rng.choice(WORDS)} {row}", f"     - {sentence(rng)}"]
        parts += ["", f".. note:: {sentence(rng)}", "", f"A claim [#{label}]_. {paragraph(rng)}", "",
                  f".. [#{label}] {sentence(rng)}", ""]
        parts += [f"* {sentence(rng)}\n\n  #. {sentence(rng)}\n  #. {sentence(rng)}\n"
                  for _ in range(3)]
    return "\n".join(parts) + "\n"


def chapter_index(chapter, names):
    title = f"Chapter {chapter}"
    body = "\n".join(f"   {name.partition('-')[2]}" for name in names)
    return f"{title}\n{'=' * len(title)}\n\n.. toctree::\n   :numbered:\n\n{body}\n"


def functions(chapter):
    """A page of objects of the Python domain, to refer to."""
    title = f"Functions of chapter {chapter}"
    parts = [title, "=" * len(title), ""]
    for number in range(chapter * 20, chapter * 20 + 20):
        parts += [f".. py:function:: melt_{number}(layers, *, heat=0)", "",
                  f"   Melts :py:func:`melt_{number * 7 % 300}`.", "",
                  "   :param list layers: what there is", "   :returns: what is left", ""]
    return "\n".join(parts)


def generate(folder, chapters=15, modules=len(MODULES)):
    """Write the tree; returns how many pages there are."""
    folder = pathlib.Path(folder)
    rng = random.Random(7)
    names = [f"chapter{chapter}-page{number}" for chapter in range(chapters)
             for number in range(9)]
    files = {}
    for chapter in range(chapters):
        own = [name for name in names if name.startswith(f"chapter{chapter}-")]
        files[f"chapter{chapter}/index"] = chapter_index(chapter, [*own, "-functions"])
        files[f"chapter{chapter}/functions"] = functions(chapter)
        for name in own:
            files[name.replace("-", "/", 1)] = page(rng, name, names)
    for module in MODULES[:modules]:
        title = f"Module {module}"
        files[f"modules/{module}"] = (
            f"{title}\n{'=' * len(title)}\n\n.. automodule:: {module}\n   :members:\n"
            "   :undoc-members:\n   :show-inheritance:\n")
    files["glossary"] = "Glossary\n========\n\n.. glossary::\n\n" + "\n\n".join(
        f"   term {number}\n      {sentence(rng)}" for number in range(40)) + "\n"
    tree = [f"chapter{chapter}/index" for chapter in range(chapters)]
    tree += [f"modules/{module}" for module in MODULES[:modules]]
    files["index"] = ("All\n===\n\n.. toctree::\n   :maxdepth: 3\n\n"
                      + "\n".join(f"   {name}" for name in [*tree, "glossary"])
                      + "\n\n* :ref:`genindex`\n* :ref:`modindex`\n")
    for name, text in files.items():
        path = folder / f"{name}.rst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "conf.py").write_bytes(pathlib.Path(__file__).with_name("conf_template.py")
                                     .read_bytes())
    return len(files)


if __name__ == "__main__":
    print(generate(sys.argv[1], *map(int, sys.argv[2:])))
