"""The page at `/`, in headless Chromium, against a server that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from softprompt.server.api.playground_router import STATIC_FILES
from softprompt.tasks import ClassificationTask
from tests.browser import browsing
from tests.server.api.playground_page import TEXT, TOKENS, answered, ask, card, choose, held, opened, violations
from tests.server.live_server import ANSWERS, BASE, Running, prompt_for, running, until
from tests.strategies import random_embeddings

HOSTILE = '<img src="/nothing" onerror="document.title = 1">'
NARROW = {"width": 360, "height": 780}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> Iterator[Running]:
    """A server that asks for keys, with prompts of three tenants."""
    folder = tmp_path_factory.mktemp("keyed") / "store"
    task = ClassificationTask(labels=(HOSTILE, "bad"), template="{text}\nIt is")
    payload, figures = (
        random_embeddings(chatting, 3, seed=0),
        {"accuracy": 0.9166, "loss": 0.25, "else": "<b>", "none": float("nan"), "huge": 10**400},
    )
    labels = SavedPrompt.from_payload(
        chatting, payload, task, method={"name": "prompt"}, trained_parameters=72, metrics={"validation": figures}
    )
    with PromptRegistry.open(folder, create=True) as store:
        store.register_prompt(labels, "labels", tenant="acme")
        answers = prompt_for(chatting, ANSWERS)
        store.register_prompt(answers, "secret", tenant="other")
        for number in range(120):
            store.register_prompt(answers, f"customer-{number:03d}", tenant="many")
    with running(folder, chatting, auth_enabled=True) as server:
        yield server


@pytest.fixture
def page(browser: Browser, served: Running) -> Iterator[Page]:
    with opened(browser, served) as one:
        expect(one.get_by_role("checkbox").first).to_be_visible()
        yield one


def test_the_api_reference_is_accessible(browser: Browser, served: Running) -> None:
    with opened(browser, served) as page:
        page.goto("/docs")
        expect(page.get_by_role("heading", name="POST /v1/chat/completions")).to_be_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
        assert not violations(page)


def test_static_files_have_security_headers(served: Running) -> None:
    assert {"index.html", "playground.css", "playground.js"} <= set(STATIC_FILES)
    for path in ("/", *(f"/playground/files/{name}" for name in STATIC_FILES)):
        answer = served.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "form-action 'none'", "frame-ancestors 'none'"} <= set(
            policy
        )
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "innerHTML" not in answer.text
    for name in ("nothing.js", "..%2fapp.py", "%2e%2e/api/playground_router.py", "__init__.py"):
        assert served.get(f"/playground/files/{name}").status_code == 404


def test_responses_of_several_prompts_stream_side_by_side_and_equal_those_of_the_api(
    page: Page, served: Running
) -> None:
    used = served.parts.usage_tracker.get_usage("default", "answers@2")  # by other tests, of the same server
    requests, tokens = used.num_requests + 1, used.completion_tokens + TOKENS
    with held(served, 12, rows=3):
        ask(page, "answers", "answers@2", "chat")
        for name in ("answers", "answers@2", "chat"):
            expect(card(page, name).locator(".text")).not_to_be_empty()
            expect(card(page, name)).to_have_attribute("aria-busy", "true")
        early = [card(page, name).locator(".text").text_content() or "" for name in ("answers", "answers@2", "chat")]
    answered(page, 3, 3)
    version = page.get_by_role("checkbox", name="answers@2 ").get_attribute("aria-describedby")
    counted = f"{requests} request{'s' if requests > 1 else ''} · {tokens} tokens"
    expect(page.locator(f"[id='{version}']")).to_contain_text(f"version 2 of 2 (canary) · {counted}")
    for name, before in zip(("answers", "answers@2", "chat"), early, strict=True):
        body = {"model": name, "messages": [{"role": "user", "content": TEXT}], "max_tokens": TOKENS, "temperature": 0}
        whole = served.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
        shown = card(page, name).locator(".text").text_content()
        assert shown == whole
        assert len(before) < len(whole)
        expect(card(page, name)).to_have_attribute("aria-busy", "false")
    boxes = [card(page, name).bounding_box() for name in ("answers", "answers@2", "chat")]
    assert len({box["y"] for box in boxes if box}) == 1


def test_the_playground_shows_label_probabilities_and_template_fields(page: Page, served: Running) -> None:
    choose(page, "reviews", "pairs", BASE)
    page.get_by_label("Field name").fill("Aro")
    page.get_by_label("Field food").fill("fish")
    ask(page)
    answered(page, 3, 3)
    told = served.post("/v1/classify", {"model": "reviews", "input": TEXT}).json()["data"][0]
    expect(card(page, "reviews").locator(".label")).to_have_text(told["label"])
    shares = sorted(told["probabilities"].values(), reverse=True)
    expect(card(page, "reviews").get_by_role("definition")).to_have_text([f"{100 * share:.1f}%" for share in shares])
    body = {"model": "pairs", "fields": {"name": "Aro", "food": "fish"}, "messages": [{"role": "user", "content": ""}]}
    whole = served.post("/v1/chat/completions", {**body, "max_tokens": TOKENS, "temperature": 0}).json()
    expect(card(page, "pairs").locator(".text")).to_have_text(whole["choices"][0]["message"]["content"])
    page.get_by_role("checkbox", name="reviews").uncheck()
    page.get_by_role("checkbox", name=BASE).uncheck()
    expect(page.get_by_label("Text", exact=True)).to_be_hidden()  # nobody reads it
    expect(page.get_by_role("article")).to_have_count(1)


def test_errors_are_shown_in_the_form_or_in_the_card_of_the_prompt_that_caused_them(
    page: Page, served: Running
) -> None:
    button, problem = page.get_by_role("button", name="Ask", exact=True), page.locator("#ask-problem")
    button.click()
    expect(problem).to_have_text("Choose a prompt first.")
    choose(page, "answers", "foreign")
    button.click()
    expect(problem).to_have_text("Type a text first.")
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    ask(page, tokens=0)
    expect(problem).to_have_text("Max tokens: a whole number from 1.")
    ask(page)
    answered(page, 1, 2)
    expect(problem).to_be_empty()
    refused = served.post("/v1/chat/completions", {"model": "foreign", "messages": [{"role": "user", "content": "a"}]})
    expect(card(page, "foreign").get_by_role("alert")).to_have_text(refused.json()["error"]["message"])
    expect(card(page, "answers").locator(".problem")).to_be_empty()
    expect(card(page, "answers").locator(".text")).not_to_be_empty()
    assert violations(page) == []
    page.context.set_offline(True)
    button.click()
    answered(page, 0, 2)
    expect(card(page, "answers").get_by_role("alert")).to_have_text("The server cannot be reached.")


def test_the_stop_button_ends_the_generation_on_the_server(page: Page, served: Running) -> None:
    with held(served, 8):
        ask(page, "answers", tokens=100)
        expect(card(page, "answers").locator(".text")).not_to_be_empty()
        page.get_by_role("button", name="Stop").click()
        expect(card(page, "answers").locator(".state")).to_have_text("stopped")
    until(lambda: served.rows == 0)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_a_new_request_aborts_the_previous_one(page: Page, served: Running) -> None:
    with held(served, 8):
        ask(page, "answers", tokens=100)
        expect(card(page, "answers").locator(".text")).not_to_be_empty()
        ask(page, tokens=3)
    answered(page, 1, 1)
    expect(card(page, "answers").locator(".state")).to_contain_text("3 tokens in")


def test_the_playground_can_be_used_with_the_keyboard_alone(page: Page) -> None:
    def tab_to(what: Locator) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if what.evaluate("it => it === document.activeElement"):
                outline = "it => parseFloat(getComputedStyle(it.closest('.themes label') ?? it).outlineWidth)"
                assert what.evaluate(outline) >= 2  # it is seen where the focus is
                return
        pytest.fail("it is not reached")

    tab_to(page.get_by_text("Skip to the text"))
    tab_to(page.get_by_role("radio", name="Auto"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    for name in ("answers", "chat"):
        tab_to(page.get_by_role("checkbox", name=re.compile(f"^{name} ")))
        page.keyboard.press("Space")
    tab_to(page.get_by_label("Text", exact=True))
    page.keyboard.type(TEXT)
    tab_to(page.get_by_label("Max tokens"))
    page.keyboard.type("4")
    page.keyboard.press("Control+Enter")
    answered(page, 2, 2)


def test_at_most_six_prompts_can_be_selected(page: Page) -> None:
    choose(page, BASE, "answers", "behind", "chat", "foreign", "pairs")
    expect(page.get_by_role("checkbox", name="reviews ")).to_be_disabled()
    page.get_by_role("checkbox", name="chat ").uncheck()
    expect(page.get_by_role("checkbox", name="reviews ")).to_be_enabled()


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_the_playground_is_accessible_in_both_themes_and_on_a_narrow_screen(
    browser: Browser, served: Running, scheme: Any, other: str
) -> None:
    papers = {"light": "rgb(251, 250, 247)", "dark": "rgb(23, 25, 28)"}
    with opened(browser, served, color_scheme=scheme, reduced_motion="reduce") as page:
        expect(page.locator("body")).to_have_css("background-color", papers[scheme])
        ask(page, "answers", "reviews", tokens=4)
        answered(page, 2, 2)
        assert violations(page) == []
        page.locator("#themes").get_by_text(other.capitalize()).click()
        expect(page.locator("body")).to_have_css("background-color", papers[other])
        page.set_viewport_size(NARROW)  # type: ignore[arg-type]
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        page.reload()
        expect(page.locator("body")).to_have_css("background-color", papers[other])


def test_reduced_motion_disables_the_blinking_cursor(browser: Browser, served: Running) -> None:
    for motion, animation in (("no-preference", "blink"), ("reduce", "none")):
        with opened(browser, served, reduced_motion=motion) as page, held(served, 8):
            ask(page, "answers", tokens=100)
            expect(card(page, "answers").locator(".text")).not_to_be_empty()
            found = (
                card(page, "answers").locator(".text").evaluate("it => getComputedStyle(it, '::after').animationName")
            )
            assert found == animation


def test_the_api_key_is_stored_only_in_its_tab(browser: Browser, keyed: Running) -> None:
    key, text = keyed.store.api_keys.create_key("acme", "use")
    with opened(browser, keyed) as page:
        field = page.get_by_label("API key")
        expect(field).to_be_focused()
        assert violations(page) == []
        field.fill("sp-wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-problem")).to_have_text(re.compile("not valid"))
        field.fill(text)
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_role("checkbox")).to_have_count(2)  # the base and its own, and not the other tenant's
        expect(page.get_by_role("checkbox", name="labels ")).to_be_visible()
        assert text not in page.url + page.content() + str(page.evaluate("[{...localStorage}, document.cookie]"))
        page.reload()
        expect(page.get_by_role("checkbox")).to_have_count(2)
        keyed.store.api_keys.revoke_key(key.id)
        headers = {"authorization": f"Bearer {text}"}
        until(lambda: httpx2.get(f"{keyed.url}/v1/models", headers=headers).status_code == 401)
        ask(page, "labels")
        expect(page.locator("#key-problem")).to_have_text(re.compile("revoked"))
        with opened(browser, keyed) as another:
            expect(another.get_by_label("API key")).to_be_visible()


def test_a_search_by_name_finds_a_prompt_among_many(browser: Browser, keyed: Running) -> None:
    _, text = keyed.store.api_keys.create_key("many", "use")
    with opened(browser, keyed) as page:
        page.get_by_label("API key").fill(text)
        page.keyboard.press("Enter")
        expect(page.get_by_text("The first 100: show more")).to_be_visible()
        expect(page.get_by_role("checkbox")).to_have_count(101)  # the base model, too
        page.get_by_role("button", name="Show more").click()
        expect(page.get_by_role("checkbox")).to_have_count(121)
        expect(page.get_by_role("button", name="Show more")).to_be_hidden()
        choose(page, "customer-007")
        page.get_by_label("Search by name").fill("R-119")
        expect(page.get_by_role("checkbox")).to_have_count(1)
        ask(page, "customer-119", tokens=4)
        answered(page, 2, 2)  # what is chosen stays chosen
        page.get_by_label("Search by name").fill("nobody")
        expect(page.get_by_text("No prompt matches.")).to_be_visible()
        assert violations(page) == []


def test_untrusted_text_is_not_parsed_as_html(browser: Browser, keyed: Running) -> None:
    _, text = keyed.store.api_keys.create_key("acme", "use")
    with opened(browser, keyed) as page:
        page.get_by_label("API key").fill(text)
        page.keyboard.press("Enter")
        ask(page, "labels")
        answered(page, 1, 1)
        expect(card(page, "labels").get_by_role("term")).to_contain_text([HOSTILE, "bad"], use_inner_text=True)
        assert page.locator("img").count() == 0
        expect(card(page, "labels")).to_contain_text("validation accuracy 0.917, loss 0.25")
        page.get_by_role("button", name="Forget it").click()
        expect(page.get_by_label("API key")).to_be_visible()
        expect(page.get_by_role("article")).to_have_count(0)
        assert page.evaluate("sessionStorage.length") == 0
