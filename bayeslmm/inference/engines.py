"""The engines, in the order in which ``engine="auto"`` tries them."""

from __future__ import annotations

from bayeslmm.inference.engine import Engine
from bayeslmm.inference.exact.exact import EXACT
from bayeslmm.inference.laplace.laplace import LAPLACE
from bayeslmm.inference.nuts import NUTS

ENGINES: tuple[Engine, ...] = (EXACT, LAPLACE, NUTS)
