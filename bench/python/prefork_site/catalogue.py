# SPDX-License-Identifier: MIT
"""The catalogue that the site holds in memory, built before the fork: entries of every application,
an instance with lists and dicts each, so that PREFORK_SITE_ENTRIES entries are about fourteen times
as many objects that a collector looks at."""

WORDS = "amber birch cedar delta ember flint grove heath inlet juniper knoll larch".split()
PER_PAGE = 3
REVIEWS = 4

#: {application: [Entry, ...]}
shops = {}


class Entry:
    """A record; refers to the one before it, which refers back."""

    def __init__(self, app, number, previous):
        self.number = number
        self.name = f"{app} {WORDS[number % 12]} {number}"
        self.tags = [WORDS[number % 12], WORDS[number // 12 % 12], f"tag {number % 97}"]
        self.prices = {"net": number * 0.25, "stock": [number % 7, number % 11]}
        self.reviews = [{"stars": (number + which) % 5 + 1, "author": f"author {number + which}",
                         "words": [WORDS[(number * which) % 12], WORDS[which], f"no. {number}"]}
                        for which in range(REVIEWS)]
        self.previous, self.next = previous, None
        if previous is not None:
            previous.next = self


def fill(apps, entries):
    """So many entries in all."""
    for app in apps:
        entry, shops[app] = None, []
        for number in range(max(PER_PAGE, entries // len(apps))):
            entry = Entry(app, number, entry)
            shops[app].append(entry)


def page(app, number):
    """The entries of a page; after the last page comes the first."""
    entries = shops[app]
    first = number * PER_PAGE % len(entries)
    return entries[first:first + PER_PAGE]
