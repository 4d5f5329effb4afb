# SPDX-License-Identifier: MIT
"""The program ``python -m neve``; all of it is in neve/_run.py, which survives as a module of its
own while this one gives its place as ``__main__`` to the program that is run."""

import sys

try:
    from neve import _run
except MemoryError:
    from neve import _stock
    _stock.run("not enough memory")

if __name__ == "__main__":
    _status = _run.main(sys.argv[1:])
    # With -i the interpreter goes on to its prompt.
    if _status and not sys.flags.inspect:
        sys.exit(_status)
