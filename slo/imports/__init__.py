"""Other tools' specifications as OpenSLO documents, with what of them has no counterpart."""
