# SPDX-License-Identifier: MIT
"""What the catalogue holds."""

from django.db import models


class Shelf(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self):
        return self.name


class Item(models.Model):
    shelf = models.ForeignKey(Shelf, models.CASCADE, related_name="items")
    name = models.CharField(max_length=50)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    made = models.DateTimeField()
    peers = models.ManyToManyField("self")

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name


class Review(models.Model):
    item = models.ForeignKey(Item, models.CASCADE, related_name="reviews")
    stars = models.IntegerField()
    text = models.TextField()
