"""Routers that learn from feedback while they serve, and what makes them learn: `online`."""
