#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run by the interpreter that the extension is built for: say what the build must know about it.

Prints, one a line: cache tag, version, suffix of extension modules, then one or two include
directories.  An interpreter that Neve does not support gets one line on stderr and status 2.
It keeps to syntax that any Python can parse, so that the refusal reaches the user.
"""

import os
import sys
import sysconfig

SUPPORTED = [(3, 11), (3, 12), (3, 13), (3, 14), (3, 15)]


def refusal():
    """Why this interpreter cannot be used, or None."""
    name = getattr(getattr(sys, "implementation", None), "name", "unknown")
    supported = ", ".join("%d.%d" % v for v in SUPPORTED)
    advice = "choose another with make PYTHON=/path/to/python%d.%d" % SUPPORTED[-1]
    if name != "cpython" or tuple(sys.version_info[:2]) not in SUPPORTED:
        return "%s is %s %d.%d, Neve supports CPython %s: %s" % (
            sys.executable, name, sys.version_info[0], sys.version_info[1], supported, advice)
    if (3, 14) <= tuple(sys.version_info[:3]) < (3, 14, 5):
        # These have an incremental collector, whose lists of objects are others.
        return "%s is CPython %d.%d.%d, of 3.14 Neve supports 3.14.5 and later: %s" % (
            (sys.executable,) + tuple(sys.version_info[:3]) + (advice,))
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "%s is a free-threaded build, Neve needs the GIL: %s" % (sys.executable, advice)
    if hasattr(sys, "gettotalrefcount"):
        return "%s is a debug build (Py_DEBUG), Neve supports default builds: %s" % (
            sys.executable, advice)
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        return "%s has no C headers (Python.h): install its development package (python3-dev)" % (
            sys.executable)
    return None


def main():
    why = refusal()
    if why:
        sys.stderr.write("neve: " + why + "\n")
        return 2
    paths = sysconfig.get_paths()
    print(sys.implementation.cache_tag)
    print("%d.%d.%d" % tuple(sys.version_info[:3]))
    print(sysconfig.get_config_var("EXT_SUFFIX").lstrip("."))
    print(paths["include"])
    if paths["platinclude"] != paths["include"] and os.path.isdir(paths["platinclude"]):
        print(paths["platinclude"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
