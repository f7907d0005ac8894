"""Rooflines: operations and bytes of operators and kernels, what the device could have done, and what it would gain."""
