# SPDX-License-Identifier: MIT
"""A plugin for mypy that collects in full now and then, and notes that it did: mypy by itself sets
thresholds that hardly ever let the old generation be collected, and ends without cleaning up."""

import gc

import mypy.plugin

import witness

FILES_PER_COLLECTION = 40


class NotesPlugin(mypy.plugin.Plugin):
    def __init__(self, options):
        super().__init__(options)
        self.files = 0
        witness.note("mypy")

    def get_additional_deps(self, file):
        self.files += 1
        if self.files % FILES_PER_COLLECTION == 0:
            gc.collect()
            witness.note("mypy")
        return []


def plugin(version):
    return NotesPlugin
