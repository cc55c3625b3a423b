"""Measuring: sans-IO protocols, sockets, the schedule, the ledger, the spool, the emulator."""
