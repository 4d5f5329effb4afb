# SPDX-License-Identifier: MIT
"""Pages; each has the same content whichever worker answers, and whenever."""

import csv
import gc
import time
import weakref

from django import forms
from django.core.paginator import Paginator
from django.db.models import Avg, Count, Max, Q
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

import witness

from . import data, models


class ReviewForm(forms.ModelForm):
    class Meta:
        model = models.Review
        fields = ["stars", "text"]

    def clean_stars(self):
        stars = self.cleaned_data["stars"]
        if not 1 <= stars <= 5:
            raise forms.ValidationError("one to five stars")
        return stars


class Member:
    """Of a ring of garbage; also of Django's own objects."""

    def __init__(self, request):
        self.request = request
        self.next = self


# Weak references to all members there were; threads append to it at any time.
watched = []


def index(request):
    items = models.Item.objects.select_related("shelf").annotate(stars=Avg("reviews__stars"))
    items = items.order_by("name")
    page = Paginator(items, 40).get_page(request.GET.get("page"))
    return render(request, "catalogue/index.html", {"page": page, "shelves": shelves()})


def shelves():
    return models.Shelf.objects.annotate(count=Count("items")).order_by("id")


def item(request, number):
    found = get_object_or_404(
        models.Item.objects.prefetch_related("reviews", "peers__shelf"), id=number)
    entry = data.cache[number * 7 % data.CACHE_ENTRIES]
    near = [entry.previous and entry.previous.number, entry.next and entry.next.number]
    return render(request, "catalogue/item.html",
                  {"item": found, "entry": entry, "near": near, "form": ReviewForm()})


def search(request):
    text = request.GET.get("q", "")
    items = models.Item.objects.filter(Q(name__icontains=text) | Q(shelf__name__icontains=text))
    cached = [entry.number for entry in data.cache.values() if text in entry.tags]
    return render(request, "catalogue/search.html",
                  {"text": text, "items": items[:50], "cached": cached[:100],
                   "count": len(cached)})


def report(request):
    rows = (models.Item.objects.values("shelf__name")
            .annotate(count=Count("id"), most=Max("price")).order_by("shelf__id"))
    return JsonResponse({"shelves": list(rows),
                         "steps": sum(len(e.prices["steps"]) for e in data.cache.values())})


class Echo:
    """A file that gives back what is written into it."""

    def write(self, line):
        return line


def export(request):
    writer = csv.writer(Echo())
    rows = models.Item.objects.values_list("id", "name", "price", "made").iterator()
    return StreamingHttpResponse((writer.writerow(row) for row in rows), content_type="text/csv")


def review(request, number):
    """A form; what it makes gets the identity that the request asks for."""
    parent = get_object_or_404(models.Item, id=number)
    form = ReviewForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = form.save(commit=False)
        made.id = int(request.POST["id"])
        made.item = parent
        made.save()
        return redirect(reverse("item", args=[number]))
    return render(request, "catalogue/review.html", {"item": parent, "form": form})


def cycles(request, count):
    """Leaves garbage in cycles that hold the request."""
    for _ in range(count):
        watched.append(weakref.ref(Member(request)))
    return HttpResponse(f"made {count}")


def collect(request):
    """Nothing that earlier requests of this worker left may be alive afterwards."""
    earlier = list(watched)
    # In a server of threads an earlier request may still be under way.
    for _ in range(100):
        gc.collect()
        left = sum(reference() is not None for reference in earlier)
        if not left:
            break
        time.sleep(0.05)
    witness.note("worker")
    return HttpResponse(f"left {left}")


def broken(request):
    raise RuntimeError("this page is broken")


def whoami(request):
    """Takes long enough for another worker to take the next request."""
    time.sleep(0.05)
    witness.note("worker")
    return HttpResponse("a worker")
