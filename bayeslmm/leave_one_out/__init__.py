"""Leave-one-out and leave-one-family-out for correlated records, with k-fold beside them."""

from bayeslmm.leave_one_out.conditional import conditional_predictive
from bayeslmm.leave_one_out.elpd import kfold, loo
from bayeslmm.leave_one_out.grouping import group_labels

__all__ = ["conditional_predictive", "group_labels", "kfold", "loo"]
