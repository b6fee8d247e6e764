"""Public contract tests: what a plug-in is checked against."""
