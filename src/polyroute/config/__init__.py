"""Files and environment -> frozen, validated settings -> built objects.

The one decision here: this is the only place that reads configuration. What it builds takes plain
typed arguments and never sees a setting; a secret is only ever the *name* of an environment
variable.
"""

from polyroute.config.access import AccessSettings, TlsSettings
from polyroute.config.build import (
    Setup,
    build,
    cards_of,
    open_records,
    open_state,
    state_folder,
    with_fallbacks,
)
from polyroute.config.cache import CacheSettings, CategorySettings, SemanticSettings
from polyroute.config.fallbacks import FallbackSettings
from polyroute.config.learning import LearningSettings
from polyroute.config.read import DEFAULT, find, parse, read
from polyroute.config.routers import SHIPPED, artifact_folder, left_out, why_not
from polyroute.config.server import ServerSettings
from polyroute.config.settings import (
    BudgetSettings,
    CardSettings,
    PriceSettings,
    RecordSettings,
    RouterSettings,
    Settings,
)
from polyroute.config.state import StateSettings
from polyroute.config.strict import Usd
from polyroute.config.watch import TracingSettings, WatchSettings

__all__ = [
    # what a file says
    "AccessSettings", "BudgetSettings", "CardSettings", "FallbackSettings", "LearningSettings",
    "PriceSettings", "RecordSettings", "RouterSettings", "ServerSettings", "Settings",
    "StateSettings", "TlsSettings", "TracingSettings", "Usd", "WatchSettings",
    "CacheSettings", "CategorySettings", "SemanticSettings",
    # reading and building
    "DEFAULT", "Setup", "build", "cards_of", "find", "open_records", "open_state", "parse",
    "read", "state_folder", "with_fallbacks",
    # trained routers
    "SHIPPED", "artifact_folder", "left_out", "why_not",
]  # fmt: skip
