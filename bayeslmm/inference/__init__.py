"""A model in, an `xarray.DataTree` out: the engines and `fit`."""
