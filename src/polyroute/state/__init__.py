"""What the processes of one server share: limits, budgets, short memories. One engine per file."""
