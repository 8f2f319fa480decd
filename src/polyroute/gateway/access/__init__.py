"""Who may do what: keys, scopes, limits, budgets, and what of it is written down."""
