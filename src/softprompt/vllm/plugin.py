"""What vLLM calls in each of its processes, since softprompt is installed beside it."""

from __future__ import annotations

from softprompt.vllm_protocol import CONNECTOR_NAME

CONNECTOR_MODULE = "softprompt.vllm.connector"


def register() -> None:
    """Let `--kv-transfer-config` name the connector. Called again, it does nothing."""
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

    if CONNECTOR_NAME not in KVConnectorFactory._registry:
        KVConnectorFactory.register_connector(CONNECTOR_NAME, CONNECTOR_MODULE, CONNECTOR_NAME)
