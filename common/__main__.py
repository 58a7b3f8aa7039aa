"""`python -m common`: the command line under exactly this interpreter, for programs that we start."""

from common.cli import main

main()
