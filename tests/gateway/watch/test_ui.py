"""The page in a real browser: every view, by keyboard, on a phone, in the dark, under load."""

import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polyroute.records.jsonl import JsonlStore

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(os.environ.get("POLYROUTE_TEST_CACHE", "~/.cache/polyroute-tests")).expanduser()
VIEWS = {
    "live": "Live",
    "cost": "Cost",
    "models": "Models",
    "instances": "Instances",
    "playground": "Try",
    "traces": "Traces",
}
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
HELLO = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}]}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt install chromium)"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def watched(serving, tmp_path):
    server = serving(records=JsonlStore(tmp_path / "records.jsonl"))
    for model in ("polyroute/rounds", "polyroute", "polyroute/then-down", "echo"):
        ask(server, model)
    return server


@pytest.fixture
def page(browser):
    """Return a way to open pages that complain of nothing until the end of the test."""
    contexts, said = [], []

    def start(size=DESKTOP, **more):
        context = browser.new_context(viewport=size, **more)
        contexts.append(context)
        opened = context.new_page()
        opened.set_default_timeout(120_000)  # a loaded machine is slow, not wrong
        opened.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else 0)
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " e => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`))"
        )
        return opened

    yield start
    for context in contexts:
        context.close()
    assert said == []


def ask(server, model="polyroute/rounds"):
    return server.send("POST", "/v1/chat/completions", {"model": model, **HELLO})


def visit(page, server, view):
    page.goto(f"{server.url}/ui/#/{view}")
    page.get_by_role("heading", level=1, name=VIEWS[view]).wait_for()
    page.locator(".pulse.on").wait_for()
    page.locator(SHOWN[view]).first.wait_for()


SHOWN = {
    "live": ".episodes summary",
    "cost": "svg.chart .bar",
    "models": "tbody tr",
    "instances": ".place",
    "playground": "#policy option[value='polyroute/rounds']:not([hidden])",
    "traces": ".records a",
}


def see(page, server, view):
    if view == "playground":  # an option of a closed list is never visible
        page.goto(f"{server.url}/ui/#/{view}")
        page.locator(SHOWN[view]).wait_for(state="attached")
    else:
        visit(page, server, view)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "light"), (PHONE, "dark")]
)
def test_a_view_has_its_content_and_fits_its_window(watched, page, view, size, scheme):
    opened = page(size, color_scheme=scheme)
    see(opened, watched, view)
    wide, inner = opened.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= inner
    if scheme == "dark":
        paper = opened.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert max(int(x) for x in paper[4:-1].split(",")) < 60


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(watched, browser, page, view, scheme):
    # the checker is put in by the browser's debugger, which the page's own rules do not bind
    opened = page(color_scheme=scheme, bypass_csp=True)
    see(opened, watched, view)
    if view == "live":
        opened.locator(".episodes summary").first.click()
    if view == "traces":
        opened.locator(".records a").first.click()
        opened.get_by_role("button", name="Replay").wait_for()
    opened.evaluate(axe())
    found = opened.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in bad] == []


def axe():
    """Return axe-core, from the cache of the tests."""
    script = AXE / "axe.min.js"
    if not script.is_file():
        packed = next(iter(sorted(AXE.glob("axe-core-*.tgz"))), None)
        if packed is None:
            pytest.skip(f"needs axe-core: npm pack axe-core --pack-destination {AXE}")
        with tarfile.open(packed) as archive:
            script.write_bytes(archive.extractfile("package/axe.min.js").read())
    return script.read_text("utf-8")


def test_everything_is_reached_by_keyboard(watched, page):
    opened = page()
    visit(opened, watched, "live")
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(14):
        opened.keyboard.press("Tab")
        reached.add(opened.evaluate("document.activeElement.textContent.trim()"))
    assert set(VIEWS.values()) <= reached
    assert "Pause" in reached
    opened.locator(".episodes summary").first.focus()
    opened.keyboard.press("Enter")
    opened.locator(".inside .steps").first.wait_for()
    ring = opened.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid", "what has the focus shows it"
    opened.get_by_role("link", name="Cost").focus()
    opened.keyboard.press("Enter")
    opened.get_by_role("heading", level=1, name="Cost").wait_for()
    assert opened.evaluate("document.activeElement.id") == "main"


def test_the_playground_shows_the_rounds_and_the_bill(watched, page):
    opened = page()
    see(opened, watched, "playground")
    opened.fill("#question", "Which city?")
    opened.select_option("#policy", "polyroute/rounds")
    opened.locator("#knob").press("End")
    assert opened.locator("#knob-is").text_content() == "$1.00 for one right answer"
    opened.get_by_role("button", name="Ask").click()
    opened.locator(".out .steps").wait_for()
    assert opened.locator(".answer").text_content() == "Lima, I am told"
    assert opened.locator(".out .said .who").all_text_contents()[0].startswith("bracket")
    assert "1 round" in opened.locator(".out [role=status]").text_content()
    opened.get_by_role("link", name="Open the record").click()
    opened.get_by_role("heading", name="Which city?").wait_for()


def test_an_error_of_the_server_is_said_in_words(watched, page):
    opened = page()
    see(opened, watched, "playground")
    opened.fill("#question", "Which city?")
    opened.fill("#cap", "a lot")
    opened.get_by_role("button", name="Ask").click()
    opened.get_by_text("the limit must be a number of dollars").wait_for()


def test_a_replay_says_what_was_never_recorded(watched, page):
    opened = page()
    trace = ask(watched).headers["x-polyroute-trace-id"]
    opened.goto(f"{watched.url}/ui/#/traces/{trace}")
    opened.select_option("#other", "then-echo")
    opened.get_by_role("button", name="Replay").click()
    opened.get_by_text("Differs at step 1 of 3").wait_for()
    opened.get_by_text("was not recorded, so nobody knows").wait_for()
    opened.select_option("#other", "rounds")
    opened.get_by_role("button", name="Replay").click()
    opened.get_by_text("rounds decides the same").wait_for()


def test_what_a_model_says_is_text_and_never_markup(watched, page):
    opened = page()
    visit(opened, watched, "live")
    evil = "<img src=x onerror=console.error('run')><b>bold</b>"
    body = {"model": "echo", "messages": [{"role": "user", "content": evil}]}
    trace = watched.send("POST", "/v1/chat/completions", body).headers["x-polyroute-trace-id"]
    opened.locator(".asked", has_text="<b>bold</b>").first.wait_for()
    opened.goto(f"{watched.url}/ui/#/traces/{trace}")
    opened.locator(".steps .text", has_text="<b>bold</b>").wait_for()
    assert opened.locator("main img, main b").count() == 0


def test_the_page_stays_live_with_a_thousand_episodes(watched, page):
    opened = page()
    visit(opened, watched, "live")
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda _: ask(watched, "echo"), range(1_000)))
    assert opened.locator(".episodes > li").count() <= 120
    assert opened.evaluate("document.querySelectorAll('*').length") < 4_000
    ask(watched, "polyroute/then-echo")
    newest = opened.locator(".episodes > li").first
    newest.get_by_text("then-echo").wait_for()
    newest.locator("summary").click()
    newest.locator(".steps").wait_for()
    opened.get_by_role("button", name="Pause").click()
    opened.get_by_role("button", name="Go on").wait_for()


def test_an_instance_that_is_out_says_why_and_until_when(watched, page):
    health = {"state": "open", "why": "unavailable, HTTP 503", "back_in_s": 4.2, "outstanding": 3}
    place = {"instance": "gpu-2", "ok": True, "message": "", "seconds": 0.1, "region": "eu"}
    met = {"calls": 7, "failures": {}, "failed_in_a_row": 0, "mean_seconds": 0.2, "last": None}
    card = {"card": "m", "backend": "OpenAI", "instances": [{**place, **met, "health": health}]}
    opened = page()
    opened.route("**/v1/watch/instances", lambda route: route.fulfill(json={"cards": [card]}))
    visit(opened, watched, "instances")
    said = opened.locator(".place").first.text_content()
    assert said.startswith("out")
    assert "unavailable, HTTP 503, looked at again in 4.20 s" in said
    assert "3 running" in said
    assert "eu" in said


def test_a_server_with_keys_asks_for_one_and_keeps_it_for_the_tab(serving, browser, monkeypatch):
    key = "an-administrators-key-0123456789"
    monkeypatch.setenv("ADMINS", key)
    server = serving(access={"admin_keys_env": "ADMINS"})
    context = browser.new_context(viewport=DESKTOP)
    opened = context.new_page()
    opened.goto(f"{server.url}/ui/#/models")
    opened.get_by_label("Administrator's key").fill(key)
    opened.keyboard.press("Enter")
    opened.locator("tbody tr").first.wait_for()
    opened.reload()
    opened.locator("tbody tr").first.wait_for()
    assert opened.evaluate("Object.keys(localStorage)") == []
    context.close()
