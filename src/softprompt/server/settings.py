"""What the operator chose."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.errors import SettingError
from softprompt.server.loopback import check_host

MIB = 2**20


@dataclass(frozen=True)
class ServerSettings:
    """How a server runs.

    Attributes:
        host: the address that it listens at.
        port: 0 for any that is free.
        keys: whether requests need a key; without, only this machine is served.
        slots: rows that run at once.
        length: positions of a row: virtual tokens, text and response.
        tokens: that go through the model in a step; twice as many while no row writes.
        waiting: requests that may wait for a slot.
        memory: bytes of RAM that the rows' keys and values may take.
        prompt_memory: bytes of RAM for prompts that were used lately.
        text_memory: bytes of RAM for what was made of texts that begin alike.
        threads: that a call of the model is divided among, on a CPU; None for as many as torch is set to.
        longest_answer: the tokens that a response may have; None for what fits in a row.
        most_choices: the responses that one request may ask for: its texts times its `n`.
        most_inputs: the texts that one classification may have.
        largest_body: bytes of a request.
        a_minute: responses, and texts to classify, that a tenant may begin in a minute; None for any number.
        at_once: responses, and texts to classify, of a tenant that may run; None for any number.
        deadline: seconds for a response.
        grace: seconds that running requests have to end when the server stops.

    Raises:
        SettingError: a value that cannot work, or others than this machine served without keys.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: bool = True
    slots: int = 64
    length: int = 2048
    tokens: int = 256
    waiting: int = 256
    memory: int = 2048 * MIB
    prompt_memory: int = 512 * MIB
    text_memory: int = 256 * MIB
    threads: int | None = None
    longest_answer: int | None = None
    most_choices: int = 128
    most_inputs: int = 1024
    largest_body: int = MIB
    a_minute: int | None = None
    at_once: int | None = None
    deadline: float = 600.0
    grace: float = 30.0

    def __post_init__(self) -> None:
        right = {
            f"`port={self.port}`: choose 0 to 65535": 0 <= self.port <= 65535,
            f"`slots={self.slots}`: choose at least 1": self.slots >= 1,
            f"`length={self.length}`: choose at least 2": self.length >= 2,
            f"`waiting={self.waiting}`: choose at least 1": self.waiting >= 1,
            f"`threads={self.threads}`: choose 1 to 1024": self.threads is None or 1 <= self.threads <= 1024,
            f"`deadline={self.deadline:g}`: choose above 0": self.deadline > 0,
            f"`grace={self.grace:g}`: choose 0 or more": self.grace >= 0,
        }
        if wrong := [complaint for complaint, is_right in right.items() if not is_right]:
            raise SettingError("; ".join(wrong))
        check_host(self.host, self.keys)
