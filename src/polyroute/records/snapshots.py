"""What a policy had learned when it decided: kept once, beside the records that name it.

The one decision here: a state is named by the SHA-256 of its content. A record that names one can
be replayed exactly or not at all. Long parts of a state are files of their own, so that two states
which differ in one model share the rest.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyroute.errors import RecordError
from polyroute.records.store import private_folder
from polyroute.types import Json, JsonObject

__all__ = ["Snapshots"]

_NAME = "sha256"
_LONG = 1_000
"""Characters from which a part of a state is a file of its own."""


class Snapshots:
    """A folder of states. Nothing in it is ever changed.

    Parameters
    ----------
    folder : str or path
        Made at the first `put`, for its owner only.

    Examples
    --------
    >>> states = Snapshots(tempfile.mkdtemp())
    >>> name = states.put({"wins": {"": {"small": 2.5}}})
    >>> states.get(name)
    {'wins': {'': {'small': 2.5}}}
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def beside(cls, records: str | Path) -> "Snapshots":
        """Return the states that belong to the record store in the file `records`."""
        path = Path(records)
        return cls(path.with_name(f"{path.name}.states"))

    def put(self, state: Json) -> str:
        """Keep `state`, and return its name.

        Raises
        ------
        RecordError
            If it cannot be written.
        """
        return self._keep(_bytes(self._shared(state)))

    def get(self, name: str) -> Any:  # noqa: ANN401 - what `put` was given
        """Return the state of that name.

        Raises
        ------
        RecordError
            If it is not there, or was changed.
        """
        path = self.folder / f"{name}.json"
        if not name.isalnum():
            raise RecordError(f"{name!r} is no name of a state")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordError(
                f"the state {name[:12]} of a policy that was learning is not in {self.folder}: "
                f"{error.strerror}; without it the record cannot be replayed"
            ) from error
        if hashlib.sha256(content).hexdigest() != name:
            raise RecordError(f"{path} was changed: it is not what its name says")
        return self._whole(json.loads(content))

    def resolved(self, policy: JsonObject) -> JsonObject:
        """Return the specification in a record with what it names instead of its name.

        Raises
        ------
        RecordError
            As in `get`.
        """
        state = policy.get("state")
        if not isinstance(state, Mapping) or _NAME not in state:
            return policy
        rest = {key: value for key, value in state.items() if key != _NAME}
        return {**policy, "state": {**self.get(state[_NAME]), **rest}}

    def _shared(self, value: Json) -> Json:
        if isinstance(value, Mapping):
            return {key: self._shared(item) for key, item in value.items()}
        content = _bytes(value)
        return {_NAME: self._keep(content)} if len(content) > _LONG else value

    def _whole(self, value: Json) -> Json:
        if not isinstance(value, Mapping):
            return value
        if set(value) == {_NAME}:
            return self.get(value[_NAME])
        return {key: self._whole(item) for key, item in value.items()}

    def _keep(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        path = self.folder / f"{name}.json"
        if path.exists():
            return name
        try:
            private_folder(self.folder)
            handle, written = tempfile.mkstemp(dir=self.folder)
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(written).rename(path)
        except OSError as error:
            raise RecordError(f"cannot keep a state: {path}: {error.strerror or error}") from error
        return name


def _bytes(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()
