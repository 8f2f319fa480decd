"""Judge routers: metrics, intervals, baselines, off-policy estimates."""
