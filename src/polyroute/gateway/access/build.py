"""Settings -> the keys, the gate and the audit log of one server."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from polyroute.config import Settings, open_state
from polyroute.errors import ConfigError
from polyroute.gateway.access.audit import Audit, audit_log
from polyroute.gateway.access.keys import key_file, read_keys
from polyroute.gateway.access.limits import Limits
from polyroute.gateway.access.ring import KeyRing, simple_key
from polyroute.gateway.seams import Gate, Open
from polyroute.pool import Pool
from polyroute.state.shared import Shared

__all__ = ["Access", "build_access"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may do what on one server."""

    state: Shared
    """Where limits are counted; its user closes it."""
    audit: Audit
    ring: KeyRing | None = None
    """The keys; `None` for a server that only its own machine can reach."""
    gate: Gate = field(default_factory=Open)


def build_access(
    settings: Settings, pool: Pool, keys: Sequence[str] = (), state: Shared | None = None
) -> Access:
    """Build what `settings` say of access.

    Parameters
    ----------
    settings : Settings
        The configuration.
    pool : Pool
        The cards that keys may be bound to.
    keys : sequence of str, optional
        Clients' keys without limits, as an environment variable has them.
    state : Shared, optional
        Where limits are counted, when it is open already.

    Raises
    ------
    ConfigError
        If a file or a variable cannot be used.
    """
    state = open_state(settings.state) if state is None else state
    audit = audit_log(settings)
    access = settings.access
    fixed = [simple_key(key) for key in keys]
    if access.admin_keys_env is not None:
        admins = read_keys(access.admin_keys_env, setting="access.admin_keys_env")
        fixed += [simple_key(key, admin=True) for key in admins]
    file = None
    if access.keys is not None:
        file = key_file(settings)
        if not file.path.exists():
            raise ConfigError(
                f"access.keys: there is no file {str(file.path)!r}; make it and its first key "
                "with: polyroute key new --name NAME"
            )
    if not fixed and file is None:
        return Access(state=state, audit=audit)
    ring = KeyRing(fixed, file=file, pool=pool)
    gate = Limits(ring, state, open_on_loss=settings.state.on_loss == "open")
    return Access(state=state, audit=audit, ring=ring, gate=gate)
