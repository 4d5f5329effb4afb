# SPDX-License-Identifier: MIT
"""Debian's Django is 3.2, which imports the module cgi; CPython 3.13 has none any more. Here is what
Django uses of it, so that the site runs on all versions. It is on the search path of those only."""

import email.message
import re

# RFC 2046: printable ASCII, which a space must not end.
BOUNDARY = re.compile("[ -~]{0,200}[!-~]")


def parse_header(line):
    """The main value and a dict of the parameters of a header such as Content-Type."""
    value, _, rest = line.partition(";")
    if not rest:
        return value.strip(), {}
    message = email.message.Message()
    message["content-type"] = line
    parameters = message.get_params(failobj=[])
    return value.strip(), {name.lower(): text for name, text in parameters[1:]}


def valid_boundary(text):
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return BOUNDARY.fullmatch(text) is not None
