"""Starts a server in its own process, as an operator would, for the serving benchmarks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import softprompt
from benchmarks.lib.random_models import BOS, EOS, create_random_model
from softprompt.model import FrozenModel, KVPrefix
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, Task

GENERATION_TASK = GenerationTask(template="Text: {input}\nAnswer:")
CLASSIFICATION_TASK = ClassificationTask(labels=("good", "bad"), template="Text: {text}\nIt is")
VOCABULARY = (
    "the film was great fun a bore lovely awful good bad its plot ending scene and each of Text Answer It is : not"
)


@dataclass(frozen=True)
class ServerProcess:
    """A running server.

    Attributes:
        url: URL of the server.
        api_key: API key with the scope `manage`.
        admin_key: API key with the scope `admin`.
        process: the process.
        model: the served model, loaded in this process.
        base_model: name of the base model in requests.
    """

    url: str
    api_key: str
    admin_key: str
    process: subprocess.Popen[str]
    model: FrozenModel
    base_model: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}"}

    @property
    def rss_mebibytes(self) -> float:
        """Resident memory of the process in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def read_metrics(self) -> dict[str, float]:
        """Read the server's metrics, by their names without labels."""
        text = httpx2.get(f"{self.url}/metrics", headers={"authorization": f"Bearer {self.admin_key}"}, timeout=60).text
        return {name: float(value) for name, value in re.findall(r"^softprompt_(\w+) (\S+)$", text, re.MULTILINE)}


def make_random_prompt(model: FrozenModel, task: Task, seed: int, num_virtual_tokens: int = 16) -> SavedPrompt:
    """Make a prefix of random keys and values, which changes every response."""
    drawn = torch.randn(model.shape.get_prefix_shape(num_virtual_tokens), generator=torch.Generator().manual_seed(seed))
    payload = KVPrefix(drawn)
    return SavedPrompt.from_payload(model, payload, task, method={"name": "prefix"}, trained_parameters=drawn.numel())


def train_byte_tokenizer() -> PreTrainedTokenizerFast:
    """Train a tokenizer of a few words and all bytes, which can generate any text, also in a grammar."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=[BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([VOCABULARY, f" {VOCABULARY}"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS)


@contextmanager
def run_server(name: str, folder: Path, options: Sequence[str] = ()) -> Iterator[ServerProcess]:
    """Run a server with a model, `tiny` or a value of `--model`, and an empty registry in a folder."""
    if name == "tiny":
        model, name = create_random_model("tiny", "float32", "cpu", [VOCABULARY]), str(folder / "tiny")
        model.network.save_pretrained(name)
        train_byte_tokenizer().save_pretrained(name)
    model = softprompt.load_model(name, device="cpu")
    with softprompt.PromptRegistry.open(folder / "store", create=True) as store:
        key, admin = (store.api_keys.create_key("acme", scope)[1] for scope in ("manage", "admin"))
    command = [sys.executable, "-m", "softprompt", "serve", "--model", name, "--store", str(folder / "store")]
    command += ["--port", "0", "--device", "cpu", *options]
    with (
        (folder / "log.txt").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        ) as process,
    ):
        try:
            yield ServerProcess(_wait_for_url(process), key, admin, process, model, Path(name).name)
        finally:
            process.terminate()
            process.wait(60)


def _wait_for_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+(?=/v1)", line)
    if found is None:
        raise SystemExit(f"the server did not start: {line}")
    while True:
        try:
            if httpx2.get(f"{found[0]}/ready").status_code == 200:
                return found[0]
        except httpx2.TransportError:
            time.sleep(0.05)


def upload_prompt(server: ServerProcess, name: str, saved: SavedPrompt, *, activate: bool = True) -> str:
    """Upload a prompt, and return its version, such as `reviews@3`."""
    files = [("file", (file, content)) for file, content in saved.files.items()]
    data = {"name": name, "activate": str(activate).lower()}
    answer = httpx2.post(f"{server.url}/v1/prompts", data=data, files=files, headers=server.headers, timeout=60)
    return str(answer.raise_for_status().json()["model"])
