"""`python -m irgen`: the command line."""

from irgen.cli import main

main()
