"""After any sequence of changes, the registry equals a model of it in memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from softprompt.errors import PromptInUse, PromptNotFound, StoreError
from softprompt.registry import PromptRegistry
from tests.registry.factories import check_nothing_left_over, check_whole, several, stored

SAVED = several(3)
TENANTS, NAMES, ALIASES = ("acme", "bolt"), ("a",), ("active", "canary")
owners = st.tuples(st.sampled_from(TENANTS), st.sampled_from(NAMES))
aliases = st.sampled_from(ALIASES)
numbers = st.integers(1, 3)


@dataclass
class Known:
    """A prompt as it must be: contents by number, and what each alias was pointed to, the newest last."""

    last: int = 0
    versions: dict[int, str] = field(default_factory=dict)
    steps: dict[str, list[int | None]] = field(default_factory=lambda: {alias: [] for alias in ALIASES})

    def aliases(self) -> dict[str, int]:
        return {alias: steps[-1] for alias, steps in self.steps.items() if steps and steps[-1] is not None}

    def point(self, alias: str, number: int) -> None:
        if self.steps[alias][-1:] != [number]:
            self.steps[alias].append(number)

    def step_back(self, alias: str) -> int | None:
        steps = self.steps[alias]
        for i in range(len(steps) - 2, -1, -1):
            if steps[i] in self.versions and steps[i] != steps[-1]:
                del steps[i + 1 :]
                return steps[i]
        return None


class Machine(RuleBasedStateMachine):
    """Both, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = PromptRegistry.open(Path(self.folder.name) / "store", create=True)
        self.known = {(tenant, name): Known() for tenant in TENANTS for name in NAMES}

    def teardown(self) -> None:
        check_whole(self.store)
        self.store.close()
        self.folder.cleanup()

    @rule(owner=owners, which=st.integers(0, 2), activate=st.booleans())
    def add(self, owner: tuple[str, str], which: int, activate: bool) -> None:
        known = self.known[owner]
        version = self.store.register_prompt(SAVED[which], owner[1], tenant=owner[0], activate=activate)
        known.last += 1
        known.versions[known.last] = version.digest
        assert version.number == known.last
        if activate:
            known.point("active", known.last)

    @rule(owner=owners, number=numbers, alias=aliases)
    def activate(self, owner: tuple[str, str], number: int, alias: str) -> None:
        known = self.known[owner]
        if number in known.versions:
            self.store.activate_version(f"{owner[1]}@{number}", alias=alias, tenant=owner[0])
            known.point(alias, number)
        else:
            with pytest.raises(PromptNotFound):
                self.store.activate_version(f"{owner[1]}@{number}", alias=alias, tenant=owner[0])

    @rule(owner=owners, alias=aliases)
    def deactivate(self, owner: tuple[str, str], alias: str) -> None:
        known = self.known[owner]
        if alias in known.aliases():
            self.store.deactivate_alias(f"{owner[1]}@{alias}", tenant=owner[0])
            known.steps[alias].append(None)
        else:
            with pytest.raises(PromptNotFound):
                self.store.deactivate_alias(f"{owner[1]}@{alias}", tenant=owner[0])

    @rule(owner=owners, alias=aliases)
    def roll_back(self, owner: tuple[str, str], alias: str) -> None:
        number = self.known[owner].step_back(alias)
        if number is None:
            with pytest.raises(StoreError):
                self.store.roll_back_alias(f"{owner[1]}@{alias}", tenant=owner[0])
        else:
            assert self.store.roll_back_alias(f"{owner[1]}@{alias}", tenant=owner[0]).number == number

    @rule(owner=owners, number=st.none() | numbers)
    def remove(self, owner: tuple[str, str], number: int | None) -> None:
        known = self.known[owner]
        reference = owner[1] if number is None else f"{owner[1]}@{number}"
        going = [each for each in known.versions if number in (None, each)]
        if not going:
            with pytest.raises(PromptNotFound):
                self.store.remove_versions(reference, tenant=owner[0])
        elif set(going) & set(known.aliases().values()):
            with pytest.raises(PromptInUse):
                self.store.remove_versions(reference, tenant=owner[0])
        else:
            assert [version.number for version in self.store.remove_versions(reference, tenant=owner[0])] == going
            for each in going:
                del known.versions[each]

    @rule()
    def collect(self) -> None:
        check_nothing_left_over(self.store)

    @precondition(lambda self: any(known.versions for known in self.known.values()))
    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = PromptRegistry.open(self.store.location)

    @invariant()
    def the_same(self) -> None:
        found = {
            (prompt.tenant, prompt.name): (prompt.aliases, {v.number: v.digest for v in prompt.versions})
            for prompt in self.store.list_prompts()
        }
        known = {owner: (known.aliases(), known.versions) for owner, known in self.known.items() if known.versions}
        assert found == known
        assert {content for _, versions in known.values() for content in versions.values()} <= set(stored(self.store))


TestMachine = Machine.TestCase
TestMachine.settings = settings(stateful_step_count=40)
