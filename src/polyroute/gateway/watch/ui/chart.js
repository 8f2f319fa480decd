// Curves and bars as SVG, drawn for the width they have.

import { s } from "./dom.js";
import { hour } from "./format.js";

const HEIGHT = 150;
const BELOW = 18;

function scale(values, least) {
  const most = Math.max(least, ...values.filter((value) => value !== null));
  return (value) => HEIGHT - (value / most) * (HEIGHT - 12);
}

function frame(box, times, label, most, format) {
  const width = Math.max(240, box.clientWidth || 320);
  const view = s("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT + BELOW}`, height: HEIGHT + BELOW, role: "img", "aria-label": label },
    s("line", { class: "grid", x1: 0, x2: width, y1: HEIGHT, y2: HEIGHT }),
    s("line", { class: "grid", x1: 0, x2: width, y1: 12, y2: 12 }),
    s("text", { x: 0, y: 8 }, format(most)),
    s("text", { x: 0, y: HEIGHT + 14 }, hour(times[0])),
    s("text", { x: width, y: HEIGHT + 14, "text-anchor": "end" }, hour(times.at(-1))));
  return { view, width };
}

function path(points) {
  let drawn = "";
  let begun = false;
  for (const [x, y] of points) {
    if (y === null) { begun = false; continue; }
    drawn += `${begun ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    begun = true;
  }
  return drawn;
}

// series: [{name, values, style}], the first is what it is about
export function lines(box, { times, series, label, format, most }) {
  const all = series.flatMap((one) => one.values);
  const top = most ?? Math.max(1e-12, ...all.filter((value) => value !== null));
  const y = scale([top], top);
  const { view, width } = frame(box, times, label, top, format);
  const x = (k) => (times.length > 1 ? (k / (times.length - 1)) * width : width / 2);
  series.forEach((one, j) => {
    const points = one.values.map((value, k) => [x(k), value === null ? null : y(value)]);
    if (one.area) view.append(s("path", { class: "area", d: `M0 ${HEIGHT}${path(points).replace("M", "L")}L${width} ${HEIGHT}Z` }));
    view.append(s("path", { class: `line ${j === 0 ? "first" : one.style ?? ""}`, d: path(points) }));
  });
  const ends = series
    .map((one, j) => ({ name: one.name, first: j === 0, at: y(one.values.findLast((value) => value !== null) ?? 0) }))
    .filter((end) => end.name)
    .sort((a, b) => a.at - b.at);
  let below = -99;
  for (const end of ends) {
    const at = Math.min(HEIGHT - 4, Math.max(end.at - 5, below + 13));
    below = at;
    view.append(s("text", { x: width, y: at, "text-anchor": "end", class: end.first ? "first" : "" }, end.name));
  }
  box.replaceChildren(view);
}

export function bars(box, { times, values, bad, label, format }) {
  const top = Math.max(1, ...values);
  const y = scale([top], top);
  const { view, width } = frame(box, times, label, top, format);
  const wide = width / values.length;
  values.forEach((value, k) => {
    if (!value) return;
    const wrong = bad?.[k] ?? 0;
    const inner = { x: k * wide + wide * 0.12, width: Math.max(1, wide * 0.76) };
    view.append(s("rect", { class: "bar", ...inner, y: y(value), height: HEIGHT - y(value) }));
    if (wrong) view.append(s("rect", { class: "bar bad", ...inner, y: y(wrong), height: HEIGHT - y(wrong) }));
  });
  box.replaceChildren(view);
}

export function points(box, { times, values, label, format }) {
  const y = scale([1], 1);
  const { view, width } = frame(box, times, label, 1, format);
  const known = values.map((value, k) => [(k + 0.5) / values.length * width, value]).filter(([, value]) => value !== null);
  view.append(s("path", { class: "line first", d: path(known.map(([at, value]) => [at, y(value)])) }));
  for (const [at, value] of known) view.append(s("circle", { class: "point", cx: at, cy: y(value), r: 2.6 }));
  box.replaceChildren(view);
}

export function share(value, most) {
  const label = `${Math.round(value * 100)} %`;
  return Object.assign(document.createElement("div"), { className: most ? "share most" : "share" }).appendChild(
    s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { class: "of", width: 100, height: 8 }), s("rect", { class: "is", width: 100 * value, height: 8 }))).parentElement.appendChild(
    Object.assign(document.createElement("span"), { className: "n", textContent: label })).parentElement;
}
