"""Engines: exact quadrature and NUTS, behind one `fit`."""

from bayeslmm.engines.choose import choose_engine
from bayeslmm.engines.fit import fit
from bayeslmm.engines.traits import fit_traits

__all__ = ["choose_engine", "fit", "fit_traits"]
