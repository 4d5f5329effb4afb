# SPDX-License-Identifier: MIT
"""Configuration of the generated documents; generate.py puts it beside them as conf.py."""

import gc

import witness

project = "Snow"
author = "nobody"
copyright = "nobody"
version = release = "1.0"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx.ext.autosectionlabel",
              "sphinx.ext.todo", "sphinx.ext.mathjax"]
autosectionlabel_prefix_document = True
# The docstrings of the standard library are not written for Sphinx.
suppress_warnings = ["autosectionlabel.*"]
html_theme = "alabaster"
# The theme's list of all pages on every page takes longer than everything else.
html_sidebars = {"**": ["relations.html", "searchbox.html"]}


def setup(app):
    # What each process that reads or writes documents tells of itself.
    app.connect("env-updated", lambda *words: collect("read"))
    app.connect("build-finished", lambda *words: collect("finished"))
    app.connect("html-page-context", lambda *words: wrote())
    witness.note("sphinx")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


pages = 0


def wrote():
    """In the processes that write documents: a full collection now and then."""
    global pages
    pages += 1
    if pages % 20 == 0:
        collect("writer")


def collect(role):
    gc.collect()
    witness.note(role)
