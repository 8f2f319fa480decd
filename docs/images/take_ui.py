"""Takes the pictures of the page that a server has at `/ui`, in a Chromium without a window.

    .venv/bin/python docs/images/take_ui.py [--to docs/images] [--browser /usr/bin/chromium]

Starts an upstream of this file, whose answers are written below, and `polyroute serve` before it:
three models at seven places, one of which is down. Asks 150 questions, and ends both.
"""

import argparse
import asyncio
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from playwright.sync_api import Page, sync_playwright

DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}

ANSWERS = {
    "What is the capital of Peru?": "Lima.",
    "Which element has the highest melting point?": "Tungsten, at 3,422 °C.",
    "Translate “good morning” into Quechua.": "Allin p'unchay.",
    "Sum of the first 100 primes?": "24,133.",
    "Why is the sky blue?": "Air scatters short waves of light more than long ones.",
    "Write a haiku about routers.": "Questions come and go / each finds the one who knows it / "
    "and pays no more toll.",
    "Prove that there is no largest prime.": "Multiply all primes and add one: the result has a "
    "prime factor that was not among them.",
}

CONFIG = """\
pool:
  - id: mini
    description: quick and cheap
    skills: {{general: 0.6}}
    price: {{input: 0.1, output: 0.4}}
    max_output: 500
    backend:
      name: openai
      balance: {{name: nearby, region: eu}}
      health: {{open_s: 60}}
      instances:
        - {{url: "http://127.0.0.1:{port}/0.05", name: eu-1, region: eu}}
        - {{url: "http://127.0.0.1:{port}/0.06", name: eu-2, region: eu}}
        - {{url: "http://127.0.0.1:{port}/0.15", name: us-1, region: us}}
  - id: middle
    description: for most questions
    skills: {{general: 0.75}}
    price: {{input: 1, output: 4}}
    max_output: 500
    backend:
      name: openai
      balance: least_outstanding
      health: {{open_s: 600, in_a_row: 2}}
      instances:
        - {{url: "http://127.0.0.1:{port}/0.2", name: eu-1, region: eu}}
        - {{url: "http://127.0.0.1:{port}/down", name: eu-2, region: eu}}
        - {{url: "http://127.0.0.1:{port}/0.3", name: us-1, region: us}}
  - id: large
    description: for what is hard
    skills: {{general: 0.9}}
    price: {{input: 5, output: 20}}
    max_output: 500
    backend: {{name: openai, instances: [{{url: "http://127.0.0.1:{port}/0.5", name: rented}}]}}
policy: {{name: cascade, order: [mini, middle, large], verifier: mini, threshold: 0.7}}
policies:
  by-words:
    name: rules
    rules: [{{to: large, matches: prove}}, {{to: mini, max_chars: 30}}]
    otherwise: {{name: fixed, model: middle}}
  cheapest: cheapest
fallbacks: {{mini: [middle]}}
budget: {{usd: 0.05, seconds: 60}}
records: {{store: sqlite, path: "{records}"}}
server: {{port: {own}}}
"""


def answer(body: dict[str, object], seconds: float) -> str:
    """Return what a model of that speed says: slow ones are right, quick ones sometimes."""
    asked = str(body["messages"][-1]["content"])  # type: ignore[index]
    question = next((one for one in ANSWERS if one in asked), "")
    if "Score:" in asked:
        return f"Score: {4 if len(question) % 4 == 0 else 9}"
    return ANSWERS.get(question, "I do not know.")


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer as the place that is asked does."""
    body = await request.json()
    place = request.match_info["place"]
    if place == "down":
        return web.json_response({"error": {"message": "no capacity"}}, status=503)
    await asyncio.sleep(float(place) * random.uniform(0.7, 1.3))
    text = answer(body, float(place))
    usage = {"prompt_tokens": 24, "completion_tokens": 4 + len(text) // 4}
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        said = {"choices": [{**choice, "finish_reason": "stop"}], "usage": usage}
        return web.json_response({"model": body["model"], **said})
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for word in text.split(" "):
        chunk = {"choices": [{"index": 0, "delta": {"content": f"{word} "}}]}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await asyncio.sleep(0.02)
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
    await response.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())
    return response


async def models(request: web.Request) -> web.Response:
    """Say that a place is there, or not."""
    down = request.match_info["place"] == "down"
    return web.json_response({"data": [{"id": "m"}]}, status=503 if down else 200)


def upstream(port: int) -> None:
    """Serve all places, in a thread that ends with the process."""

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/{place}/chat/completions", chat)
        app.router.add_get("/{place}/models", models)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    threading.Thread(target=asyncio.run, args=(run(),), daemon=True).start()


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ask(url: str, model: str, question: str) -> str:
    """Ask, give feedback where there is an answer, and return the id of the trace."""
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    with suppress(OSError):
        reply = post(f"{url}/v1/chat/completions", body)
        trace = str(reply["polyroute"]["trace_id"])  # type: ignore[index]
        if random.random() < 0.5:
            post(f"{url}/v1/feedback", {"trace_id": trace, "reward": random.choice([1, 1, 1, 0])})
        return trace
    return ""


def post(url: str, body: dict[str, object]) -> dict[str, object]:
    """Send a body, and return that of the reply."""
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as reply:
        said: dict[str, object] = json.load(reply)
        return said


def take(page: Page, url: str, trace: str, to: Path) -> None:
    """Take the pictures of all views as they are seen on a desk."""

    def view(name: str, shown: str) -> None:
        page.goto(f"{url}/ui/#/{name}")
        page.locator(shown).first.wait_for(state="attached")

    view("live", ".episodes summary")
    page.get_by_role("button", name="Pause").click()
    page.locator(".episodes > li", has_text="→").first.locator("summary").click()
    page.locator(".steps").first.wait_for()
    shoot(page, to / "ui-live.png")
    view("cost", "svg.chart .bar")
    shoot(page, to / "ui-cost.png")
    view("models", "tbody tr")
    shoot(page, to / "ui-models.png")
    view("instances", ".place")
    shoot(page, to / "ui-instances.png")
    view("playground", "#policy option[value='polyroute/by-words']:not([hidden])")
    page.locator("textarea").first.fill(next(iter(ANSWERS)))
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("Lima.").first.wait_for()
    shoot(page, to / "ui-playground.png")


def shoot(page: Page, to: Path) -> None:
    """Take one picture when what moves has come to rest."""
    page.wait_for_timeout(500)
    page.screenshot(path=to)


def take_all(browser: str, url: str, trace: str, to: Path) -> None:
    """Take every picture."""
    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])

        def page(size: dict[str, int], scheme: str, scale: int = 1) -> Page:
            opened = running.new_context(
                viewport=size, color_scheme=scheme, device_scale_factor=scale
            ).new_page()
            opened.set_default_timeout(120_000)
            return opened

        take(page(DESKTOP, "light"), url, trace, to)
        dark = page(DESKTOP, "dark")
        dark.goto(f"{url}/ui/#/traces/{trace}")
        dark.select_option("#other", "by-words")
        dark.get_by_role("button", name="Replay").click()
        dark.get_by_text("nobody knows").or_(dark.get_by_text("decides the same")).first.wait_for()
        shoot(dark, to / "ui-traces-dark.png")
        phone = page(PHONE, "light", scale=2)
        phone.goto(f"{url}/ui/#/live")
        phone.locator(".episodes summary").first.wait_for()
        shoot(phone, to / "ui-phone.png")
        small = page(PHONE, "dark", scale=2)
        small.goto(f"{url}/ui/#/instances")
        small.locator(".place").first.wait_for()
        shoot(small, to / "ui-instances-phone-dark.png")
        running.close()


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--to", type=Path, default=Path(__file__).parent)
    parser.add_argument("--browser", default=shutil.which("chromium"))
    given = parser.parse_args()
    random.seed(0)
    port, own = free_port(), free_port()
    upstream(port)
    url = f"http://127.0.0.1:{own}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "polyroute.yaml"
        records = Path(folder) / "records.sqlite"
        config.write_text(CONFIG.format(port=port, own=own, records=records))
        program = Path(sys.executable).parent / "polyroute"
        server = subprocess.Popen([program, "serve", "--config", config])
        try:
            while True:
                with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=60):
                    break
                if server.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.2)
            models = ["polyroute"] * 5 + ["polyroute/by-words", "polyroute/cheapest", "large"]
            asked = [(random.choice(models), random.choice(list(ANSWERS))) for _ in range(150)]
            with ThreadPoolExecutor(6) as clients:
                list(clients.map(lambda one: ask(url, *one), asked))
            trace = ask(url, "polyroute", "Prove that there is no largest prime.")
            take_all(given.browser, url, trace, given.to)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
