"""`polyroute train`: from recorded outcomes to a router that can be evaluated and served."""

from polyroute.cli.lazy import Entry, group

__all__ = ["app"]

app = group(
    {
        "policy": Entry(
            "polyroute.cli.train", "Train greedy, threshold or conformal; the word may be left out."
        ),
        "hybrid": Entry(
            "polyroute.cli.training.hybrid", "Train Hybrid-LLM: two models, soft labels."
        ),
        "frugal": Entry("polyroute.cli.training.frugal", "Train a cascade that judges replies."),
        "agreement": Entry("polyroute.cli.training.agreement", "Choose models that have to agree."),
        "automix": Entry("polyroute.cli.training.automix", "Learn what a model's own checks mean."),
        "r1": Entry("polyroute.cli.training.r1", "Train a model that routes over several rounds."),
        "reinforce": Entry(
            "polyroute.cli.training.reinforce",
            "Reinforce such a model on several GPUs or machines.",
        ),
    },
    line="Train a router on recorded outcomes.",
    otherwise="policy",
)
