# SPDX-License-Identifier: MIT
"""The WSGI application of the pre-fork site. Importing it loads all applications, fills the catalogue
and answers some requests, as a service does that is warmed up before it forks."""

import io
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

from django.conf import settings  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()

import catalogue  # noqa: E402  (its entries are the last to be made, as data are)

#: Of each application's first pages.
WARM_ROUNDS = 2


def ask(path, application=application):
    """One request without a server; returns the body."""
    status_lines = []
    answer = application(
        {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SCRIPT_NAME": "",
         "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
         "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost", "wsgi.version": (1, 0),
         "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr,
         "wsgi.multithread": False, "wsgi.multiprocess": True, "wsgi.run_once": False},
        lambda status, headers, problem=None: status_lines.append(status))
    body = b"".join(answer)
    answer.close()
    if status_lines != ["200 OK"]:
        raise RuntimeError(f"{path} answered {status_lines}")
    return body


catalogue.fill(settings.SHOPS, int(os.environ["PREFORK_SITE_ENTRIES"]))
for number in range(WARM_ROUNDS):
    for app in settings.SHOPS:
        ask(f"/{app}/page/{number}/")
