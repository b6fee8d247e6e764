"""The matrix: which cells, in what order, on what devices, and what is already done."""
