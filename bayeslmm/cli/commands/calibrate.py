"""``bayeslmm calibrate``: check the posteriors of a model by simulation."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm import models
from bayeslmm.cli.analysis import check_priors, parse_priors
from bayeslmm.cli.inputs.individuals import Source, named_matrix, open_source
from bayeslmm.cli.outputs import Writer, check_outputs, output_paths, write_table, write_together
from bayeslmm.cli.parser import QC_DEFAULTS
from bayeslmm.cli.record import Clock, command_line, record
from bayeslmm.errors import InputError
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    from bayeslmm.calibration.problem import Problem
    from bayeslmm.calibration.result import Calibration
    from bayeslmm.cli.terminal import Terminal

RESULTS = (".calibration.tsv", ".calibration.html", ".calibration.run.json")
PARTS = ".calibration.parts"


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command; return 0 if the model is calibrated, else 1."""
    clock = Clock()
    file = models.load(args.model)
    priors = parse_priors(args.prior)
    check_priors(file, priors)
    if args.grm is None:
        for name in ("n", "fam", "kernel_scale"):
            if getattr(args, name) is not None:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} without --grm", "--grm P", "leave it out")
    args.out = args.out or file.name
    args.threads = args.threads or available_cores()
    paths = output_paths(args.out, RESULTS)
    parts = output_paths(args.out, [PARTS])[PARTS]
    matrices = [Path(named_matrix(text)[1]) for text in args.grm or ()]
    check_outputs(paths.values(), [*matrices, *([file.path] if args.model.endswith(".py") else [])])
    source = None if args.grm is None else _source(args, terminal)
    from bayeslmm.calibration.sbc import calibrate

    problem = _problem(args, file, source, priors)
    task = f"{args.n_sims} simulations of the model {file.name}"
    try:
        with terminal.step(task) as progress:
            found = calibrate(
                file,
                args.n_sims,
                engine=args.engine,
                draws=args.draws,
                seed=args.seed,
                workers=args.threads,
                cohort=None if problem is None else problem.cohort,
                matrices=None if problem is None else problem.matrices,
                priors=priors,
                words="" if problem is None else problem.description,
                parts=parts,
                progress=progress,
            )
    except (KeyboardInterrupt, SystemExit):
        terminal.say(f"stopped; the same command resumes from {parts}")
        raise
    inputs = [
        *(source.files if source else ()),
        *([file.path] if args.model.endswith(".py") else []),
    ]
    _write(args, terminal, clock, paths, found, inputs)
    _print(found, paths, parts)
    return 0 if found.ok else 1


def _source(args: Namespace, terminal: Terminal) -> Source:
    """Read the user's matrices as `h2 --grm` does."""
    unused = dict.fromkeys(("pedigree", "by", "keep", "remove", *QC_DEFAULTS))
    return open_source(Namespace(**{**unused, **vars(args)}), terminal)


def _problem(
    args: Namespace, file: models.ModelFile, source: Source | None, priors: dict[str, str]
) -> Problem | None:
    """Make the problem on the user's matrices; None for the small simulated one."""
    if source is None:
        return None
    from bayeslmm.calibration.problem import given_problem
    from bayeslmm.calibration.run import Setup
    from bayeslmm.calibration.sbc import build_first

    kernels = source.kernels(file.matrices(), file.more() is not None, source.individuals)
    setups = [
        Setup(
            file,
            given_problem(file, kernels, n=args.n, seed=args.seed, several=several),
            priors,
            args.engine,
            args.draws,
            args.seed,
        )
        for several in (False, True)
    ]
    return build_first(setups)[0].problem


def _write(
    args: Namespace,
    terminal: Terminal,
    clock: Clock,
    paths: dict[str, Path],
    found: Calibration,
    inputs: list[Path],
) -> None:
    from bayeslmm.report.calibration import render_calibration

    table = found.table()
    page = render_calibration(found, command_line(args))
    files: dict[Path, Writer] = {
        paths[".calibration.tsv"]: partial(write_table, table),
        paths[".calibration.html"]: lambda path: path.write_text(
            page, encoding="utf-8", newline="\n"
        ),
    }
    text = record(args, terminal, clock, inputs, _facts(found))
    with terminal.step("writing the results"):
        write_together(files, (paths[".calibration.run.json"], text))


def _facts(found: Calibration) -> dict[str, Any]:
    """Return the facts of this command for the record of the run."""
    return {
        "model": found.model,
        "calibrated_on": found.words,
        "engine": found.engine,
        "engine_reason": found.engine_reason,
        "ok": found.ok,
        "verdict": found.verdict(),
        "n_sims": found.n_sims,
        "n_fell_back": int(found.fell_back.sum()),
        "failed": {str(i): text for i, text in enumerate(found.problems) if text},
        "seconds_of_all_simulations": round(float(found.seconds.sum()), 1),
        "seconds_of_the_slowest": round(float(found.seconds.max()), 2),
    }


def _print(found: Calibration, paths: dict[str, Path], parts: Path) -> None:
    table = found.table().sort_values("p", kind="stable").head(5)
    print(f"{found.model}, engine {found.engine}; {found.words}")
    print(f"{'quantity':<28} {'p':>8} {'p (Holm)':>9} {'mean z':>7} {'50 %':>6} {'95 %':>6}")
    for row in table.itertuples():
        name = str(row.quantity)[:28]
        print(f"{name:<28} {row.p:>8.2g} {row.p_holm:>9.2g} {row.mean_z:>+7.2f} "
              f"{row.coverage_50:>6.3f} {row.coverage_95:>6.3f}")  # fmt: skip
    if len(found.names) > len(table):
        print(f"... and {len(found.names) - len(table)} more quantities with larger p")
    if found.fell_back.any():
        print(f"{int(found.fell_back.sum())} of {found.n_sims} fits fell back to NUTS")
    print(found.verdict())
    print(f"report: {paths['.calibration.html']}")
    print(f"table: {paths['.calibration.tsv']}, {paths['.calibration.run.json']}")
    print(f"simulations: {parts} (a larger --n-sims resumes from them; delete it if not needed)")
