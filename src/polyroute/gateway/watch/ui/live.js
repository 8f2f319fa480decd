// Episodes round by round. However many there are, a bounded number of rows is drawn, a few times a second.

import { figures, h, head } from "./dom.js";
import { clock, percent, seconds, usd, count } from "./format.js";
import { events, open } from "./net.js";
import { path, rounds, steps } from "./steps.js";

const ROWS = 100;
const FRAME_MS = 250;

export async function live({ place, signal, say }) {
  const list = h("ol", { className: "episodes" });
  const empty = h("p", { className: "empty" }, "Nothing has been asked yet. Ask something under “Try”, or point a client here.");
  const top = h("div", {});
  const held = h("span", { className: "note" });
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    view.paused = !view.paused;
    pause.setAttribute("aria-pressed", String(view.paused));
    pause.textContent = view.paused ? "Go on" : "Pause";
    view.draw();
  } }, "Pause");
  place.append(head("Live", "Every episode as it happens: whom the policy asks, what it costs, how it ends.", held, pause), top,
    h("section", { "aria-label": "Episodes" }, list, empty));
  const view = new View(list, empty, top, held);
  const timer = setInterval(() => view.draw(), FRAME_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  await follow(view, signal, say);
}

async function follow(view, signal, say) {
  for (let wait = 500; !signal.aborted; wait = Math.min(8000, wait * 2)) {
    const begun = performance.now();
    try {
      const response = await open("v1/watch/live", { signal });
      say("on", "live");
      for await (const event of events(response)) {
        view.take(event);
      }
      // the server lets readers go after a while, and is asked again at once
      if (performance.now() - begun > 5000) wait = 100;
    } catch (error) {
      if (signal.aborted) return;
      say("off", error.status ? error.message : "not reached");
      if (error.status === 401 || error.status === 403) return;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

class View {
  constructor(list, empty, top, held) {
    Object.assign(this, { list, empty, top, held, paused: false, dirty: true, waiting: 0 });
    this.episodes = new Map();
    this.rows = new Map();
    this.ended = { n: 0, answered: 0, usd: 0, seconds: [] };
    this.counted = new Set();
    this.changed = new Set();
  }

  take(event) {
    this.dirty = true;
    if (event.type === "picture") {
      this.episodes.clear();
      for (const episode of event.ended) this.finish(episode);
      for (const one of event.running) {
        this.begin(one);
        for (const each of one.events) this.happen(one.id, each);
      }
    } else if (event.type === "began") this.begin(event);
    else if (event.type === "happened") this.happen(event.id, event);
    else if (event.type === "ended") this.finish(event.episode);
    while (this.episodes.size > 2 * ROWS) this.episodes.delete(this.episodes.keys().next().value);
  }

  begin(event) {
    this.episodes.set(event.id, { ...event, running: true, steps: [], rounds: 0, usd: 0 });
    this.changed.add(event.id);
    this.waiting += 1;
  }

  happen(id, event) {
    const episode = this.episodes.get(id);
    if (!episode) return;
    if (event.decided) episode.steps.push({ ...event.decided, replies: [] });
    else if (event.replied) {
      const step = episode.steps.at(-1);
      if (step) step.replies[event.index] = event.replied;
      episode.usd += Number(event.replied.usd ?? 0);
    }
    this.changed.add(id);
  }

  finish(episode) {
    this.episodes.set(episode.id, episode);
    this.changed.add(episode.id);
    if (this.counted.has(episode.id)) return;
    this.counted.add(episode.id);
    if (this.counted.size > 1000) this.counted.delete(this.counted.values().next().value);
    const { ended } = this;
    ended.n += 1;
    ended.answered += episode.ending === "answered";
    ended.usd += Number(episode.usd);
    ended.seconds.push(episode.seconds);
    if (ended.seconds.length > 500) ended.seconds.shift();
  }

  draw() {
    this.held.textContent = this.paused && this.waiting ? `${count(this.waiting)} new` : "";
    if (!this.dirty || this.paused) return;
    this.dirty = false;
    this.waiting = 0;
    this.sum();
    const newest = [...this.episodes.values()].slice(-ROWS).reverse();
    this.empty.hidden = newest.length > 0;
    const wanted = new Set(newest.map((episode) => episode.id));
    for (const [id, row] of this.rows) {
      const busy = row.contains(document.activeElement) || row.firstChild.open;
      if (!wanted.has(id) && !(busy && this.rows.size <= ROWS + 20)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    let before = null;
    for (const episode of newest.toReversed()) {
      let row = this.rows.get(episode.id);
      if (!row) {
        row = rowOf(episode);
        this.rows.set(episode.id, row);
        this.list.insertBefore(row, before ?? this.list.firstChild);
      } else if (this.changed.has(episode.id)) refresh(row, episode);
      before = row;
    }
    this.changed.clear();
  }

  sum() {
    const { n, answered, usd: spent, seconds: took } = this.ended;
    const running = [...this.episodes.values()].filter((episode) => episode.running).length;
    const median = took.toSorted((a, b) => a - b)[Math.floor(took.length / 2)];
    this.top.replaceChildren(figures([
      ["Running", count(running)],
      ["Ended, as seen here", count(n)],
      ["Answered", n ? percent(answered / n) : "–"],
      ["Median time", seconds(median)],
      ["Spent", usd(spent)],
    ]));
  }
}

function rowOf(episode) {
  const details = h("details", {}, h("summary", {}));
  const row = h("li", {}, details);
  row.episode = episode;
  details.addEventListener("toggle", () => inside(row));
  refresh(row, episode);
  return row;
}

function refresh(row, episode) {
  row.episode = episode;
  row.firstChild.firstChild.replaceChildren(
    h("span", { className: "when" }, clock(episode.at)),
    h("span", { className: "what" },
      h("span", { className: episode.question ? "asked" : "asked none" }, episode.question || "text not kept"),
      episode.remembered ? h("span", { className: "path" }, "remembered: nobody was asked") : path(episode.steps)),
    h("span", { className: "by" }, episode.policy),
    h("span", { className: "n when" }, episode.running ? "running" : seconds(episode.seconds)),
    h("span", { className: episode.ending && episode.ending !== "answered" ? "n wrong" : "n" },
      episode.ending && episode.ending !== "answered" ? episode.ending : episode.running && !Number(episode.usd) ? "" : usd(episode.usd)));
  inside(row);
}

function inside(row) {
  const details = row.firstChild;
  details.lastChild !== details.firstChild && details.lastChild.remove();
  if (!details.open) return;
  const { episode } = row;
  details.append(h("div", { className: "inside" },
    steps(episode.steps),
    h("p", { className: "note" },
      `${episode.policy} · ${rounds(episode.rounds)}${episode.error ? ` · ${episode.error}` : ""}${episode.fallback ? ` · fell back on ${episode.fallback}` : ""} `,
      episode.running ? null : h("a", { href: `#/traces/${encodeURIComponent(episode.trace)}` }, "Open the record"))));
}
