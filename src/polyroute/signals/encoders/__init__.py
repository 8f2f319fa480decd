"""Turn texts into features: one encoder per file, found by name (`polyroute.encoders`)."""
