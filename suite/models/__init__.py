"""Base learners, which are ordinary ``nn.Module``s; `suite.core.registry` finds them by name."""
