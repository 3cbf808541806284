"""``bayeslmm demo``: a complete analysis of a simulated cohort, posterior beside truth."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.cli.commands import h2, simulate
from bayeslmm.cli.parser import build_parser
from bayeslmm.cli.record import command_line
from bayeslmm.cli.terminal import bounds, interval_kind, number

if TYPE_CHECKING:
    from bayeslmm.cli.terminal import Terminal

N, M, H2 = 600, 2000, 0.5


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    prefix = str(Path(args.out) / "demo")
    made = ["simulate", "--n", str(N), "--m", str(M), "--h2", str(H2), "--families"]
    made += ["--seed", str(args.seed), "--out", prefix]
    asked = ["h2", "--bfile", prefix, "--pheno", f"{prefix}.pheno", "--covar", f"{prefix}.covar"]
    asked += ["--seed", str(args.seed), "--out", prefix]
    asked += ["--threads", str(args.threads)] if args.threads else []
    code = 0
    for arguments, module in ((made, simulate), (asked, h2)):
        step = build_parser().parse_args(arguments)
        step.arguments = arguments
        print(f"$ {command_line(step)}", flush=True)
        code = module.run(step, terminal)
        print()
    print(compare(Path(f"{prefix}.h2.tsv"), Path(f"{prefix}.truth.tsv")))
    print(f"Open the report in a browser: {Path(f'{prefix}.html').resolve()}")
    return code


def compare(result: Path, truth: Path) -> str:
    """Format a table of the simulated truth and the estimates."""
    with open(truth, encoding="utf-8", newline="") as file:
        known = {
            row["quantity"]: float(row["value"]) for row in csv.DictReader(file, delimiter="\t")
        }
    with open(result, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["quantity"] in known]
    lines = [f"{'quantity':<16}{'truth':>8}{'mean':>8}{'sd':>8}  interval"]
    for row in rows:
        numbers = {name: float(row[name]) for name in ("mean", "sd", "lower", "upper", "prob")}
        cell = numbers | {"interval": row["interval"]}
        lines.append(
            f"{row['quantity']:<16}{number(known[row['quantity']]):>8}{number(numbers['mean']):>8}"
            f"{number(numbers['sd']):>8}  {interval_kind(cell)} {bounds(cell)}"
        )
    return "\n".join(lines)
