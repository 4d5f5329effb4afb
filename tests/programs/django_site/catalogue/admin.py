# SPDX-License-Identifier: MIT
"""The catalogue in Django's administration."""

from django.contrib import admin

from . import models


class ReviewInline(admin.TabularInline):
    model = models.Review


@admin.register(models.Item)
class ItemAdmin(admin.ModelAdmin):
    list_display = ["name", "shelf", "price", "made"]
    list_filter = ["shelf"]
    search_fields = ["name"]
    filter_horizontal = ["peers"]
    inlines = [ReviewInline]


admin.site.register(models.Shelf)
