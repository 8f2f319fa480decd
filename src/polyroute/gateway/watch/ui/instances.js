// How every place is where a model is served.

import { h, head } from "./dom.js";
import { ago, count, plural, seconds } from "./format.js";
import { get } from "./net.js";
import { poll } from "./polling.js";

export function instances({ place, signal, say }) {
  const list = h("ul", { className: "places" });
  place.append(head("Instances", "Where models are served: what each place says when asked, and what calls met there."), list);
  return poll({ every: 10000, signal, say, place, ask: () => get("v1/watch/instances", signal), draw: ({ cards }) => {
    list.replaceChildren(...cards.map((card) => h("li", {},
      h("div", {}, h("h2", {}, card.card), h("span", { className: "note" }, card.backend)),
      h("div", { className: "of" }, ...card.instances.map(one)))));
  } });
}

function one(instance) {
  const failures = Object.entries(instance.failures);
  const total = failures.reduce((sum, [, n]) => sum + n, 0);
  const [state, word] = instance.ok === false ? ["down", "down"]
    : instance.failed_in_a_row >= 3 ? ["down", "failing"]
      : instance.ok ? ["up", "up"] : instance.calls ? ["up", "in use"] : ["", "in process"];
  return h("div", { className: "place" },
    h("span", { className: `state ${state}` }, word),
    h("span", { className: "wide" }, h("span", { className: "mono" }, instance.instance || "this process"),
      instance.message ? h("span", { className: "note" }, ` ${instance.message}`) : null),
    h("span", { className: "n rare" }, instance.mean_seconds ? seconds(instance.mean_seconds) : "–"),
    h("span", { className: "n" }, plural(instance.calls, "call")),
    h("span", { className: total ? "n wrong" : "n note rare", title: failures.map(([kind, n]) => `${kind}: ${n}`).join(", ") },
      total ? `${count(total)} failed` : instance.last ? ago(instance.last) : "–"));
}
