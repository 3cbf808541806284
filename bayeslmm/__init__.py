"""bayeslmm."""
