"""When error budgets will be used up, as far as their own past can tell."""
