"""Who asks: from the key in a request to the tenant that it is for, and what that one may do.

A key that was looked up is believed for a second, so that a request costs no transaction, and a key that was revoked is
none a second later. What is no key is never remembered: a new one is a key at once.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from softprompt.server.limits import Held, Limits
from softprompt.server.refusal import Refusal
from softprompt.store import DEFAULT_TENANT, Key, Keys, Scope
from softprompt.store.names import checked_name

TENANT = "X-Softprompt-Tenant"  #: the header in which an administrator names the tenant to act for
BELIEVED = 1.0  # seconds
REMEMBERED = 10_000  # keys


@dataclass(frozen=True)
class Caller:
    """Somebody who asks.

    Attributes:
        tenant: for whom: its prompts are all there is.
        scope: what they may do.
        key: the id of their key; None where there are no keys.
        held: their request, as it counts against the tenant's limits; None where it does not.
    """

    tenant: str
    scope: Scope
    key: str | None = None
    held: Held | None = field(default=None, compare=False)

    def count_rows(self, rows: int) -> None:
        """Count the responses or texts that their request asks for against the tenant's limits.

        Raises:
            TooManyRequests: they are too many now.
            TooManyRows: they are too many at any time.
        """
        if self.held is not None:
            self.held.count_rows(rows)

    def may(self, scope: Scope) -> bool:
        """Whether they may do what `scope` allows."""
        return self.scope.includes(scope)

    @property
    def who(self) -> str:
        """Who did it, as the store's history says."""
        return "server" if self.key is None else f"key {self.key}"


class KeyRing:
    """The keys of a store, as a server looks them up. Threads may share it.

    Args:
        keys: the store's.
        clock: gives seconds, from whenever.
    """

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.monotonic):
        self._keys, self._clock = keys, clock
        self._known: OrderedDict[bytes, tuple[Key, float]] = OrderedDict()  # by a hash of the text, the newest last
        self._lock = threading.Lock()

    def known(self, text: str) -> Key | None:
        """The key, if it was looked up within the last second and is valid."""
        with self._lock:
            key, until = self._known.get(_digest(text), (None, 0.0))
        return key if key is not None and self._clock() < until and key.is_valid() else None

    def find(self, text: str) -> Key | None:
        """The key, looked up; None if it is none. It reads from the disk."""
        asked = self._clock()  # before it is read: it may be revoked right behind
        key, digest = self._keys.find(text), _digest(text)
        with self._lock:
            self._known.pop(digest, None)
            if key is not None:
                self._known[digest] = key, asked + BELIEVED
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return key


class Gate:
    """Lets in who has a key.

    Args:
        keys: the store's; None to let in everybody, which is for loopback alone.
        limits: how much each tenant may ask; None for any number.
    """

    def __init__(self, keys: Keys | None, limits: Limits | None = None):
        self._ring = None if keys is None else KeyRing(keys)
        self.limits = Limits() if limits is None else limits

    async def caller(self, text: str | None, tenant: str | None = None) -> Caller:
        """Who asks.

        Args:
            text: the key.
            tenant: for whom they say they ask, if they do.

        Raises:
            Refusal: 401, there is no such key, and it is not said why; 403, it may not ask for this tenant.
            SettingError: no tenant can be called so.
        """
        caller = Caller(DEFAULT_TENANT, Scope.ADMIN) if self._ring is None else await _found(self._ring, text)
        if tenant is None or tenant == caller.tenant:
            return caller
        if not caller.may(Scope.ADMIN):
            raise _forbidden(Scope.ADMIN)
        return Caller(checked_name("tenant", tenant), caller.scope, caller.key)


async def _found(ring: KeyRing, text: str | None) -> Caller:
    key = None
    if text is not None:
        key = ring.known(text) or await run_in_threadpool(ring.find, text)
    if key is None:
        raise Refusal(
            401,
            "no valid API key: send one as 'Authorization: Bearer sp-…'",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return Caller(key.tenant, key.scope, key.id)


def _forbidden(scope: Scope) -> Refusal:
    return Refusal(403, f"this API key is not good for that: it takes one to {scope}", code="insufficient_permissions")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


bearer = HTTPBearer(auto_error=False, description="A key that `softprompt keys create` made.")


async def asking(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    """Who asks; any key will do. It is found out once a request, before its body is read (`KeyedRoute`)."""
    known: Caller | None = getattr(request.state, "caller", None)
    if known is None:
        gate: Gate = request.app.state.gate
        text = None if credentials is None else credentials.credentials
        known = request.state.caller = await gate.caller(text, request.headers.get(TENANT))
    return known


Asking = Annotated[Caller, Depends(asking)]


async def managing(caller: Asking) -> Caller:
    """Somebody who may change the tenant's prompts.

    Raises:
        Refusal: 403, they may not.
    """
    return _checked(caller, Scope.MANAGE)


async def administering(caller: Asking) -> Caller:
    """Somebody who may do everything.

    Raises:
        Refusal: 403, they may not.
    """
    return _checked(caller, Scope.ADMIN)


async def admitted(request: Request, caller: Asking) -> AsyncIterator[Caller]:
    """Somebody whose request counts against the tenant's limits, until all of the answer is sent.

    Raises:
        TooManyRequests: it is one too many.
    """
    gate: Gate = request.app.state.gate
    with gate.limits.holding(caller.tenant) as held:
        yield replace(caller, held=held)


async def changing(request: Request, caller: Annotated[Caller, Depends(managing)]) -> AsyncIterator[Caller]:
    """Somebody who changes the tenant's prompts, which counts against its limits as any request does.

    Raises:
        Refusal: 403, they may not.
        TooManyRequests: it is one too many.
    """
    async for held in admitted(request, caller):
        yield held


Managing = Annotated[Caller, Depends(managing)]
Administering = Annotated[Caller, Depends(administering)]
Admitted = Annotated[Caller, Depends(admitted)]
Changing = Annotated[Caller, Depends(changing)]


def _checked(caller: Caller, scope: Scope) -> Caller:
    if not caller.may(scope):
        raise _forbidden(scope)
    return caller
