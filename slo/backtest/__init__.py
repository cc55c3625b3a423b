"""What alerts and budgets would have been: history judged again under other objectives."""
