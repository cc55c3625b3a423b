"""Judging: OpenSLO specifications, error budgets and burn rates."""
