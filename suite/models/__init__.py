"""Base learners: ordinary ``nn.Module``s, found by name through `suite.core.registry`."""
