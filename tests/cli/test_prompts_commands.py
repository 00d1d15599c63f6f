"""`softprompt prompts`: the registry on the command line."""

from __future__ import annotations

import getpass
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.cli.conftest import Ran, Softprompt, tuned
from tests.conftest import REVIEWS


class Prompts:
    """`softprompt prompts` on one registry."""

    def __init__(self, softprompt: Softprompt, store: Path):
        self.softprompt, self.store = softprompt, store

    def __call__(self, command: str, *options: object) -> Ran:
        return self.softprompt("prompts", command, *options, "--store", self.store)

    def add(self, prompt: Path, *options: object) -> Any:
        return self("add", prompt, "--name", "reviews", *options, "--json").json


@pytest.fixture
def prompts(softprompt: Softprompt, tmp_path: Path) -> Prompts:
    return Prompts(softprompt, tmp_path / "store")


@pytest.fixture
def file_of(prompts: Prompts) -> Any:
    """Function that returns the stored tensor file of a version."""

    def find(version: dict[str, Any]) -> Path:
        [file] = (prompts.store / "prompts" / version["digest"]).glob("*.safetensors")
        return file

    return find


def test_prompts_add_with_compile_stores_a_kv_prefix(prompts: Prompts, classifier: Path, base: Path) -> None:
    added = prompts.add(classifier, "--compile", base)
    with PromptRegistry.open(prompts.store) as store:
        [version] = store.list_prompts()[0].versions
        assert version.digest == added["digest"]
        assert store.load_prompt(version).manifest.payload == "prefix"
    prompts("add", classifier, "--name", "other", "--compile", "nothing").refused("nothing")


def test_added_prompts_are_listed_with_versions_and_aliases(prompts: Prompts, classifier: Path, writer: Path) -> None:
    manifest = SavedPrompt.from_folder(classifier).manifest
    added = prompts.add(classifier, "--note", "first try", "--actor", "ada")
    assert added == {
        "tenant": "default",
        "name": "reviews",
        "number": 1,
        "digest": manifest.content_hash.removeprefix("sha256:"),
        "size_bytes": sum(file.stat().st_size for file in classifier.iterdir()),
        "method": "prefix",
        "num_virtual_tokens": 3,
        "task": "classification",
        "base_model": manifest.base.name,
        "fingerprint": manifest.base.fingerprint,
        "created_at": added["created_at"],
        "created_by": "ada",
        "note": "first try",
        "active": True,
    }
    assert added["created_at"].endswith("+00:00")
    second = prompts.add(writer, "--tenant", "acme", "--no-activate")
    assert (second["active"], second["created_by"]) == (False, getpass.getuser())
    found = prompts("list", "--json").json["prompts"]
    assert [(each["tenant"], each["name"], each["aliases"]) for each in found] == [
        ("acme", "reviews", {}),
        ("default", "reviews", {"active": 1}),
    ]
    assert found[1]["versions"] == [{name: value for name, value in added.items() if name != "active"}]
    assert prompts("list", "--tenant", "acme", "--json").json["prompts"] == found[:1]


def test_prompts_commands_print_sentences_and_tables(
    prompts: Prompts, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.cli.console.stdout_console.width", 200)

    def said(command: str, *options: object) -> str:
        ran = prompts(command, *options)
        assert ran.code == 0, ran.err
        return " ".join(ran.out.split())

    assert said("add", classifier, "--name", "reviews", "--note", "[/b]") == "Added reviews@1 and activated it."
    assert said("add", classifier, "--name", "reviews", "--no-activate") == "Added reviews@2."
    listed = said("list")
    for word in ("reviews@1", "active", "classification", "[/b]"):
        assert word in listed
    assert said("activate", "reviews@2") == "reviews@2 is active now."
    assert said("activate", "reviews@2", "--alias", "canary") == "reviews@2 is canary now."
    assert said("rollback", "reviews") == "reviews@1 is active again."
    assert said("deactivate", "reviews@canary") == "reviews@2 is no longer canary."
    assert said("remove", "reviews@2") == "Removed reviews@2."
    assert said("verify") == "1 stored prompts, 0 of them corrupt."
    assert said("gc", "--grace-period", 0) == "Deleted 0 stored prompts, 0 bytes."
    history = said("history")
    for word in ("rollback", "deactivate", "reviews@2", "alias canary", getpass.getuser()):
        assert word in history
    assert said("list", "--tenant", "nobody") == "There are no prompts."


def test_versions_are_activated_rolled_back_and_removed(prompts: Prompts, classifier: Path, writer: Path) -> None:
    for _ in range(2):
        prompts.add(classifier)
    assert prompts("activate", "reviews@1", "--json").json["alias"] == "active"
    assert prompts("rollback", "reviews", "--json").json["number"] == 2
    prompts("remove", "reviews").refused("reviews@2 is 'active'", "`softprompt prompts deactivate reviews`")
    assert prompts("deactivate", "reviews", "--json").json["number"] == 2
    removed = prompts("remove", "reviews", "--json").json["removed"]
    assert [each["number"] for each in removed] == [1, 2]
    assert prompts("list", "--json").json == {"prompts": []}
    assert prompts("gc", "--grace-period", 0, "--json").json == {
        "deleted": [removed[0]["digest"]],
        "size_bytes": removed[0]["size_bytes"],
    }
    events = prompts("history", "reviews", "--limit", 3, "--json").json["events"]
    assert [(event["action"], event["version"]) for event in events] == [
        ("remove", 2),
        ("remove", 1),
        ("deactivate", 2),
    ]


def test_prompts_verify_names_the_versions_of_a_corrupt_artifact(
    prompts: Prompts, classifier: Path, writer: Path, file_of: Any
) -> None:
    mine, same = prompts.add(classifier, "--tenant", "acme"), prompts.add(classifier)
    assert prompts("verify", "--json").json == {
        "is_intact": True,
        "num_referenced": 1,
        "corrupt": [],
        "num_unreferenced": 0,
        "database_problem": None,
    }
    file_of(mine).write_bytes(b"something else")
    ran = prompts("verify")
    assert ran.code == 2
    assert "corrupt: acme/reviews@1, default/reviews@1:" in ran.out
    assert "add the same prompt again" in ran.out
    assert "1 stored prompts, 1 of them corrupt." in ran.out
    ran = prompts("verify", "--json")
    assert ran.code == 2
    [damage] = Ran(0, ran.out, "").json["corrupt"]
    assert [version["tenant"] for version in damage["versions"]] == ["acme", "default"]
    assert damage["digest"] == same["digest"]
    prompts.add(classifier)
    assert prompts("verify").code == 0


def test_invalid_registry_commands_are_rejected(
    prompts: Prompts, softprompt: Softprompt, classifier: Path, other_base: Path, tmp_path: Path
) -> None:
    prompts("list").refused("no prompt registry in", "or set --store to another one")
    prompts("add", tmp_path, "--name", "reviews").refused("is not a saved prompt")
    prompts("add", classifier, "--name", "Reviews").refused("invalid prompt name 'Reviews'")
    prompts.add(classifier)
    stranger = tuned(tmp_path, other_base, REVIEWS)
    prompts("add", stranger, "--name", "reviews").refused("the versions of reviews are for", "under another name")
    prompts("activate", "reviews").refused("names no version")
    prompts("activate", "reviews@4").refused("reviews@4 does not exist: the newest version is reviews@1")
    prompts("rollback", "reviews", "--tenant", "acme").refused("acme has no prompt 'reviews'")
    prompts("rollback", "reviews").refused("'active' of reviews has no previous version to roll back to")
    softprompt("prompts", "add", classifier, "--name", "a", "--store", classifier).refused(
        "is not a registry and contains"
    )


def test_the_registry_location_is_read_from_the_environment(
    softprompt: Softprompt, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert softprompt("prompts", "add", classifier, "--name", "here").code == 0
    monkeypatch.setenv("SOFTPROMPT_STORE", str(tmp_path / "there"))
    assert softprompt("prompts", "add", classifier, "--name", "there").code == 0
    for folder, name in (("store", "here"), ("there", "there")):
        with PromptRegistry.open(tmp_path / folder) as store:
            assert [prompt.name for prompt in store.list_prompts()] == [name]


def test_missing_sqlalchemy_is_reported_with_the_install_command(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["sqlalchemy"] = None
from softprompt.cli.main import run_cli
sys.exit(run_cli(["prompts", "list"]))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "pip install 'softprompt[serve]'" in ran.stderr


def test_commands_without_a_prompt_do_not_import_torch(prompts: Prompts, classifier: Path) -> None:
    prompts.add(classifier)
    script = f"""
import sys
from softprompt.cli.main import run_cli
for command in (["list"], ["activate", "reviews@1"], ["history"], ["deactivate", "reviews"], ["rollback", "reviews"]):
    assert run_cli(["prompts", *command, "--store", {str(prompts.store)!r}]) == 0
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_an_artifact_location_with_other_files_is_rejected_and_unchanged(
    softprompt: Softprompt, prompts: Prompts, tmp_path: Path, classifier: Path
) -> None:
    (tmp_path / "mine" / ".git").mkdir(parents=True)
    for command in (["prompts", "add", classifier, "--name", "reviews"], ["keys", "create", "--tenant", "acme"]):
        ran = softprompt(*command, "--store", prompts.store, "--artifact-location", tmp_path / "mine")
        ran.refused(str(tmp_path / "mine"), "contains .git", "choose an empty --artifact-location")
        assert [path.name for path in (tmp_path / "mine").iterdir()] == [".git"]
