"""State in Redis: shared by the processes of many machines.

The one decision here: taking and settling are scripts that Redis runs as one step, and every
amount that may be large stays a 64-bit integer of Redis itself. Lua's numbers are doubles, so the
script compares differences, which are small where it matters, and never sums.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from polyroute.errors import ConfigError, MissingExtraError, StateError
from polyroute.state.shared import GRACE_S, Hold, Taken

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"shared state in Redis needs the package {error.name!r}, which is not installed; run: "
        "pip install 'polyroute[store]'"
    ) from error

__all__ = ["RedisState"]

_TAKE = """
local left, granted, refused = {}, {}, 0
for i = 2, #KEYS do
  local at = (i - 2) * 4
  local amount, least, most = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3]
  local room = false
  if most ~= '' then
    room = -redis.call('DECRBY', KEYS[i], most)
    redis.call('INCRBY', KEYS[i], most)
    redis.call('PEXPIREAT', KEYS[i], ARGV[at + 4])
    if room < least and refused == 0 then refused = i - 1 end
  end
  left[i - 1] = room
  granted[i - 1] = amount
  if room and room < amount then granted[i - 1] = room end
end
local answer = {refused}
for i = 2, #KEYS do
  local room, amount = left[i - 1], granted[i - 1]
  if refused ~= 0 then amount = 0 end
  if refused == 0 then
    local exact = string.format('%.0f', amount)
    redis.call('INCRBY', KEYS[i], exact)
    redis.call('PEXPIREAT', KEYS[i], ARGV[(i - 2) * 4 + 4])
    redis.call('HSET', KEYS[1], KEYS[i], exact)
  end
  answer[#answer + 1] = string.format('%.0f', amount)
  answer[#answer + 1] = room and string.format('%.0f', room - amount) or ''
end
if refused == 0 and #KEYS > 1 then redis.call('PEXPIREAT', KEYS[1], ARGV[#ARGV]) end
return answer
"""

_SETTLE = """
local held = redis.call('HGETALL', KEYS[1])
if #held == 0 then return 0 end
redis.call('DEL', KEYS[1])
local spent = {}
for i = 1, #ARGV, 2 do spent[ARGV[i]] = ARGV[i + 1] end
for i = 1, #held, 2 do
  if redis.call('EXISTS', held[i]) == 1 then
    redis.call('DECRBY', held[i], held[i + 1])
    redis.call('INCRBY', held[i], spent[held[i]] or '0')
  end
end
return 1
"""

_PREFIX = "{polyroute}:"
"""In front of every key. What stands in braces puts all keys into one slot of a cluster."""


class RedisState:
    """Shared by everything that uses the same Redis and prefix. It belongs to one event loop.

    Parameters
    ----------
    url : str, default="redis://127.0.0.1:6379/0"
        Where Redis is; ``rediss://`` for TLS. Without a password.
    password_env : str, optional
        Name of the environment variable that holds the password.
    prefix : str, optional
        In front of every key; a part in braces keeps all keys together in a cluster.
    timeout_s : float, default=2.0
        Seconds after which Redis counts as gone, and for which an operation waits for a
        connection.
    connections : int, default=16
        Most connections at a time; further operations wait for one.

    Raises
    ------
    ConfigError
        If the URL cannot be used or holds a password, or the variable is not set.
    """

    def __init__(
        self,
        url: str = "redis://127.0.0.1:6379/0",
        password_env: str | None = None,
        prefix: str = _PREFIX,
        timeout_s: float = 2.0,
        connections: int = 16,
    ) -> None:
        if "@" in url:
            raise ConfigError(
                "state.url must not hold a password: put it into an environment variable and name "
                "that in state.password_env"
            )
        password = None if password_env is None else os.environ.get(password_env)
        if password_env is not None and not password:
            raise ConfigError(f"state.password_env: {password_env!r} is not set or empty")
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=connections,
                timeout=timeout_s,
                password=password,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ConfigError(f"state.url: {error}") from error
        self._redis = Redis.from_pool(pool)
        self._prefix = prefix
        self._take = self._redis.register_script(_TAKE)
        self._settle = self._redis.register_script(_SETTLE)

    async def take(self, id: str, holds: Sequence[Hold]) -> Taken:
        """Take from every counter, or from none."""
        values: list[str] = []
        for hold in holds:
            most = "" if hold.most is None else str(hold.most)
            values += [str(hold.amount), str(hold.floor), most, _moment(hold.ends_at)]
        values.append(_moment(max((hold.ends_at for hold in holds), default=0.0)))
        keys = [self._lease(id), *(self._key(hold.key) for hold in holds)]
        async with _attributed():
            said = await self._take(keys=keys, args=values)
        numbers = [None if item == b"" else int(item) for item in said]
        refused = int(said[0])
        return Taken(
            granted=tuple(amount or 0 for amount in numbers[1::2]),
            left=tuple(numbers[2::2]),
            refused=refused - 1 if refused else None,
        )

    async def settle(self, id: str, spent: Mapping[str, int]) -> bool:
        """Let every counter have what was spent in place of what was taken."""
        values = [text for key, n in spent.items() for text in (self._key(key), str(n))]
        async with _attributed():
            return bool(await self._settle(keys=[self._lease(id)], args=values))

    async def read(self, keys: Sequence[str]) -> tuple[int, ...]:
        """Return what is taken from every counter."""
        if not keys:
            return ()
        async with _attributed():
            found = await self._redis.mget([self._key(key) for key in keys])
        return tuple(0 if value is None else int(value) for value in found)

    async def put(self, key: str, value: bytes, *, ttl_s: float, if_absent: bool = False) -> bool:
        """Remember `value` for so many seconds; return whether it was."""
        lasts = max(1, round(ttl_s * 1000))
        async with _attributed():
            done = await self._redis.set(self._value(key), value, px=lasts, nx=if_absent)
        return bool(done)

    async def get(self, key: str) -> bytes | None:
        """Return what is remembered."""
        async with _attributed():
            value = await self._redis.get(self._value(key))
        assert not isinstance(value, str), "the client is not told to decode"
        return value

    async def delete(self, *keys: str) -> None:
        """Forget what is remembered, and what was counted."""
        if keys:
            named = [name for key in keys for name in (self._value(key), self._key(key))]
            async with _attributed():
                await self._redis.delete(*named)

    async def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        await self._redis.aclose()

    def _key(self, key: str) -> str:
        return f"{self._prefix}count:{key}"

    def _value(self, key: str) -> str:
        return f"{self._prefix}value:{key}"

    def _lease(self, id: str) -> str:
        return f"{self._prefix}lease:{id}"


def _moment(ends_at: float) -> str:
    """Return when a key of a window may go, in milliseconds since 1970."""
    return str(round((ends_at + GRACE_S) * 1000))


@asynccontextmanager
async def _attributed() -> AsyncIterator[None]:
    """Turn what the client raises into one error; it names no address and no password."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StateError(
            f"the shared state in Redis cannot be reached ({type(error).__name__}); see that Redis "
            "runs at state.url"
        ) from error
