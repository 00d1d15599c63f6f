"""What vLLM calls in each of its processes, since softprompt is installed beside it."""

from __future__ import annotations

CONNECTOR = "SoftpromptConnector"
MODULE = "softprompt.vllm.connector"


def register() -> None:
    """Let `--kv-transfer-config` name the connector. Called again, it does nothing."""
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

    if CONNECTOR not in KVConnectorFactory._registry:
        KVConnectorFactory.register_connector(CONNECTOR, MODULE, CONNECTOR)
