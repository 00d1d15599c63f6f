"""`/v1/prompts` over HTTP: uploads, aliases, removal and pages of a tenant's prompts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from softprompt.registry import PromptRegistry
from softprompt.server.prompts.upload_validator import UploadLimits, UploadValidator
from tests.registry.bulk_fill import Statements, fill_store
from tests.registry.factories import check_whole, several, stored
from tests.saved.factories import make
from tests.server.minimal_app import gated, serving
from tests.server.prompts.test_upload_validator import MODEL

SAVED = several(3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PromptRegistry]:
    with PromptRegistry.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def client(store: PromptRegistry) -> TestClient:
    return TestClient(gated(store, uploads=UploadValidator(MODEL)))


def key(store: PromptRegistry, tenant: str = "acme", scope: str = "manage") -> dict[str, str]:
    return {"Authorization": f"Bearer {store.api_keys.create_key(tenant, scope)[1]}"}


def upload(client: TestClient, headers: dict[str, str], files: Any = None, **fields: str) -> httpx2.Response:
    files = SAVED[0].files if files is None else files
    parts = [("file", (name, content)) for name, content in files.items()]
    return client.post("/v1/prompts", headers=headers, files=parts, data={"name": "reviews", **fields})  # type: ignore[return-value]


def refused(answer: Any) -> str:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return f"{answer.status_code} {error['code']}"


def test_an_uploaded_prompt_is_listed(client: TestClient, store: PromptRegistry) -> None:
    headers = key(store)
    answer = upload(client, headers, note="the first")
    assert answer.status_code == 201, answer.text
    added = answer.json()
    assert (added["model"], added["version"], added["note"]) == ("reviews@1", 1, "the first")
    assert added["digest"] == SAVED[0].manifest.content_hash
    assert added["created_by"].startswith("key ")
    version = store.resolve_version("reviews", tenant="acme")
    assert store.load_prompt(version).files == SAVED[0].files
    [listed] = client.get("/v1/prompts", headers=key(store, scope="use")).json()["data"]
    assert (listed["name"], listed["aliases"], listed["versions"]) == ("reviews", {"active": 1}, [added])
    check_whole(store)


def test_versions_are_activated_and_rolled_back(client: TestClient, store: PromptRegistry) -> None:
    headers = key(store)
    for i, active in enumerate(("true", "false")):
        assert upload(client, headers, SAVED[i].files, activate=active).json()["version"] == i + 1
    assert store.resolve_version("reviews", tenant="acme").number == 1

    def post(what: str, body: Any = None) -> Any:
        return client.post(f"/v1/prompts/reviews/{what}", headers=headers, json=body)

    assert post("activate", {"version": 2}).json()["model"] == "reviews@2"
    assert post("activate", {"version": 1, "alias": "canary"}).json()["version"] == 1
    assert post("rollback", {}).json()["version"] == 1
    assert client.post("/v1/prompts/reviews/activate", headers=headers, json={"version": 2}).status_code == 200
    assert client.post("/v1/prompts/reviews/rollback", headers=headers).json()["version"] == 1
    assert refused(post("rollback", {})) == "409 no_previous_version"
    assert post("deactivate", {"alias": "canary"}).json()["version"] == 1
    assert refused(client.delete("/v1/prompts/reviews/versions/1", headers=headers)) == "409 prompt_in_use"
    gone = client.delete("/v1/prompts/reviews/versions/2", headers=headers).json()
    assert (gone["model"], gone["deleted"]) == ("reviews@2", True)
    told = [event["action"] for event in client.get("/v1/prompts/reviews/history", headers=headers).json()["data"]]
    assert told[:3] == ["remove", "deactivate", "rollback"]
    assert told[-1] == "add"
    check_whole(store)


def test_changing_another_tenants_prompt_returns_404(client: TestClient, store: PromptRegistry) -> None:
    upload(client, key(store, "acme"), name="secret")
    before, other = store.list_prompts(), key(store, "bolt")
    assert client.get("/v1/prompts", headers=other).json()["data"] == []
    answers: dict[str, list[tuple[int, str]]] = {}
    for name in ("secret", "absent"):
        asked = [
            client.post(f"/v1/prompts/{name}/activate", headers=other, json={"version": 1}),
            client.post(f"/v1/prompts/{name}/rollback", headers=other),
            client.post(f"/v1/prompts/{name}/deactivate", headers=other),
            client.delete(f"/v1/prompts/{name}/versions/1", headers=other),
            client.get(f"/v1/prompts/{name}/history", headers=other),
        ]
        answers[name] = [(answer.status_code, answer.text.replace(name, "NAME")) for answer in asked]
    assert answers["secret"] == answers["absent"]
    assert [status for status, _ in answers["secret"]] == [404, 404, 404, 404, 200]
    assert store.list_prompts() == before


def test_prompts_versions_and_history_are_paginated(client: TestClient, store: PromptRegistry) -> None:
    headers = key(store, "acme")
    fill_store(store, SAVED[0], [("acme", name) for name in ("a", "b", "c-a")], versions=25)

    def page(path: str, **query: object) -> dict[str, Any]:
        answer = client.get(path, headers=headers, params={name: str(value) for name, value in query.items()})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    first = page("/v1/prompts", limit=2)
    assert ([each["name"] for each in first["data"]], first["last_id"], first["has_more"]) == (["a", "b"], "b", True)
    second = page("/v1/prompts", limit=2, after="b")
    assert ([each["name"] for each in second["data"]], second["has_more"]) == (["c-a"], False)
    assert [each["name"] for each in page("/v1/prompts", search="A")["data"]] == ["a", "c-a"]
    assert page("/v1/prompts", after="z") == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    prompt = first["data"][0]
    assert prompt["num_versions"] == 25
    assert [version["version"] for version in prompt["versions"]] == list(range(6, 26))
    newest = page("/v1/prompts/a/versions", limit=20)
    assert newest["data"] == prompt["versions"][::-1]
    oldest = page("/v1/prompts/a/versions", after=newest["last_id"])
    assert ([each["version"] for each in oldest["data"]], oldest["has_more"]) == ([5, 4, 3, 2, 1], False)
    events = page("/v1/prompts/a/history", limit=20)
    later = page("/v1/prompts/a/history", after=events["last_id"])
    assert (len(later["data"]), later["has_more"]) == (6, False)
    ids = [event["id"] for event in events["data"] + later["data"]]
    assert ids == sorted(ids, reverse=True)
    assert refused(client.get("/v1/prompts/nothing/versions", headers=headers)) == "404 prompt_not_found"


@pytest.mark.parametrize("path", ["", "/a/versions", "/a/history"])
@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after=" + "9" * 300])
def test_invalid_page_parameters_are_rejected(client: TestClient, store: PromptRegistry, path: str, query: str) -> None:
    answer = client.get(f"/v1/prompts{path}?{query}", headers=key(store, "acme"))
    assert refused(answer) == "400 invalid_value"
    assert answer.json()["error"]["param"] == query.partition("=")[0]


def test_endpoints_require_their_scopes(client: TestClient, store: PromptRegistry) -> None:
    use = key(store, scope="use")
    assert client.get("/v1/prompts", headers=use).status_code == 200
    assert refused(upload(client, use)) == "403 insufficient_permissions"
    assert refused(client.post("/v1/prompts/a/rollback", headers=use)) == "403 insufficient_permissions"
    assert refused(upload(client, {})) == "401 invalid_api_key"
    assert refused(client.get("/v1/prompts")) == "401 invalid_api_key"
    admin = {**key(store, "boss", "admin"), "X-Softprompt-Tenant": "acme"}
    assert upload(client, admin).status_code == 201
    assert store.resolve_version("reviews", tenant="acme").number == 1


@pytest.mark.parametrize(
    ("files", "fields", "expected"),
    [
        ({}, {}, "415 unsupported_media_type"),
        ({"other.bin": b"x"}, {}, "400 invalid_prompt"),
        ({"softprompt.json": b"{}"}, {}, "400 invalid_prompt"),
        ({**SAVED[0].files, "adapter_model.safetensors": b"\x80\x04."}, {}, "400 invalid_prompt"),
        (None, {"name": "No Name"}, "400 invalid_value"),
        (None, {"name": "a@1"}, "400 invalid_value"),
        (None, {"activate": "perhaps"}, "400 invalid_value"),
        (None, {"colour": "red"}, "400 None"),
    ],
)
def test_a_rejected_upload_stores_nothing(
    client: TestClient, store: PromptRegistry, files: Any, fields: dict[str, str], expected: str
) -> None:
    assert refused(upload(client, key(store), files, **fields)) == expected
    assert store.list_prompts() == []
    assert stored(store) == []


def test_invalid_multipart_bodies_are_rejected(client: TestClient, store: PromptRegistry) -> None:
    headers = key(store)
    assert refused(client.post("/v1/prompts", headers=headers, json={})) == "415 unsupported_media_type"
    kind = {**headers, "Content-Type": "multipart/form-data"}
    assert client.post("/v1/prompts", headers=kind, content=b"x").status_code == 400
    kind = {**headers, "Content-Type": "multipart/form-data; boundary=a"}
    assert client.post("/v1/prompts", headers=kind, content=b"--a\r\n\r\nx").status_code == 400
    many = [("file", (f"{i}", b"x")) for i in range(9)]
    assert client.post("/v1/prompts", headers=headers, files=many, data={"name": "a"}).status_code == 400


def test_a_tenants_storage_is_limited(store: PromptRegistry) -> None:
    size = sum(map(len, SAVED[0].files.values()))
    client = TestClient(gated(store, uploads=UploadValidator(MODEL, UploadLimits(max_tenant_bytes=2 * size + 10))))
    headers = key(store)
    assert [upload(client, headers).status_code for _ in range(2)] == [201, 201]
    assert refused(upload(client, headers)) == "403 storage_limit_exceeded"
    assert upload(client, key(store, "bolt")).status_code == 201
    store.deactivate_alias("reviews", tenant="acme")
    store.remove_versions("reviews@1", tenant="acme")
    assert upload(client, headers).status_code == 201  # what was removed takes no room
    assert len(store.resolve_version("reviews@2", tenant="acme").digest) == 64


def test_the_queries_of_an_upload_do_not_depend_on_the_number_of_versions(
    client: TestClient, store: PromptRegistry
) -> None:
    headers = key(store)
    asked = []
    for versions in (1, 40):
        fill_store(store, SAVED[0], [("acme", "reviews")], versions=versions)
        with Statements() as statements:
            assert upload(client, headers).status_code == 201
        asked.append([statement for statement, _ in statements.asked if "FROM keys" not in statement])
    assert asked[0] == asked[1]
    assert not [statement for statement in asked[0] if "sum(" in statement]


def test_curl_uploads_a_prompt(store: PromptRegistry, tmp_path: Path) -> None:
    make().save_to(tmp_path / "reviews")
    folder = tmp_path / "reviews"
    with serving(gated(store, uploads=UploadValidator(MODEL))) as (port, _server):
        command = [
            "curl",
            "-sS",
            f"http://127.0.0.1:{port}/v1/prompts",
            "-H",
            f"Authorization: {key(store)['Authorization']}",
        ]
        command += ["-F", "name=reviews"]
        for file in sorted(folder.iterdir()):
            command += ["-F", f"file=@{file}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert '"model":"reviews@1"' in done.stdout
    assert store.load_prompt(store.resolve_version("reviews", tenant="acme")).files == make().files
