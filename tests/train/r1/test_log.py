"""The curve on disk."""

from polyroute.train.r1.log import CsvLog, row_of
from polyroute.train.r1.monitor import Vitals
from polyroute.train.r1.rl import Point


def row(step):
    vitals = Vitals(step=step, reward=1 / 3, outcome=0.5, format_rate=1.0, calls=1.5)
    return row_of(Point(vitals=vitals, numbers={"loss": -1e-9}))


def test_what_is_read_is_what_was_written_to_the_last_digit(tmp_path):
    log = CsvLog(tmp_path / "curve.csv")
    log.write(row(0))
    assert CsvLog.read(log.path) == [row(0)]


def test_a_resumed_run_drops_what_lies_after_its_checkpoint(tmp_path):
    log = CsvLog(tmp_path / "curve.csv")
    for step in range(5):
        log.write(row(step))
    again = CsvLog(log.path, before=3)
    again.write(row(3))
    assert [int(each["step"]) for each in CsvLog.read(log.path)] == [0, 1, 2, 3]


def test_nothing_but_numbers_is_logged(tmp_path):
    log = CsvLog(tmp_path / "curve.csv")
    log.write({**row(0), "api_key": 1.0})
    assert "api_key" not in log.path.read_text()
