"""Task distributions, in one file each; `suite.core.registry` finds them by name."""
