// How calls are spread over the cards, and the alarm when they are not.

import { share } from "./chart.js";
import { figures, h, head } from "./dom.js";
import { count, percent, plural, seconds, tokens, usd } from "./format.js";
import { get } from "./net.js";
import { poll } from "./polling.js";

export function models({ place, signal, say }) {
  const body = h("div", {});
  place.append(head("Models", "Who is asked how often, and whether routing still routes."), body);
  return poll({ every: 5000, signal, say, place, ask: () => get("v1/watch/figures?minutes=1", signal), draw: (said) => draw(body, said) });
}

function draw(body, { cards, routing, policies }) {
  const all = cards.toSorted((a, b) => b.share - a.share || b.calls - a.calls);
  const failures = cards.reduce((sum, card) => sum + Object.values(card.failures).reduce((a, b) => a + b, 0), 0);
  body.replaceChildren(
    routing.collapsed ? h("p", { className: "alarm", role: "alert" },
      h("strong", {}, "Routing has collapsed. "),
      `${percent(routing.largest_share)} of the last ${count(routing.calls)} calls went to ${routing.most_used}; the alarm is set at ${percent(routing.limit)}. A policy that always asks the same model earns nothing by asking.`) : "",
    figures([
      ["Most used", routing.most_used ?? "–", routing.calls ? `${percent(routing.largest_share)} of the last ${plural(routing.calls, "call")}` : "no calls of policies yet"],
      ["Evenness", routing.calls ? routing.entropy.toFixed(2) : "–", "entropy: 0 one card, 1 all alike"],
      ["Alarm at", percent(routing.limit), routing.collapsed ? "rings" : "quiet"],
      ["Failed calls", count(failures)],
    ]),
    h("section", {}, h("h2", {}, "Cards"), table(["Card", "Share", "Calls", "Tokens", "Spent", "Median", "95 %", "Failed"], all.map((card) => [
      [card.id, card.kind === "model" ? null : card.kind],
      share(card.share, card.id === routing.most_used),
      [count(card.calls), card.own ? `+ ${count(card.own)} own` : null],
      tokens(card.tokens),
      [usd(card.usd), card.unknown ? `+ ${count(card.unknown)} unknown` : null],
      seconds(card.seconds.p50),
      seconds(card.seconds.p95),
      failed(card.failures),
    ]), [3, 5, 6, 7])),
    h("section", {}, h("h2", {}, "Policies"), Object.keys(policies).length
      ? table(["Policy", "Answered", "Failed", "Remembered", "Spent", "Median", "95 %"], Object.entries(policies).map(([name, of]) => [
        [name], count(of.answered), count(of.failed + of.cancelled), [count(of.remembered), of.remembered ? `${usd(of.saved)} saved` : null],
        usd(of.usd), seconds(of.seconds.p50), seconds(of.seconds.p95)]), [3, 5, 6])
      : h("p", { className: "note" }, "None has been asked yet.")));
}

function failed(failures) {
  const kinds = Object.entries(failures);
  if (!kinds.length) return "0";
  const total = kinds.reduce((sum, [, n]) => sum + n, 0);
  return h("span", { className: "wrong", title: kinds.map(([kind, n]) => `${kind}: ${n}`).join(", ") }, count(total));
}

function table(heads, rows, rare) {
  const kind = (k) => [k > 0 && heads[k] !== "Share" ? "n" : "", rare.includes(k) ? "rare" : ""].join(" ").trim();
  const cell = (value) => (Array.isArray(value) ? [value[0], value[1] ? h("div", { className: "note" }, value[1]) : null] : [value]);
  return h("table", {},
    h("thead", {}, h("tr", {}, ...heads.map((name, k) => h("th", { scope: "col", className: kind(k) }, name)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((value, k) =>
      (k ? h("td", { className: kind(k) }, ...cell(value)) : h("th", { scope: "row" }, ...cell(value))))))));
}
