"""Counts, as Prometheus reads them; and who may read them."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from softprompt.server.metrics import OTHERS, Metrics
from softprompt.store import Store
from tests.server.gated import gated


def samples(text: bytes) -> dict[tuple[str, str], float]:
    """Every number, by its name and its labels' values."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, ",".join(s.labels.values())): s.value for family in families for s in family.samples}


def test_what_is_told_is_counted() -> None:
    metrics = Metrics()
    metrics.first_token(0.2)
    metrics.between_tokens(0.01)
    metrics.queued(0.3)
    metrics.request("/v1/chat/completions", 200, 1.5)
    metrics.step(3)
    metrics.load(2, 5)
    metrics.tokens("acme", read=7, written=2)
    metrics.tokens("acme", written=3)
    metrics.swapped()
    metrics.shelf(4, 4096)
    metrics.hit()
    metrics.missed()
    metrics.error("rate_limit_exceeded")
    found = samples(metrics.text())
    expected = {
        ("softprompt_first_token_seconds_sum", ""): 0.2,
        ("softprompt_between_tokens_seconds_count", ""): 1,
        ("softprompt_queue_seconds_sum", ""): 0.3,
        ("softprompt_request_seconds_sum", "/v1/chat/completions,200"): 1.5,
        ("softprompt_step_rows_sum", ""): 3,
        ("softprompt_running", ""): 2,
        ("softprompt_waiting", ""): 5,
        ("softprompt_tokens_total", "read,acme"): 7,
        ("softprompt_tokens_total", "written,acme"): 5,
        ("softprompt_prompt_swaps_total", ""): 1,
        ("softprompt_prompts_in_memory", ""): 4,
        ("softprompt_prompt_bytes_in_memory", ""): 4096,
        ("softprompt_prompt_lookups_total", "memory"): 1,
        ("softprompt_prompt_lookups_total", "disk"): 1,
        ("softprompt_errors_total", "rate_limit_exceeded"): 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_tenants_are_bounded() -> None:
    metrics = Metrics(tenants=2)
    for tenant in ("a", "b", "c", "d", "a"):
        metrics.tokens(tenant, read=1)
    found = {
        labels: value for (name, labels), value in samples(metrics.text()).items() if name.endswith("tokens_total")
    }
    assert found == {"read,a": 2, "read,b": 1, f"read,{OTHERS}": 2}


def test_two_servers_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.swapped()
    assert samples(other.text())["softprompt_prompt_swaps_total", ""] == 0


def test_an_administrator_reads_them_and_nobody_else(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        client = TestClient(gated(store))
        for scope, status in (("use", 403), ("manage", 403), ("admin", 200)):
            text = store.keys.create("acme", scope)[1]
            assert client.get("/metrics", headers={"Authorization": f"Bearer {text}"}).status_code == status
        assert client.get("/metrics").status_code == 401
        answer = TestClient(gated(store, keys=False)).get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert samples(answer.content)
