"""``bayeslmm models``: list, show or copy the model files."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from bayeslmm import models

if TYPE_CHECKING:
    from bayeslmm.cli.terminal import Terminal


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    if args.action == "list":
        known = models.names()
        width = max(map(len, known))
        for name in known:
            print(f"{name:<{width}}  {models.load(name).doc.partition(chr(10))[0]}")
    elif args.action == "show":
        sys.stdout.write(models.load(args.name).source)
    else:
        path = models.copy(args.name, args.target)
        print(f"{path}: edit it, then use bayeslmm h2 --model ./{path.name}")
    return 0
