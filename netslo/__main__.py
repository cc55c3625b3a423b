"""`python -m netslo`."""

from netslo.app.cli import main

main()
