"""Run the suite: ``python run_all.py --help``."""

from suite.cli import main

if __name__ == "__main__":
    main()
