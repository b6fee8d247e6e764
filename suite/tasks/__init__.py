"""Task distributions: one file each, found by name through `suite.core.registry`."""
