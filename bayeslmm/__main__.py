"""``python -m bayeslmm`` is the command ``bayeslmm``."""

import sys

from bayeslmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
