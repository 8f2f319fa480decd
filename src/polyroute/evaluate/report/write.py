"""Write a report's files into a folder."""

import json
from importlib.util import find_spec
from pathlib import Path

from polyroute.evaluate.report.markdown import markdown
from polyroute.evaluate.report.page import page
from polyroute.evaluate.report.picture import write_picture
from polyroute.evaluate.summary import Summary

__all__ = ["write_report"]


def write_report(summary: Summary, folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write ``report.html``, ``report.md``, ``report.json``, and plots as PNG where they can be.

    Parameters
    ----------
    summary : Summary
        From `polyroute.evaluate.summarise.summarise`.
    folder : Path
        Made when it is not there; files of these names are replaced.
    pictures : bool, default=True
        Whether to draw PNGs where matplotlib is installed (it takes seconds to import).

    Returns
    -------
    list of Path
        What was written. ``cost_quality.png`` is left out without matplotlib, or without costs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.html": page(summary),
        "report.md": markdown(summary),
        "report.json": json.dumps(summary.to_json(), ensure_ascii=False, indent=1) + "\n",
    }
    written = []
    for name, text in texts.items():
        path = folder / name
        path.write_text(text, "utf-8", errors="backslashreplace")
        written.append(path)
    drawable = any(curve.hull for curve in summary.curves) and find_spec("matplotlib") is not None
    if pictures and drawable:
        path = folder / "cost_quality.png"
        write_picture(summary, path)
        written.append(path)
    return written
