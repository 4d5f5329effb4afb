# SPDX-License-Identifier: MIT
"""What every interpreter of the programs imports at its start: Neve, where it is asked for.

Stands in for the activation by the environment that an installed wheel brings along, and reaches
what `python -m neve` cannot: embedded interpreters, scripts, and children that are not forked.
"""

import os

if os.environ.get("NEVE") == "1":
    import neve

    try:
        neve.install()
    except RuntimeError:
        # In a sub-interpreter.  Where it happens elsewhere, the notes tell.
        pass

import witness

witness.begin()
