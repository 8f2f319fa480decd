"""What verl needs of a run, as files in one folder."""

from pathlib import Path

import yaml

from polyroute.train.r1.setting import claim, read_setting
from polyroute.train.r1.verl.rows import rows, write_rows
from polyroute.train.r1.verl.settings import hydra, loop_settings, settings

__all__ = ["write_run"]


def write_run(setting_file: Path, folder: Path) -> list[str]:
    """Write the rows, the agent loop's settings and the arguments; return the arguments.

    Parameters
    ----------
    setting_file : Path
        As `polyroute.train.r1.setting.read_setting` reads it.
    folder : Path
        Made when it is not there; every machine has to see it under the same name. It gets
        ``setting.yaml`` (a copy), ``train.parquet``, ``val.parquet``, ``agent_loop.yaml`` and
        ``arguments.txt``, one of verl's arguments a line.

    Raises
    ------
    ConfigError
        If the setting does not fit, verl cannot do what it asks, or the folder is there already
        with another setting.
    MissingExtraError
        If pyarrow is not installed.
    """
    setting = read_setting(setting_file)
    here = folder.resolve()
    arguments = hydra(settings(setting, here))
    kept = claim(setting_file, here)
    write_rows(rows(setting, "train"), here / "train.parquet")
    write_rows(rows(setting, "val"), here / "val.parquet")
    loop = yaml.safe_dump(loop_settings(kept), sort_keys=False)
    (here / "agent_loop.yaml").write_text(loop, "utf-8")
    (here / "arguments.txt").write_text("".join(f"{each}\n" for each in arguments), "utf-8")
    return arguments
