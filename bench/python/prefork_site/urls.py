# SPDX-License-Identifier: MIT
"""The pages of the pre-fork site: those of each application below its name."""

from django.conf import settings
from django.urls import include, path

urlpatterns = [path(f"{app}/", include(f"{app}.urls")) for app in settings.SHOPS]
