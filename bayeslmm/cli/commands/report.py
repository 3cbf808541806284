"""``bayeslmm report``: write the HTML report of a saved result."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.cli.outputs import as_recorded, check_outputs, read_tree
from bayeslmm.errors import BayesLMMError, InputError

if TYPE_CHECKING:
    from bayeslmm.cli.terminal import Terminal


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    target = Path(args.out)
    check_outputs([target], [args.result])
    with terminal.step("writing the report"):
        tree = read_tree(args.result)
        from bayeslmm.report import report

        try:
            report(tree, target, prob=float(tree.attrs.get("prob", 0.95)))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            if isinstance(error, BayesLMMError) or as_recorded(Path(args.result)):
                raise  # the file is unchanged since bayeslmm wrote it: an internal failure
            raise InputError(
                f"no report can be made of it ({type(error).__name__}: {error})"[:300],
                "the PREFIX.nc that bayeslmm h2 wrote, with the PREFIX.run.json beside it",
                "check the file; if it is damaged or of another version, run bayeslmm h2 again",
                path=args.result,
            ) from error
    print(target)
    return 0
