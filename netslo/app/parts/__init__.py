"""The parts of a running estate, each in a module of its own: a host needs only its own.

Each runs alone from the command line; a run on one host starts them as child processes, through
the functions that take a `Link`.
"""
