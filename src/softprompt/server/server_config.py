"""The configuration of a server."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.errors import SettingError
from softprompt.server.loopback_host import require_loopback_without_auth

MIB = 2**20


@dataclass(frozen=True)
class ServerConfig:
    """The configuration of a server.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 for any free port.
        auth_enabled: whether requests need an API key; without keys only this machine is served.
        max_num_seqs: maximum sequences that run at the same time.
        max_model_len: maximum positions of a sequence: virtual tokens, text and response.
        max_num_batched_tokens: maximum tokens of an engine step; twice as many while no sequence decodes.
        max_waiting_requests: maximum requests that wait for a slot.
        kv_cache_bytes: bytes of RAM for the keys and values of running sequences.
        prompt_cache_bytes: bytes of RAM for loaded prompts.
        prefix_cache_bytes: bytes of RAM for keys and values of common text prefixes.
        num_threads: CPU threads of a model call; None for torch's setting.
        max_completion_tokens: maximum tokens of a response; None for the rest of the context.
        max_choices: maximum responses of one request: its texts times its `n`.
        max_classify_inputs: maximum texts of one classification request.
        max_body_bytes: maximum bytes of a request body.
        sequences_per_minute: responses and classified texts that a tenant may start per minute; None for no limit.
        max_parallel_sequences: responses and classified texts of a tenant that may run at once; None for no limit.
        request_timeout: maximum seconds of a request.
        shutdown_timeout: seconds that running requests have to finish when the server stops.

    Raises:
        SettingError: a value is out of range, or a server without keys would be reachable from other machines.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    auth_enabled: bool = True
    max_num_seqs: int = 64
    max_model_len: int = 2048
    max_num_batched_tokens: int = 256
    max_waiting_requests: int = 256
    kv_cache_bytes: int = 2048 * MIB
    prompt_cache_bytes: int = 512 * MIB
    prefix_cache_bytes: int = 256 * MIB
    num_threads: int | None = None
    max_completion_tokens: int | None = None
    max_choices: int = 128
    max_classify_inputs: int = 1024
    max_body_bytes: int = MIB
    sequences_per_minute: int | None = None
    max_parallel_sequences: int | None = None
    request_timeout: float = 600.0
    shutdown_timeout: float = 30.0

    def __post_init__(self) -> None:
        checks = {
            f"`port={self.port}`: choose 0 to 65535": 0 <= self.port <= 65535,
            f"`max_num_seqs={self.max_num_seqs}`: choose at least 1": self.max_num_seqs >= 1,
            f"`max_model_len={self.max_model_len}`: choose at least 2": self.max_model_len >= 2,
            f"`max_waiting_requests={self.max_waiting_requests}`: choose at least 1": self.max_waiting_requests >= 1,
            f"`num_threads={self.num_threads}`: choose 1 to 1024": self.num_threads is None
            or 1 <= self.num_threads <= 1024,
            f"`request_timeout={self.request_timeout:g}`: choose above 0": self.request_timeout > 0,
            f"`shutdown_timeout={self.shutdown_timeout:g}`: choose 0 or more": self.shutdown_timeout >= 0,
        }
        if problems := [problem for problem, is_valid in checks.items() if not is_valid]:
            raise SettingError("; ".join(problems))
        require_loopback_without_auth(self.host, self.auth_enabled)
