// What it costs, what it is worth, and what one model for everything would have cost.

import { bars, lines, points } from "./chart.js";
import { choices, figures, h, head } from "./dom.js";
import { count, hour, percent, seconds, usd } from "./format.js";
import { get } from "./net.js";
import { poll } from "./polling.js";

const RANGES = [[60, "1 hour"], [360, "6 hours"], [1440, "1 day"]];

const running = (values) => { let sum = 0; return values.map((value) => (sum += value)); };

export function cost({ place, signal, say }) {
  let minutes = 60;
  let again = () => {};
  const top = h("div", {});
  const note = h("p", { className: "note" });
  const boxes = Object.fromEntries(["usd", "quality", "requests", "seconds"].map((name) => [name, h("div", {})]));
  const figure = (name, title, about, wide) => h("figure", { className: wide ? "wide" : "" },
    h("figcaption", {}, h("h2", {}, title), h("span", {}, about)), boxes[name]);
  const table = h("div", {});
  place.append(
    head("Cost", "What answers cost and what they were worth, against one model for everything.",
      choices("Time", RANGES, minutes, (value) => { minutes = value; again(); })),
    top,
    h("section", { className: "charts" },
      figure("usd", "Dollars, added up", "answered requests that a policy routed", true),
      figure("quality", "Quality", "mean of the feedback, 0 to 1"),
      figure("requests", "Requests", "failed ones in red"),
      figure("seconds", "Seconds", "mean of a request")),
    h("section", {}, note),
    h("section", {}, h("details", {}, h("summary", {}, "The same as a table"), table)));

  let last = null;
  const draw = (said) => {
    last = said;
    const line = since(said.timeline);
    const times = line.map((one) => one.at);
    const of = (key) => line.map((one) => Number(one[key]));
    const total = (key) => of(key).reduce((a, b) => a + b, 0);
    const [spent, best, cheapest] = ["compared_usd", "best_usd", "cheapest_usd"].map(total);
    const rewards = total("rewards");
    const quality = rewards ? line.reduce((sum, one) => sum + (one.quality ?? 0) * one.rewards, 0) / rewards : null;
    const { rivals } = said;
    const requests = total("requests");
    top.replaceChildren(figures([
      ["Spent", usd(total("usd")), `${count(requests)} requests`],
      rivals && ["Always the best", usd(best), `estimate · ${rivals.best.card}`],
      rivals && ["Always the cheapest", usd(cheapest), `estimate · ${rivals.cheapest.card}`],
      rivals && ["Saved against the best", best > 0 ? percent(1 - spent / best) : "–", best > 0 ? usd(best - spent) : "nothing to compare"],
      ["Quality", quality === null ? "–" : quality.toFixed(2), rewards ? `${count(rewards)} ratings` : "no feedback yet"],
    ].filter(Boolean)));
    const series = [{ name: "this server", values: running(of("compared_usd")), area: true }];
    if (rivals) {
      series.push({ name: "always the best", values: running(of("best_usd")), style: "dash" });
      series.push({ name: "always the cheapest", values: running(of("cheapest_usd")), style: "dots" });
    }
    lines(boxes.usd, { times, series, format: usd, label: `Dollars: this server ${usd(spent)}, always the best ${usd(best)}, always the cheapest ${usd(cheapest)}` });
    points(boxes.quality, { times, values: line.map((one) => one.quality), format: (value) => value.toFixed(1), label: `Mean feedback ${quality?.toFixed(2) ?? "unknown"}` });
    bars(boxes.requests, { times, values: of("requests"), bad: of("failed"), format: count, label: `${requests} requests, ${total("failed")} failed` });
    lines(boxes.seconds, { times, series: [{ values: line.map((one) => one.seconds) }], format: seconds, label: "Mean seconds of a request" });
    note.textContent = rivals
      ? `The two other curves are estimates: the tokens of each answer at the prices of ${rivals.best.card} (${rivals.best.why}) and of ${rivals.cheapest.card} (${rivals.cheapest.why}). Another model would have written other tokens, and its answers might have been worse.`
      : "No model of the pool has a known price, so there is nothing to compare with.";
    table.replaceChildren(tabled(line.filter((one) => one.requests || one.rewards)));
  };
  addEventListener("resize", () => last && draw(last), { signal });
  const ask = () => get(`v1/watch/figures?minutes=${minutes}`, signal);
  again = async () => { try { draw(await ask()); } catch { /* the next turn says it */ } };
  return poll({ every: 5000, signal, say, place, ask, draw });
}

// from the first thing that happened; at least a quarter of an hour
function since(timeline) {
  const first = timeline.findIndex((one) => one.requests || one.rewards);
  const least = Math.max(0, timeline.length - 15);
  return timeline.slice(first < 0 ? least : Math.min(first, least));
}

function tabled(line) {
  const heads = ["From", "Requests", "Failed", "Spent", "Always the best", "Always the cheapest", "Quality"];
  const row = (one) => [hour(one.at), count(one.requests), count(one.failed), usd(one.usd), usd(one.best_usd), usd(one.cheapest_usd), one.quality?.toFixed(2) ?? "–"];
  return h("div", { className: "roll", tabIndex: 0, role: "region", "aria-label": "Figures by time" },
    h("table", {}, h("thead", {}, h("tr", {}, ...heads.map((name, k) => h("th", { scope: "col", className: k ? "n" : "" }, name)))),
      h("tbody", {}, ...line.map((one) => h("tr", {}, ...row(one).map((text, k) => h("td", { className: k ? "n" : "" }, text)))))));
}
