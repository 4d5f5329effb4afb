# SPDX-License-Identifier: MIT
"""Sphinx's configuration for pages of Python's manual; bench_pauses puts it beside them as conf.py.

The manual's own extensions are not packaged with its sources. What they define stands here in the simplest form that
keeps the content of the pages: directives whose content is read on, and roles whose text is shown.
"""

from docutils import nodes
from docutils.parsers.rst import Directive, directives

project = "Pages of Python's manual"
author = copyright = "the Python Software Foundation"
version = release = "3.11"
extensions = ["sphinx.ext.doctest"]
exclude_patterns = []
html_theme = "alabaster"
html_copy_source = False
# The list of all pages on every page would be most of the work.
html_sidebars = {"**": ["localtoc.html", "relations.html", "searchbox.html"]}


class Passage(Directive):
    """A directive whose words and content become a paragraph and what follows it."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = {"noindex": directives.flag}

    def run(self):
        passage = nodes.container()
        if self.arguments:
            inline, messages = self.state.inline_text(self.arguments[0], self.lineno)
            passage += nodes.paragraph("", "", *inline, *messages)
        self.state.nested_parse(self.content, self.content_offset, passage)
        return [passage]


def shown(name, rawtext, text, lineno, inliner, options=None, content=()):
    return [nodes.literal(rawtext, text)], []


def setup(app):
    for name in ("availability", "audit-event", "audit-event-table", "deprecated-removed", "impl-detail",
                 "opcode", "pdbcommand", "coroutinefunction", "coroutinemethod", "awaitablefunction",
                 "awaitablemethod", "abstractmethod", "include", "literalinclude", "image", "figure"):
        app.add_directive(name, Passage, override=True)
    for name in ("source", "issue", "gh", "opcode", "pdbcmd"):
        app.add_role(name, shown, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
