// Elements from values. Texts are always text nodes: what a model says is never read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !(node instanceof SVGElement) && name !== "list") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

export function head(title, about, ...controls) {
  return h("div", { className: "head" },
    h("div", {}, h("h1", {}, title), h("p", {}, about)),
    controls.length ? h("div", { className: "row" }, ...controls) : null);
}

export function figures(pairs) {
  return h("dl", { className: "figures" },
    ...pairs.map(([name, value, more]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : null))));
}

export function choices(label, options, chosen, pick) {
  const buttons = options.map(([value, text]) =>
    h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.value === String(value)));
      pick(value);
    } }, text));
  buttons.forEach((button, k) => { button.dataset.value = options[k][0]; });
  return h("div", { className: "group", role: "group", "aria-label": label }, ...buttons);
}
