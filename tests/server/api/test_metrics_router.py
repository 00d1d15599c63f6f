"""`/metrics` in the Prometheus format, and the scope that it requires."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from softprompt.registry import PromptRegistry
from softprompt.server.server_metrics import OTHER_TENANTS_LABEL, ServerMetrics
from tests.server.minimal_app import gated


def samples(text: bytes) -> dict[tuple[str, str], float]:
    """Every number, by its name and its labels' values."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, ",".join(s.labels.values())): s.value for family in families for s in family.samples}


def test_recorded_metrics_are_exported_in_the_prometheus_format() -> None:
    metrics = ServerMetrics()
    metrics.observe_first_token(0.2)
    metrics.observe_inter_token(0.01)
    metrics.observe_queue_time(0.3)
    metrics.observe_request("/v1/chat/completions", 200, 1.5)
    metrics.observe_step(3)
    metrics.set_load(2, 5)
    metrics.count_tokens("acme", prompt_tokens=7, completion_tokens=2)
    metrics.count_tokens("acme", completion_tokens=3)
    metrics.count_prompt_swap()
    metrics.set_prompt_cache(4, 4096)
    metrics.count_cache_hit()
    metrics.count_cache_miss()
    metrics.count_error("rate_limit_exceeded")
    found = samples(metrics.render_text())
    expected = {
        ("softprompt_time_to_first_token_seconds_sum", ""): 0.2,
        ("softprompt_inter_token_latency_seconds_count", ""): 1,
        ("softprompt_request_queue_time_seconds_sum", ""): 0.3,
        ("softprompt_http_request_duration_seconds_sum", "/v1/chat/completions,200"): 1.5,
        ("softprompt_step_num_seqs_sum", ""): 3,
        ("softprompt_num_requests_running", ""): 2,
        ("softprompt_num_requests_waiting", ""): 5,
        ("softprompt_tokens_total", "acme,prompt"): 7,
        ("softprompt_tokens_total", "acme,completion"): 5,
        ("softprompt_prompt_version_changes_total", ""): 1,
        ("softprompt_prompt_cache_entries", ""): 4,
        ("softprompt_prompt_cache_bytes", ""): 4096,
        ("softprompt_prompt_cache_lookups_total", "hit"): 1,
        ("softprompt_prompt_cache_lookups_total", "miss"): 1,
        ("softprompt_errors_total", "rate_limit_exceeded"): 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_the_number_of_tenant_labels_in_metrics_is_bounded() -> None:
    metrics = ServerMetrics(max_tenant_labels=2)
    for tenant in ("a", "b", "c", "d", "a"):
        metrics.count_tokens(tenant, prompt_tokens=1)
    found = {
        labels: value
        for (name, labels), value in samples(metrics.render_text()).items()
        if name.endswith("tokens_total")
    }
    assert found == {"a,prompt": 2, "b,prompt": 1, f"{OTHER_TENANTS_LABEL},prompt": 2}


def test_servers_have_separate_metrics() -> None:
    one, other = ServerMetrics(), ServerMetrics()
    one.count_prompt_swap()
    assert samples(other.render_text())["softprompt_prompt_version_changes_total", ""] == 0


def test_metrics_require_the_admin_scope(tmp_path: Path) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        client = TestClient(gated(store))
        for scope, status in (("use", 403), ("manage", 403), ("admin", 200)):
            text = store.api_keys.create_key("acme", scope)[1]
            assert client.get("/metrics", headers={"Authorization": f"Bearer {text}"}).status_code == status
        assert client.get("/metrics").status_code == 401
        answer = TestClient(gated(store, keys=False)).get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert samples(answer.content)
