"""Tables that others wrote, one file per format. Each has a function from a path to `Imported`.

A row that cannot be used is an error that names file and row, never a guess; a row that is no
outcome (a failed call, a conversation of several turns) is left out and counted.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from polyroute.outcomes.importers.imported import Imported
from polyroute.outcomes.importers.llmrouter import read_llmrouter
from polyroute.outcomes.importers.llmrouterbench import read_llmrouterbench
from polyroute.outcomes.importers.openai_logs import read_openai_logs
from polyroute.outcomes.importers.records import of_records, read_records
from polyroute.outcomes.importers.routellm import read_routellm
from polyroute.outcomes.importers.routerbench import read_routerbench

__all__ = [
    "IMPORTERS", "Imported", "of_records",
    "read_llmrouter", "read_llmrouterbench", "read_openai_logs", "read_records", "read_routellm",
    "read_routerbench",
]  # fmt: skip

IMPORTERS: Mapping[str, Callable[[Path], Imported]] = MappingProxyType(
    {
        "routellm": read_routellm,
        "llmrouter": read_llmrouter,
        "routerbench": read_routerbench,
        "llmrouterbench": read_llmrouterbench,
        "openai_logs": read_openai_logs,
        "records": read_records,
    }
)
"""The formats by name."""
