# SPDX-License-Identifier: MIT
"""What the pages of all applications do: show entries of the catalogue, and keep lists where the
request asks for it."""

import catalogue
from django.shortcuts import render

#: Lists that one request keeps, as a cache does that is filled by requests.
KEPT_LISTS = 250

kept = []


def show(request, app, number, form):
    return render(request, f"{app}/page.html", {
        "app": app, "number": number, "before": max(number - 1, 0), "after": number + 1,
        "form": form, "entries": catalogue.page(app, number)})


def keep():
    for number in range(KEPT_LISTS):
        kept.append([number])
