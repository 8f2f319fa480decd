// How every place is where a model is served.

import { h, head } from "./dom.js";
import { ago, count, plural, seconds } from "./format.js";
import { get } from "./net.js";
import { poll } from "./polling.js";

const OUT = { open: ["down", "out"], half_open: ["", "on trial"], cooling: ["", "resting"], ejected: ["down", "ejected"] };

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
  const health = instance.health;
  const [state, word] = health && health.state !== "closed" ? OUT[health.state]
    : instance.ok === false ? ["down", "down"]
      : instance.failed_in_a_row >= 3 ? ["down", "failing"]
        : instance.ok ? ["up", "up"] : instance.calls ? ["up", "in use"] : ["", "in process"];
  const back = health?.back_in_s ? `, looked at again in ${seconds(health.back_in_s)}` : "";
  const note = health?.why ? `${health.why}${back}` : instance.message;
  return h("div", { className: "place" },
    h("span", { className: `state ${state}` }, word),
    h("span", { className: "wide" }, h("span", { className: "mono" }, instance.instance || "this process"),
      instance.region ? h("span", { className: "tag" }, instance.region) : null,
      note ? h("span", { className: "note" }, ` ${note}`) : null),
    h("span", { className: "n rare", title: "mean, and 95 % took no longer" },
      instance.mean_seconds ? seconds(instance.mean_seconds) : "–",
      health?.p95_s ? ` · ${seconds(health.p95_s)}` : ""),
    h("span", { className: "n rare" }, health ? `${count(health.outstanding)} running` : "–"),
    h("span", { className: "n" }, plural(instance.calls, "call")),
    h("span", { className: total ? "n wrong" : "n note rare", title: failures.map(([kind, n]) => `${kind}: ${n}`).join(", ") },
      total ? `${count(total)} failed` : instance.last ? ago(instance.last) : "–"));
}
