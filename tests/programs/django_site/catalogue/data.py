# SPDX-License-Identifier: MIT
"""Fills the database with the same content each time, and builds the cache that workers inherit."""

import datetime
import gc
import random

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections, transaction

from . import models

SHELVES = 12
ITEMS = 400
CACHE_ENTRIES = 10_000

WORDS = "amber birch cedar delta ember flint grove heath inlet juniper knoll larch".split()

# Built before the fork; requests read it. Ten containers an entry or so, some of them in cycles.
cache = {}


class Entry:
    """A cached record; refers to the one before it, which refers back."""

    def __init__(self, number, previous):
        self.number = number
        self.tags = [WORDS[number % 12], WORDS[number // 12 % 12]]
        self.prices = {"net": number * 0.5, "steps": [(step, number) for step in range(4)]}
        self.previous, self.next = previous, None
        if previous is not None:
            previous.next = self


def fill_database():
    call_command("migrate", run_syncdb=True, verbosity=0)
    rng = random.Random(1)
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    with transaction.atomic():
        shelves = models.Shelf.objects.bulk_create(
            models.Shelf(id=number, name=f"{WORDS[number % 12]} shelf")
            for number in range(1, SHELVES + 1))
        models.Item.objects.bulk_create(
            models.Item(id=number, shelf=shelves[number % SHELVES],
                        name=f"{rng.choice(WORDS)} {rng.choice(WORDS)} {number}",
                        price=rng.randrange(100, 99999) / 100,
                        made=start + datetime.timedelta(hours=rng.randrange(20000)))
            for number in range(1, ITEMS + 1))
        models.Review.objects.bulk_create(
            models.Review(id=number, item_id=rng.randrange(1, ITEMS + 1),
                          stars=rng.randrange(1, 6), text=" ".join(rng.choices(WORDS, k=30)))
            for number in range(1, 3 * ITEMS))
        for number in range(1, 50):
            models.Item.objects.get(id=number).peers.add(*range(number + 1, number + 4))
        get_user_model().objects.create_superuser("ann", "ann@example.org", "secret")


def fill_cache():
    previous = None
    for number in range(CACHE_ENTRIES):
        cache[number] = previous = Entry(number, previous)


def prepare():
    fill_database()
    fill_cache()
    gc.collect()
    # A connection must not be shared by the processes that are forked from this one.
    connections.close_all()
