// The frame: which view is shown, whether the server can be reached, light or dark.

import { h } from "./dom.js";
import { cost } from "./cost.js";
import { instances } from "./instances.js";
import { live } from "./live.js";
import { models } from "./models.js";
import { playground } from "./playground.js";
import { traces } from "./traces.js";

const VIEWS = { live: ["Live", live], cost: ["Cost", cost], models: ["Models", models], instances: ["Instances", instances], playground: ["Try", playground], traces: ["Traces", traces] };

const main = document.getElementById("main");
const list = document.getElementById("views");
const pulse = document.getElementById("pulse");
let leave = null;

const links = Object.entries(VIEWS).map(([name, [title]]) => [name, h("a", { href: `#/${name}` }, title)]);
list.append(...links.map(([, link]) => h("li", {}, link)));

function say(state, text) {
  pulse.className = `pulse ${state}`;
  if (pulse.textContent !== text) pulse.textContent = text;
}

function show(focus) {
  const [, name = "live", ...rest] = location.hash.split("/");
  if (!(name in VIEWS) && location.hash !== "" ) {
    if (location.hash === "#main") { main.focus(); return; }
  }
  const chosen = name in VIEWS ? name : "live";
  leave?.abort();
  leave = new AbortController();
  for (const [each, link] of links) {
    if (each === chosen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const [title, view] = VIEWS[chosen];
  document.title = `${title} · polyroute`;
  const place = h("div", {});
  main.replaceChildren(place);
  main.dataset.view = chosen;
  if (focus) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
  view({ place, signal: leave.signal, rest: rest.map(decodeURIComponent), say });
}

const THEMES = ["auto", "light", "dark"];
const theme = document.getElementById("theme");

function wear(name) {
  document.documentElement.dataset.theme = name;
  theme.textContent = `Theme: ${name}`;
}
theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("polyroute.theme", next);
  wear(next);
});
wear(THEMES.includes(localStorage.getItem("polyroute.theme")) ? localStorage.getItem("polyroute.theme") : "auto");

addEventListener("hashchange", () => show(true));
show(false);
