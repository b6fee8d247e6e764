"""Run the suite: ``python run_all.py --help``. Where it is installed, ``python -m suite``."""

from suite.__main__ import main

if __name__ == "__main__":
    main()
