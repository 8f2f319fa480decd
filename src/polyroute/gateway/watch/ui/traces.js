// Records, one in full, and where another policy would have left it.

import { figures, h, head } from "./dom.js";
import { plural, seconds, tokens, usd } from "./format.js";
import { get, post } from "./net.js";
import { asked, ofRecord, steps } from "./steps.js";

export async function traces({ place, signal, rest: [chosen], say }) {
  const list = h("nav", { className: "records", "aria-label": "Newest records" });
  const shown = h("section", { "aria-label": "Record" });
  place.append(head("Traces", "What happened, in full, and what another policy would have done."),
    h("div", { className: "halves" }, list, shown));
  try {
    const [found] = await Promise.all([get("v1/watch/records?limit=100", signal), chosen ? show(shown, chosen, signal) : null]);
    if (signal.aborted) return;
    say("on", "ready");
    list.append(...found.records.map((record) => row(record, chosen)));
    if (!found.records.length) list.append(h("p", { className: "empty" }, found.kept ? "There are no records yet." : "This server keeps no records."));
    if (!chosen) shown.replaceChildren(h("p", { className: "empty" }, found.records.length ? "Choose a record." : ""));
    list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (signal.aborted) return;
    say("off", error.status ? "refused" : "not reached");
    place.append(h("p", { className: "alarm", role: "alert" }, error.message));
  }
}

function row(record, chosen) {
  return h("a", { href: `#/traces/${encodeURIComponent(record.id)}`, "aria-current": record.id === chosen ? "true" : null },
    h("span", { className: "asked" }, record.question || "text not kept"),
    h("span", { className: record.status === "answered" ? "n" : "n wrong" }, record.status === "answered" ? usd(record.usd) : record.status),
    h("small", {}, `${record.policy ?? "unknown policy"} · ${plural(record.calls, "call")}`),
    h("small", { className: "n" }, record.created_at.slice(11, 19)));
}

async function show(place, id, signal) {
  let record;
  try {
    record = await get(`v1/traces/${encodeURIComponent(id)}`, signal);
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(h("p", { className: "alarm", role: "alert" }, error.message));
    return;
  }
  const user = (record.request.messages ?? []).filter((message) => message.role === "user").at(-1)?.content;
  const bill = record.bill;
  place.replaceChildren(
    h("h2", {}, typeof user === "string" ? user : "Text not kept"),
    h("p", { className: "note mono" }, record.id),
    figures([
      ["Cost", usd(bill.usd), bill.unknown ? `+ ${bill.unknown} unknown` : null],
      ["Time", seconds(record.steps.at(-1)?.seconds)],
      ["Tokens", tokens(Object.values(record.usage).reduce((a, b) => a + b, 0))],
      ["Policy", record.policy?.name ?? "–", record.status],
    ]),
    h("section", {}, h("h2", {}, "Steps"), steps(ofRecord(record))),
    await replays(record, signal));
}

async function replays(record, signal) {
  const box = h("section", {}, h("h2", {}, "Replay under another policy"));
  if (record.content !== "full") {
    box.append(h("p", { className: "note" }, `This record was kept without its texts (records.content: ${record.content}), which a replay needs.`));
    return box;
  }
  const { data } = await get("v1/models", signal);
  const names = data.filter((model) => model.polyroute.kind === "policy").map((model) => model.id.replace(/^polyroute\/?/, "") || "default");
  const policy = h("select", { id: "other" }, ...names.map((name) => h("option", { value: name }, name)));
  const out = h("div", { role: "status" });
  const button = h("button", { type: "submit" }, "Replay");
  const form = h("form", { className: "row" }, h("div", {}, h("label", { htmlFor: "other" }, "Policy"), policy), button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      out.replaceChildren(verdict(await (await post("v1/watch/replay", { trace_id: record.id, policy: policy.value }, signal)).json(), policy.value));
    } catch (error) {
      out.replaceChildren(h("p", { className: "wrong" }, error.message));
    } finally {
      button.disabled = false;
    }
  });
  box.append(h("p", { className: "note" }, "Nothing is called: the other policy is shown what was recorded, step by step, until it wants something else."), form, out);
  return box;
}

function verdict({ steps: total, agreed, same, difference }, policy) {
  if (same) {
    return h("div", { className: "verdict" }, h("strong", {}, `${policy} decides the same`), h("p", {}, "Every decision is as recorded, so the answer and the bill would be the same."));
  }
  const { recorded, replayed, explanation } = difference;
  const other = replayed === null ? `${policy} breaks here.` : `${policy} would ${asked(replayed)}.`;
  const unknown = replayed?.type === "route" ? " What it would have heard was not recorded, so nobody knows what came of it." : "";
  return h("div", { className: "verdict differs" },
    h("strong", {}, `Differs at step ${difference.step + 1} of ${total}`),
    h("p", {}, `Recorded: ${asked(recorded)}. ${other}${unknown}`),
    h("p", { className: "note" }, `${agreed ? `${plural(agreed, "decision")} before it as recorded. ` : ""}First difference: ${explanation}`));
}
