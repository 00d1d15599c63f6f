"""Authentication over HTTP: keys, scopes, tenants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import httpx2
import openai
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from softprompt.registry import ApiKeyScope, PromptRegistry
from softprompt.server.api.dependencies import AdminPrincipal, CurrentPrincipal, ManagePrincipal, RateLimitedPrincipal
from softprompt.server.auth.authenticator import Authenticator
from softprompt.server.concurrency.tenant_rate_limiter import TenantRateLimiter
from softprompt.server.exception_handlers import register_exception_handlers
from softprompt.server.server_metrics import ServerMetrics
from tests.server.minimal_app import serving, state_of, until


@pytest.fixture
def store(tmp_path: Any) -> Iterator[PromptRegistry]:
    with PromptRegistry.open(tmp_path / "store", create=True) as opened:
        yield opened


def application(gate: Authenticator, limits: TenantRateLimiter | None = None) -> FastAPI:
    """Routes that say who asked."""
    app = FastAPI()
    app.state.softprompt = state_of(authenticator=gate, rate_limiter=TenantRateLimiter() if limits is None else limits)
    register_exception_handlers(app, ServerMetrics())

    @app.get("/use")
    async def use(caller: CurrentPrincipal) -> dict[str, Any]:
        return {"tenant": caller.tenant, "who": caller.actor, "scope": caller.scope}

    @app.get("/manage")
    async def manage(caller: ManagePrincipal) -> str:
        return caller.tenant

    @app.get("/admin")
    async def admin(caller: AdminPrincipal) -> str:
        return caller.tenant

    return app


@pytest.fixture
def client(store: PromptRegistry) -> TestClient:
    return TestClient(application(Authenticator(store.api_keys)))


def bearing(text: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **headers}


def test_a_key_identifies_the_principal(client: TestClient, store: PromptRegistry) -> None:
    key, text = store.api_keys.create_key("acme")
    answer = client.get("/use", headers=bearing(text))
    assert answer.json() == {"tenant": "acme", "who": f"key {key.id}", "scope": "use"}
    assert client.get("/use", headers={"authorization": f"bearer {text}"}).status_code == 200


def test_all_invalid_keys_get_the_same_response(client: TestClient, store: PromptRegistry) -> None:
    key, revoked = store.api_keys.create_key("acme")
    store.api_keys.revoke_key(key.id)
    _, good = store.api_keys.create_key("acme")
    _, expired = store.api_keys.create_key("acme", expires_in=timedelta(microseconds=1))
    answers = [client.get("/use")]
    for text in (revoked, expired, good[:-1], good + "A", "sk-something", "", "ü".encode().decode("latin-1")):
        answers.append(client.get("/use", headers={"Authorization": f"Bearer {text}".encode("latin-1")}))  # type: ignore[dict-item]
    answers.append(client.get("/use", headers={"Authorization": f"Basic {good}"}))
    answers.append(client.get("/use", headers={"Authorization": good}))
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    error = answers[0].json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == "invalid_api_key"
    assert answers[0].headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scope", list(ApiKeyScope))
def test_scopes_include_weaker_scopes(client: TestClient, store: PromptRegistry, scope: ApiKeyScope) -> None:
    _, text = store.api_keys.create_key("acme", scope)
    for path in ("use", "manage", "admin"):
        answer = client.get(f"/{path}", headers=bearing(text))
        assert answer.status_code == (200 if scope.includes(ApiKeyScope(path)) else 403)
        if answer.status_code == 403:
            assert answer.json()["error"]["code"] == "insufficient_permissions"


def test_only_the_admin_scope_may_act_for_other_tenants(client: TestClient, store: PromptRegistry) -> None:
    _, admin = store.api_keys.create_key("boss", "admin")
    _, own = store.api_keys.create_key("acme", "manage")
    asked = {"X-Softprompt-Tenant": "acme"}
    assert client.get("/use", headers=bearing(admin)).json()["tenant"] == "boss"
    assert client.get("/manage", headers=bearing(admin, **asked)).json() == "acme"
    assert client.get("/manage", headers=bearing(own, **asked)).json() == "acme"
    for other in ("bolt", "", "no such", "../x"):
        refused = client.get("/use", headers=bearing(own, **{"X-Softprompt-Tenant": other}))
        assert refused.status_code == 403
        assert "bolt" not in refused.text
    assert client.get("/use", headers=bearing(admin, **{"X-Softprompt-Tenant": "No Name"})).status_code == 400


def test_without_keys_every_request_has_the_admin_scope(store: PromptRegistry) -> None:
    client = TestClient(application(Authenticator(None)))
    assert client.get("/use").json() == {"tenant": "default", "who": "server", "scope": "admin"}
    assert client.get("/admin", headers={"X-Softprompt-Tenant": "acme"}).json() == "acme"
    assert client.get("/admin", headers=bearing("anything")).json() == "default"


def test_openais_client_raises_its_authentication_and_permission_errors(store: PromptRegistry) -> None:
    _, text = store.api_keys.create_key("acme")
    app = application(Authenticator(store.api_keys))

    @app.get("/v1/models")
    async def models(_: AdminPrincipal) -> None: ...

    with serving(app) as (port, _server):
        for key, expected in (("none", openai.AuthenticationError), (text, openai.PermissionDeniedError)):
            with (
                openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0) as client,
                pytest.raises(expected),
            ):
                client.models.list()


def test_a_running_server_rejects_a_revoked_key(store: PromptRegistry) -> None:
    key, text = store.api_keys.create_key("acme")
    with serving(application(Authenticator(store.api_keys))) as (port, _server):
        url, headers = f"http://127.0.0.1:{port}/use", bearing(text)
        assert httpx2.get(url, headers=headers).status_code == 200
        with PromptRegistry.open(store.location) as elsewhere:
            elsewhere.api_keys.revoke_key(key.id)
        until(lambda: httpx2.get(url, headers=headers).status_code == 401, 10)


def streaming(gate: Authenticator, go_on: asyncio.Event, limits: TenantRateLimiter | None = None) -> FastAPI:
    """A route whose stream ends when it is told to."""
    app = application(gate, limits)

    @app.get("/stream")
    async def stream(caller: RateLimitedPrincipal) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            for _ in range(2000):
                if go_on.is_set():
                    break
                await asyncio.sleep(0.005)
                yield "b"

        return StreamingResponse(pieces())

    return app


def test_a_stream_counts_as_a_parallel_sequence_until_it_ends(store: PromptRegistry) -> None:
    limits, go_on = TenantRateLimiter(max_parallel_sequences=1), asyncio.Event()
    text, other = store.api_keys.create_key("acme")[1], store.api_keys.create_key("bolt")[1]
    with serving(streaming(Authenticator(store.api_keys), go_on, limits)) as (port, _server):
        url = f"http://127.0.0.1:{port}/stream"
        with httpx2.stream("GET", url, headers=bearing(text)) as one:
            pieces = one.iter_text()  # which closes the connection when it is let go of
            assert next(pieces).startswith("a")
            refused = httpx2.get(url, headers=bearing(text))
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["type"] == "rate_limit_error"
            with httpx2.stream("GET", url, headers=bearing(other)) as another:
                assert another.status_code == 200
        # both clients went away in the middle of a stream
        until(lambda: limits.count_running("acme") == limits.count_running("bolt") == 0)
        go_on.set()
        assert httpx2.get(url, headers=bearing(text)).status_code == 200
        until(lambda: limits.count_running("acme") == 0)


def test_a_stream_continues_after_its_key_is_revoked(store: PromptRegistry) -> None:
    key, text = store.api_keys.create_key("acme")
    go_on = asyncio.Event()
    with serving(streaming(Authenticator(store.api_keys), go_on)) as (port, _server), httpx2.Client() as kept:
        url, headers = f"http://127.0.0.1:{port}", bearing(text)
        with httpx2.stream("GET", f"{url}/stream", headers=headers) as one:
            pieces = one.iter_text()
            assert next(pieces).startswith("a")
            with PromptRegistry.open(store.location) as elsewhere:
                elsewhere.api_keys.revoke_key(key.id)
            # on a connection that is kept, too
            until(lambda: kept.get(f"{url}/use", headers=headers).status_code == 401, 10)
            assert httpx2.get(f"{url}/stream", headers=headers).status_code == 401
            assert next(pieces)
            go_on.set()
            assert set("".join(pieces)) <= {"b"}  # to its end, which is none that broke off


def test_unauthorized_requests_do_not_count_toward_the_rate_limit(store: PromptRegistry) -> None:
    limits = TenantRateLimiter(sequences_per_minute=1)
    client = TestClient(streaming(Authenticator(store.api_keys), asyncio.Event(), limits))
    for _ in range(3):
        assert client.get("/stream").status_code == 401
    assert len(limits) == 0
