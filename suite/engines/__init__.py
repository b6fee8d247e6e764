"""Engines: how gradients are computed. The same numbers at another speed."""
