"""`python -m aiki.cli`: the same as the console script `aiki`."""

from __future__ import annotations

import sys

from aiki.cli import main

if __name__ == "__main__":
    sys.exit(main())
