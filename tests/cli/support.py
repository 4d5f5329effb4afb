# SPDX-License-Identifier: MIT
"""Where the program under test is."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/neve"
