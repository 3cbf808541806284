"""One of the models of a comparison: its fit and diagnosis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

    from bayeslmm.inference.diagnostics import Diagnosis


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One of the models compared.

    Parameters
    ----------
    name
        Its name in the comparison.
    tree, model
        Fit and model.
    diagnosis
        Diagnosis of its draws.
    """

    name: str
    tree: xr.DataTree
    model: pm.Model
    diagnosis: Diagnosis

    def facts(self) -> dict[str, Any]:
        """Return its facts for the record of the run."""
        attrs = dict(self.tree.attrs)
        kept = ("model", "model_file", "model_sha256", "engine", "engine_reason", "draws", "chains")
        return {
            **{key: attrs[key] for key in kept if key in attrs},
            "ok": self.diagnosis.ok,
            "verdict": self.diagnosis.verdict,
            **{key: json.loads(attrs[key]) for key in ("priors", "relationships") if key in attrs},
        }
