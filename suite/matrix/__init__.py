"""The matrix of cells: their order, their devices, and the cells that are already done."""
