# SPDX-License-Identifier: MIT
"""The pages of the Django site."""

from catalogue import views
from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("", views.index, name="index"),
    path("item/<int:number>/", views.item, name="item"),
    path("search/", views.search, name="search"),
    path("report.json", views.report),
    path("export.csv", views.export),
    path("review/<int:number>/", views.review, name="review"),
    path("cycles/<int:count>/", views.cycles),
    path("collect/", views.collect),
    path("broken/", views.broken),
    path("whoami/", views.whoami),
    path("admin/", admin.site.urls),
]
