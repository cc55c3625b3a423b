"""Who runs this process."""

from __future__ import annotations


def user_name() -> str | None:
    """Return the user's name, by the environment or by the number; None for a nameless number."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # nobody in this host's list of users
        return None
