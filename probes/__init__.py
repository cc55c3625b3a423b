"""Measuring: sans-IO protocols, their sockets, the schedule, the ledger, the spool, the emulator."""
