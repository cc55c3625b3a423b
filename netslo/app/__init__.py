"""The door: the command line, and the only room where all floors meet."""
