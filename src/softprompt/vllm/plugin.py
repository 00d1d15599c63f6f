"""Entry point that vLLM calls in each of its processes."""

from __future__ import annotations

from softprompt.vllm_protocol import CONNECTOR_NAME

CONNECTOR_MODULE = "softprompt.vllm.connector"


def register() -> None:
    """Register the connector for `--kv-transfer-config`. Idempotent."""
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

    if CONNECTOR_NAME not in KVConnectorFactory._registry:
        KVConnectorFactory.register_connector(CONNECTOR_NAME, CONNECTOR_MODULE, CONNECTOR_NAME)
