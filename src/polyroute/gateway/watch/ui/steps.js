// The steps of an episode, as the live view, the playground and the trace viewer show them.

import { h } from "./dom.js";
import { plural, seconds, tokens, usd } from "./format.js";

// step: {own, final, answer, reason, calls: [{card, prompt}], replies: [{…} | undefined]}
export function steps(list) {
  return h("ol", { className: "steps" }, ...list.map((step) => h("li", {}, h("div", {},
    h("div", {},
      h("strong", {}, step.answer ? "Answers" : step.own ? "Thinks" : step.final ? "Asks, for the answer" : "Asks"),
      step.reason ? h("span", { className: "why" }, ` ${step.reason}`) : null),
    ...step.calls.map((call, k) => said(call, step.replies?.[k])),
    step.text ? h("div", { className: "said" }, h("span"), h("span", { className: "text" }, step.text)) : null))));
}

function said(call, reply) {
  const facts = reply ? [usd(reply.usd), seconds(reply.seconds), reply.tokens ? `${tokens(reply.tokens)} tokens` : null].filter(Boolean).join(" · ") : "waiting";
  return h("div", { className: "said" },
    h("span", { className: "who" }, call.card, reply?.instance ? h("span", { className: "tag" }, reply.instance) : null),
    h("span", { className: "text" },
      call.prompt ? h("span", { className: "query" }, call.prompt) : null,
      reply?.failure ? h("span", { className: "wrong" }, `failed: ${reply.failure}`) : reply?.text ?? ""),
    h("span", { className: "sum" }, facts));
}

export function path(list) {
  const row = h("span", { className: "path" });
  list.filter((step) => step.calls.length).forEach((step, k) => {
    if (k) row.append(h("span", { "aria-hidden": "true" }, "→"));
    step.calls.forEach((call, j) => {
      const reply = step.replies?.[j];
      const state = !reply ? "waits" : reply.failure ? "bad" : step.own ? "own" : "";
      row.append(h("span", { className: `call ${state}` }, call.card, reply?.failure ? h("span", { className: "hush" }, " failed") : null));
    });
  });
  return row;
}

// a stored record, as /v1/traces gives it -> steps
export function ofRecord(record) {
  return record.steps.map(({ decision, replies }) => ({
    own: decision.own,
    final: decision.final,
    answer: decision.type === "answer",
    reason: decision.reason,
    calls: (decision.calls ?? []).map((call) => ({ card: call.model, prompt: call.prompt ?? "" })),
    replies: replies.map((reply) => ({
      text: reply.text, usd: reply.usd, seconds: reply.seconds, instance: reply.instance,
      tokens: reply.usage && reply.usage.input + reply.usage.output + reply.usage.cached + reply.usage.reasoning,
      failure: reply.failure?.kind,
    })),
    text: decision.type === "answer" ? decision.text || (decision.failure ? `no answer: ${decision.failure.message}` : "") : "",
  }));
}

export const asked = (decision) => (decision.type === "answer"
  ? "answer now"
  : `ask ${decision.calls.map((call) => call.model).join(" and ")}${decision.final ? ", for the answer" : ""}`);

export const rounds = (n) => plural(n, "round");
