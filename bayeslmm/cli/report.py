"""``bayeslmm report``: the HTML report of a result that was kept."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.outputs import check_outputs, read_tree

if TYPE_CHECKING:
    from bayeslmm.terminal import Terminal


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    target = Path(args.out)
    check_outputs([target], [args.result])
    with terminal.step("writing the report"):
        tree = read_tree(args.result)
        from bayeslmm.report import report

        report(tree, target, prob=float(tree.attrs.get("prob", 0.95)))
    print(target)
    return 0
