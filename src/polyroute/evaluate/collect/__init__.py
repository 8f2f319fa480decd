"""Ask every candidate of a pool every question, score the answers, keep them as they come."""

from polyroute.evaluate.collect.capped import Capped
from polyroute.evaluate.collect.output import Output, Row
from polyroute.evaluate.collect.run import Collected, Scorer, by_judge, by_metric, collect

__all__ = ["Capped", "Collected", "Output", "Row", "Scorer", "by_judge", "by_metric", "collect"]
