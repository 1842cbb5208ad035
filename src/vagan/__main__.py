"""``python -m vagan``: the command line."""

from vagan.cli.app import main

if __name__ == "__main__":
    main()
