"""What every test runs under."""

from hypothesis import HealthCheck, settings

# Time limits per example would fail on a busy machine, not on a wrong program.
settings.register_profile("polyroute", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("polyroute")
