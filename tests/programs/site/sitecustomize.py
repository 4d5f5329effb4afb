# SPDX-License-Identifier: MIT
"""What every interpreter of the programs imports at its start: Neve where NEVE=1 asks for it, by the
`.pth` file that an installed wheel brings along, and the notes.

`.pth` files are obeyed in folders of the site only, not in those of PYTHONPATH; so the one of the
checkout is shown to the module site here.
"""

import os
import site

if "NEVE_PROGRAMS_STARTUP" in os.environ:
    site.addsitedir(os.environ["NEVE_PROGRAMS_STARTUP"])

import witness

witness.begin()
