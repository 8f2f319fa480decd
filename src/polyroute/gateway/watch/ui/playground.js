// Ask something, choose who decides and what quality is worth, and see the rounds as they happen.

import { h, head } from "./dom.js";
import { plural, seconds, usd } from "./format.js";
import { events, get, post } from "./net.js";
import { ofRecord, steps } from "./steps.js";

// the knob: dollars that one right answer is worth, from a hundred-thousandth to one, and "as configured"
const worth = (knob) => (knob === 0 ? null : 10 ** (-5 + (5 * (knob - 1)) / 99));

export async function playground({ place, signal, say }) {
  const policy = h("select", { id: "policy" }, h("option", { value: "polyroute" }, "polyroute"));
  const question = h("textarea", { id: "question", required: true, placeholder: "What is the capital of Peru?" });
  const knob = h("input", { id: "knob", type: "range", min: 0, max: 100, value: 0, "aria-describedby": "knob-is" });
  const knobIs = h("output", { id: "knob-is", htmlFor: "knob" });
  const cap = h("input", { id: "cap", inputMode: "decimal", placeholder: "as configured" });
  const send = h("button", { type: "submit", className: "main" }, "Ask");
  const stop = h("button", { type: "button", hidden: true }, "Stop");
  const turn = () => {
    const value = worth(Number(knob.value));
    knobIs.textContent = value === null ? "as configured" : `${usd(value)} for one right answer`;
    knob.setAttribute("aria-valuetext", knobIs.textContent);
  };
  knob.addEventListener("input", turn);
  turn();

  const state = h("p", { className: "note", role: "status" }, "The rounds appear here as they happen.");
  const thinks = h("div", { className: "thinks" });
  const answer = h("div", { className: "answer" });
  const trace = h("div", {});
  const form = h("form", { className: "form" },
    h("div", {}, h("label", { htmlFor: "question" }, "Question"), question),
    h("div", {}, h("label", { htmlFor: "policy" }, "Who decides"), policy),
    h("div", {}, h("label", { htmlFor: "knob" }, "What quality is worth: ", knobIs), knob,
      h("div", { className: "ends", "aria-hidden": "true" }, h("span", {}, "cheap"), h("span", {}, "good"))),
    h("div", {}, h("label", { htmlFor: "cap" }, "At most, in dollars"), cap),
    h("div", { className: "row" }, send, stop));
  place.append(head("Try", "Ask this server something, and see whom it asks."),
    h("div", { className: "halves" }, form, h("section", { "aria-label": "Answer", className: "out" }, state, thinks, answer, trace)));

  const ask = async () => {
    const cut = new AbortController();
    const gone = () => cut.abort();
    signal.addEventListener("abort", gone, { once: true });
    stop.onclick = gone;
    send.disabled = true;
    stop.hidden = false;
    for (const box of [thinks, answer, trace]) box.replaceChildren();
    state.textContent = "asking …";
    const begun = performance.now();
    try {
      const options = { trace: true };
      const value = worth(Number(knob.value));
      if (value !== null) options.usd_per_quality = value;
      if (cap.value.trim()) options.max_usd = Number(cap.value);
      if (Number.isNaN(options.max_usd)) throw new Error("the limit must be a number of dollars");
      const response = await post("v1/chat/completions", {
        model: policy.value, stream: true, messages: [{ role: "user", content: question.value }], polyroute: options,
      }, cut.signal);
      for await (const chunk of events(response)) {
        if (chunk.error) throw new Error(chunk.error.message);
        const delta = chunk.choices?.[0]?.delta ?? {};
        if (delta.reasoning_content) thinks.append(delta.reasoning_content);
        if (delta.content) {
          answer.append(delta.content);
          state.textContent = "answering …";
        }
        if (chunk.polyroute) finish(chunk.polyroute, begun);
      }
    } catch (error) {
      state.replaceChildren(h("span", { className: "wrong" }, cut.signal.aborted ? "stopped" : error.message));
    } finally {
      signal.removeEventListener("abort", gone);
      send.disabled = false;
      stop.hidden = true;
    }
  };

  const finish = (report, begun) => {
    state.textContent = `${usd(report.usd)} · ${plural(report.rounds, "round")} · ${seconds((performance.now() - begun) / 1000)} · ${report.policy}`;
    if (report.trace) {
      thinks.replaceChildren();
      trace.replaceChildren(h("section", {}, h("h2", {}, "How it came about"), steps(ofRecord(report.trace).filter((step) => !step.answer)),
        h("p", { className: "note" }, h("a", { href: `#/traces/${encodeURIComponent(report.trace_id)}` }, "Open the record"))));
    }
  };

  form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) form.requestSubmit();
  });
  try {
    const { data } = await get("v1/models", signal);
    const group = (label, kind) => h("optgroup", { label }, ...data.filter((model) => (model.polyroute.kind === "policy") === kind)
      .map((model) => h("option", { value: model.id }, model.id)));
    policy.replaceChildren(group("Policies", true), group("Cards", false));
    say("on", "ready");
  } catch (error) {
    if (!signal.aborted) say("off", error.message);
  }
}
