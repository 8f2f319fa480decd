"""Routers that learn from feedback while they serve; the learner is `polyroute.train.online`."""
