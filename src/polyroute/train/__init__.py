"""Fit a policy to recorded outcomes, calibrate it, and keep it as an artifact."""
