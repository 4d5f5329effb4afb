# SPDX-License-Identifier: MIT
"""The WSGI application of the Django site; importing it fills the database and the shared cache, as
a service does before it forks."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

import witness  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()

from catalogue import data  # noqa: E402  (models can be imported from here on)

data.prepare()
witness.note("master")
