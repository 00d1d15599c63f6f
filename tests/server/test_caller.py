"""Who asks: keys, scopes, tenants; over HTTP and below it."""

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

from softprompt.server import caller as module
from softprompt.server.caller import Administering, Admitted, Asking, Gate, KeyRing, Managing
from softprompt.server.failures import answer_failures
from softprompt.server.limits import Limits
from softprompt.server.metrics import Metrics
from softprompt.store import Scope, Store
from tests.server.gated import serving, until
from tests.server.test_limits import Clock


@pytest.fixture
def store(tmp_path: Any) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


def application(gate: Gate) -> FastAPI:
    """Routes that say who asked."""
    app = FastAPI()
    app.state.gate, app.state.metrics = gate, Metrics()
    answer_failures(app)

    @app.get("/use")
    async def use(caller: Asking) -> dict[str, Any]:
        return {"tenant": caller.tenant, "who": caller.who, "scope": caller.scope}

    @app.get("/manage")
    async def manage(caller: Managing) -> str:
        return caller.tenant

    @app.get("/admin")
    async def admin(caller: Administering) -> str:
        return caller.tenant

    return app


@pytest.fixture
def client(store: Store) -> TestClient:
    return TestClient(application(Gate(store.keys)))


def bearing(text: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **headers}


def test_a_key_says_who_asks(client: TestClient, store: Store) -> None:
    key, text = store.keys.create("acme")
    answer = client.get("/use", headers=bearing(text))
    assert answer.json() == {"tenant": "acme", "who": f"key {key.id}", "scope": "use"}
    assert client.get("/use", headers={"authorization": f"bearer {text}"}).status_code == 200


def test_whatever_is_wrong_with_a_key_looks_the_same(client: TestClient, store: Store) -> None:
    key, revoked = store.keys.create("acme")
    store.keys.revoke(key.id)
    _, good = store.keys.create("acme")
    _, expired = store.keys.create("acme", expires_in=timedelta(microseconds=1))
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


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_allows_so_much(client: TestClient, store: Store, scope: Scope) -> None:
    _, text = store.keys.create("acme", scope)
    for path in ("use", "manage", "admin"):
        answer = client.get(f"/{path}", headers=bearing(text))
        assert answer.status_code == (200 if scope.includes(Scope(path)) else 403)
        if answer.status_code == 403:
            assert answer.json()["error"]["code"] == "insufficient_permissions"


def test_an_administrator_acts_for_any_tenant_and_nobody_else_does(client: TestClient, store: Store) -> None:
    _, admin = store.keys.create("boss", "admin")
    _, own = store.keys.create("acme", "manage")
    asked = {"X-Softprompt-Tenant": "acme"}
    assert client.get("/use", headers=bearing(admin)).json()["tenant"] == "boss"
    assert client.get("/manage", headers=bearing(admin, **asked)).json() == "acme"
    assert client.get("/manage", headers=bearing(own, **asked)).json() == "acme"
    for other in ("bolt", "", "no such", "../x"):
        refused = client.get("/use", headers=bearing(own, **{"X-Softprompt-Tenant": other}))
        assert refused.status_code == 403
        assert "bolt" not in refused.text
    assert client.get("/use", headers=bearing(admin, **{"X-Softprompt-Tenant": "No Name"})).status_code == 400


def test_without_keys_everybody_may_do_everything(store: Store) -> None:
    client = TestClient(application(Gate(None)))
    assert client.get("/use").json() == {"tenant": "default", "who": "server", "scope": "admin"}
    assert client.get("/admin", headers={"X-Softprompt-Tenant": "acme"}).json() == "acme"
    assert client.get("/admin", headers=bearing("anything")).json() == "default"


def test_openais_client_knows_what_went_wrong(store: Store) -> None:
    _, text = store.keys.create("acme")
    app = application(Gate(store.keys))

    @app.get("/v1/models")
    async def models(_: Administering) -> None: ...

    with serving(app) as (port, _server):
        for key, expected in (("none", openai.AuthenticationError), (text, openai.PermissionDeniedError)):
            with (
                openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0) as client,
                pytest.raises(expected),
            ):
                client.models.list()


def test_a_key_is_believed_for_a_second(store: Store) -> None:
    clock = Clock()
    ring = KeyRing(store.keys, clock)
    key, text = store.keys.create()
    assert ring.known(text) is None
    assert ring.find(text) == key
    store.keys.revoke(key.id)
    clock.now += module.BELIEVED - 0.01
    assert ring.known(text) == key
    clock.now += 0.01
    assert ring.known(text) is None
    assert ring.find(text) is None
    clock.now -= 0.5
    assert ring.known(text) is None  # what was found to be none is forgotten


def test_a_key_that_expires_is_not_believed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(store.keys, Clock())
    key, text = store.keys.create(expires_in=timedelta(days=1))
    assert ring.find(text) == ring.known(text) == key
    monkeypatch.setattr(type(key), "is_valid", lambda self: False)
    assert ring.known(text) is None


def test_a_request_costs_no_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, looked = Gate(store.keys), 0
    _, text = store.keys.create()
    find = store.keys.find

    def counted(wanted: str) -> Any:
        nonlocal looked
        looked += 1
        return find(wanted)

    monkeypatch.setattr(store.keys, "find", counted)
    monkeypatch.setattr(module, "BELIEVED", 1000.0)

    async def many() -> None:
        for _ in range(50):
            await gate.caller(text)

    asyncio.run(many())
    assert looked == 1


def test_a_revoked_key_is_none_for_a_running_server(store: Store) -> None:
    key, text = store.keys.create("acme")
    with serving(application(Gate(store.keys))) as (port, _server):
        url, headers = f"http://127.0.0.1:{port}/use", bearing(text)
        assert httpx2.get(url, headers=headers).status_code == 200
        with Store.open(store.place) as elsewhere:
            elsewhere.keys.revoke(key.id)
        until(lambda: httpx2.get(url, headers=headers).status_code == 401, 10)


def test_keys_that_are_remembered_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    ring = KeyRing(store.keys, Clock())
    texts = [store.keys.create()[1] for _ in range(5)]
    for text in texts:
        ring.find(text)
    assert [ring.known(text) is not None for text in texts] == [False, False, True, True, True]
    for _ in range(10):
        ring.find("sp-000000000000-" + "A" * 43)
    assert len(ring._known) == 3


def streaming(gate: Gate, go_on: asyncio.Event) -> FastAPI:
    """A route whose stream ends when it is told to."""
    app = application(gate)

    @app.get("/stream")
    async def stream(caller: Admitted) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            for _ in range(2000):
                if go_on.is_set():
                    break
                await asyncio.sleep(0.005)
                yield "b"

        return StreamingResponse(pieces())

    return app


def test_a_request_counts_until_its_stream_has_ended(store: Store) -> None:
    limits, go_on = Limits(at_once=1), asyncio.Event()
    text, other = store.keys.create("acme")[1], store.keys.create("bolt")[1]
    with serving(streaming(Gate(store.keys, limits), go_on)) as (port, _server):
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
        until(lambda: limits.running("acme") == limits.running("bolt") == 0)
        go_on.set()
        assert httpx2.get(url, headers=bearing(text)).status_code == 200
        until(lambda: limits.running("acme") == 0)


def test_a_stream_goes_on_when_its_key_is_revoked_and_nothing_new_begins(store: Store) -> None:
    key, text = store.keys.create("acme")
    go_on = asyncio.Event()
    with serving(streaming(Gate(store.keys), go_on)) as (port, _server), httpx2.Client() as kept:
        url, headers = f"http://127.0.0.1:{port}", bearing(text)
        with httpx2.stream("GET", f"{url}/stream", headers=headers) as one:
            pieces = one.iter_text()
            assert next(pieces).startswith("a")
            with Store.open(store.place) as elsewhere:
                elsewhere.keys.revoke(key.id)
            # on a connection that is kept, too
            until(lambda: kept.get(f"{url}/use", headers=headers).status_code == 401, 10)
            assert httpx2.get(f"{url}/stream", headers=headers).status_code == 401
            assert next(pieces)
            go_on.set()
            assert set("".join(pieces)) <= {"b"}  # to its end, which is none that broke off


def test_who_may_not_ask_is_not_counted(store: Store) -> None:
    limits = Limits(a_minute=1)
    client = TestClient(streaming(Gate(store.keys, limits), asyncio.Event()))
    for _ in range(3):
        assert client.get("/stream").status_code == 401
    assert len(limits) == 0
