# SPDX-License-Identifier: MIT
"""The one application of the Django site: a catalogue of items in shelves, with reviews."""
