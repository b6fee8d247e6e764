"""The command line: commands and options, nothing else."""

from suite.cli.group import cli, main

__all__ = ["cli", "main"]
