"""``python -m vagan``: the command line."""

from vagan.cli.app import main

main()
