"""The command line: ``python -m suite``, ``fewshot-suite`` and ``run_all.py``."""

from suite.core.allocator import restart_with_settings


def main() -> None:
    """Restart this process with the allocator's settings, then run the command line."""
    restart_with_settings()  # before torch is imported: they are read when a process starts

    from suite.cli import main

    main()


if __name__ == "__main__":
    main()
