"""What `ask` shows while an episode runs: plain lines, and on a terminal a live view besides.

The one decision here: the lines are the same in both; a terminal only adds what is waiting, with
its seconds, and the final reply as it is written. A pipe gets the answer whole, when it is sure.
"""

import sys
from typing import Protocol

from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from polyroute.cli.console import err, is_live, note, printable
from polyroute.cli.narration import facts, heading, reply_line
from polyroute.decision import Answer, Call, Route
from polyroute.episode import Decided, Event, Replied, Streamed

__all__ = ["LiveView", "PlainView", "View", "view"]


class View(Protocol):
    """Show the events of one episode."""

    streams: bool
    """Whether it shows the final reply in pieces."""
    delivered: bool
    """Whether the whole answer is on standard output already."""

    def show(self, event: Event) -> None:
        """Show one event."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found. May be called twice."""
        ...


def view(*, plain: bool) -> View:
    """Return the view that fits where standard output and standard error go."""
    return PlainView() if plain or not is_live() else LiveView()


class PlainView:
    """Say on standard error who is asked what, and what came back."""

    streams = False

    def __init__(self) -> None:
        self.delivered = False
        self._round = 1
        self._decision: Route | None = None
        self._made = False
        """Whether any call of the decision was made: refused calls are no round."""

    def show(self, event: Event) -> None:
        """Write the lines of one event."""
        if isinstance(event, Decided):
            self._decided(event)
        elif isinstance(event, Replied):
            self._replied(event)

    def close(self) -> None:
        """Do nothing: a line is written whole."""

    def _say(self, line: str) -> None:
        note(line)

    def _decided(self, event: Decided) -> None:
        self._count_round()
        self._say(heading(event.decision, self._round))
        self._decision = None if isinstance(event.decision, Answer) else event.decision
        self._made = False

    def _count_round(self) -> None:
        """Go on to the next number when the decision before this one was a round."""
        if self._decision is not None and not self._decision.own and self._made:
            self._round += 1

    def _replied(self, event: Replied) -> None:
        failure = event.reply.failure
        self._made = self._made or failure is None or failure.kind != "budget"
        self._say(reply_line(event.call, event.reply))
        self._say(f"    {facts(event.reply)}")


class LiveView(PlainView):
    """Show besides what is waited for, and write the final reply as it comes."""

    streams = True

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._waiting: dict[int, TaskID] = {}
        self._streaming = False

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Streamed):
            self._stream(event.delta.text)
        else:
            super().show(event)

    def close(self) -> None:
        """Take the lines of what is waited for off the screen."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        if self._streaming:
            self._write("\n")
            self._streaming = False

    def _decided(self, event: Decided) -> None:
        self.close()
        super()._decided(event)
        if isinstance(event.decision, Route):
            self._wait_for(event.decision.calls)

    def _replied(self, event: Replied) -> None:
        if self._progress is not None and event.index in self._waiting:
            self._progress.remove_task(self._waiting.pop(event.index))
        if not self._streaming:
            super()._replied(event)
            return
        self.delivered = event.reply.ok
        self.close()
        if not event.reply.ok:
            self._say(reply_line(event.call, event.reply))
        self._say(f"    {facts(event.reply)}")

    def _say(self, line: str) -> None:
        if self._progress is None:
            note(line)
        else:  # above the lines that are being rewritten
            self._progress.console.print(Text(line), soft_wrap=True)

    def _wait_for(self, calls: tuple[Call, ...]) -> None:
        columns = (TextColumn("  "), SpinnerColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=err(), transient=True)
        self._waiting = {
            index: self._progress.add_task(printable(call.model), total=None)
            for index, call in enumerate(calls)
        }
        self._progress.start()

    def _stream(self, text: str) -> None:
        if not self._streaming:
            self.close()
            self._streaming = True
        self._write(printable(text))

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
