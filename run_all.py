"""Run the suite: ``python run_all.py --help``."""

from suite.allocator import restart_with_settings

if __name__ == "__main__":
    restart_with_settings()  # before torch is imported: the settings are read when a process starts

    from suite.cli import main

    main()
