"""Where the time of one command goes: run as ``python stages.py ARGUMENTS OF bayeslmm``.

Prints a JSON object of seconds by stage. Every stage is a handful of functions; the time of a stage
within another one is its own, and importing and compiling are stages wherever they happen.
"""

from __future__ import annotations

import builtins
import json
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

START = time.perf_counter()

STAGES: dict[str, tuple[str, ...]] = {
    "files": (
        "bayeslmm.relationship.files:read_grm",
        "bayeslmm.cli.inputs.cohorts:build_cohorts",
        "bayeslmm.cli.inputs.individuals:open_genotypes",
    ),
    "decomposition": ("bayeslmm.likelihood.decompose:spectrum",),
    "compilation": (
        "pytensor.compile.maker:FunctionMaker.__init__",
        "pytensor.compile.maker:FunctionMaker.create",
        "numba.core.dispatcher:Dispatcher.compile",
    ),
    "posterior": (
        "bayeslmm.models.file:ModelFile.build",
        "bayeslmm.inference.fit:fit",
        "bayeslmm.inference.diagnostics:diagnose",
        "bayeslmm.posterior.summary:heritability",
    ),
    "checks": (
        "bayeslmm.estimates.boundary:restricted_lrt",
        "bayeslmm.cli.fit_checks:check_fit",
        "bayeslmm.checks.sensitivity:prior_sensitivity",
        "bayeslmm.relationship.relatedness:relationship_warnings",
    ),
    "report": ("bayeslmm.report:render", "bayeslmm.report.relatedness:add_relatedness"),
    "writing": ("bayeslmm.cli.outputs:write_together", "bayeslmm.cli.record:record"),
    "kernel": ("bayeslmm.relationship.genomic:compute_grms",),
}
REST = "rest"


class Stopwatch:
    """Seconds by stage; only the innermost stage runs."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("import", *STAGES, REST), 0.0)
        self._open = [REST]
        self._since = START

    def _turn(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted as a stage."""

        def run(*args: Any, **options: Any) -> Any:
            self._turn()
            self._open.append(stage)
            try:
                return function(*args, **options)
            finally:
                self._turn()
                self._open.pop()

        return run

    def stop(self) -> dict[str, float]:
        """Seconds by stage until now."""
        self._turn()
        return self.seconds


def watch() -> tuple[Stopwatch, set[str]]:
    """Count imports from now on, and the functions of STAGES as soon as they are imported."""
    watch, waiting = Stopwatch(), {target for targets in STAGES.values() for target in targets}
    stage_of = {target: stage for stage, targets in STAGES.items() for target in targets}
    load = builtins.__import__
    timed = watch.timed("import", load)
    homes = {target.partition(":")[0] for target in waiting}
    inside = False

    def wrap() -> None:
        for target in list(waiting):
            name, path = target.split(":")
            module = sys.modules.get(name)
            *outer, last = path.split(".")
            owner: Any = module
            for part in outer:
                owner = getattr(owner, part, None)
            if isinstance(module, ModuleType) and owner is not None and hasattr(owner, last):
                setattr(owner, last, watch.timed(stage_of[target], getattr(owner, last)))
                waiting.discard(target)

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal inside
        if inside:
            found = load(*args, **options)
        else:
            inside = True
            try:
                found = timed(*args, **options)
            finally:
                inside = False
        if waiting and args[0] in homes:
            wrap()
        return found

    builtins.__import__ = counted
    return watch, waiting


def main() -> None:
    """Run the command, then print its stages."""
    stopwatch, _ = watch()
    from bayeslmm.cli import main as bayeslmm

    code = bayeslmm(sys.argv[1:])
    print(json.dumps(stopwatch.stop()), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
