"""Leave-one-out and leave-one-family-out for correlated records, with k-fold beside them."""

from bayeslmm.leave_one_out.elpd import conditional_predictive, group_labels, kfold, loo

__all__ = ["conditional_predictive", "group_labels", "kfold", "loo"]
