// Recent calls: the newest first, a filter, and everything about one of them.

import { Rows, byId, element, say } from "/static/dom.js";
import { shown } from "/static/dialogs.js";
import { clock, count, milliseconds } from "/static/units.js";

const MOST = 200;
const FIELDS = ["name", "method", "server", "code", "fault", "execution", "request_id", "trace_id", "peer", "subject", "rpc", "error", "connection_id"];
let calls = [];
let paused = false;
let waiting = [];
let missed = 0;
let started = false;
let begins = false; // what is told next is all that is remembered
let whole = false; // what waits stands for all that is shown

/** It went wrong, here or at the server. */
const failed = (call) => call.code !== "OK" || call.fault !== "";

function outcome(call) {
  return call.code === "OK" && call.fault ? call.fault.replace("_", " ") : call.code;
}

function kind(call) {
  if (!failed(call)) return "good";
  if (call.code === "OK") return "warn";
  return call.code === "CANCELLED" ? "" : call.level === "error" || call.level === "warning" ? "bad" : "warn";
}

function row(call) {
  const open = element("button", { type: "button", class: "plain", onclick: () => show(call) }, call.name || call.method || call.rpc || "–");
  open.setAttribute("aria-label", `Details of ${call.name || call.method || call.rpc}, ${call.code}`);
  return {
    row: element(
      "tr", { class: started ? "fresh" : null },
      element("td", { class: "mono" }, clock(call.at)),
      element("td", { class: "cut" }, open),
      element("td", { class: "wide mono cut" }, call.method || call.rpc),
      element("td", { class: "wide cut" }, call.server || "–"),
      element("td", {}, element("span", { class: `pill ${kind(call)}` }, outcome(call))),
      element("td", { class: "wide dim" }, call.from_cache ? "from cache" : call.execution),
      element("td", { class: "number" }, milliseconds(call.duration_ms)),
      element("td", { class: "wide mono dim cut" }, call.request_id.slice(0, 12)),
    ),
  };
}

function show(call) {
  const facts = [
    ["Time", new Date(call.at * 1000).toISOString()], ["Server", call.server], ["Method", call.method], ["Name", call.name],
    ["Came over", call.rpc || "HTTP"], ["Code", call.code], ["Execution", call.execution], ["Error", call.error],
    ["Server's answer", call.fault && (call.fault === "tool_error" ? "the tool failed" : `JSON-RPC error ${call.fault}`)],
    ["Duration", milliseconds(call.duration_ms)],
    ["At servers", call.waited_ms && `${milliseconds(call.waited_ms)}, in the sidecar ${milliseconds(Math.max(0, call.duration_ms - call.waited_ms))}`],
    ["Request id", call.request_id], ["Trace id", call.trace_id],
    ["Caller", [call.peer, call.subject, call.pod, call.certificate].filter(Boolean).join(" · ")], ["Connection", call.connection_id],
    ["Protocol", call.protocol_version], ["From cache", call.from_cache ? "yes" : ""],
  ].filter(([, value]) => value);
  const list = element("dl", { class: "facts" }, facts.map(([key, value]) => [element("dt", {}, key), element("dd", { class: /id$/.test(key) ? "mono" : null }, value)]));
  shown(call.name || call.method || call.rpc || "A call", list, legs(call), payloads(call));
}

function legs(call) {
  const whole = Math.max(call.duration_ms, ...call.legs.map((leg) => leg.offset_ms + leg.duration_ms), 0.01);
  const line = (label, offset, length, kinds) => {
    const span = element("div", { class: `span ${kinds}` });
    span.style.left = `${Math.min(100, (offset / whole) * 100)}%`;
    span.style.width = `${Math.min(100, (length / whole) * 100)}%`;
    return element("div", { class: "leg" }, element("span", { class: "label", title: label }, label), element("div", { class: "track" }, span), element("span", { class: "time" }, milliseconds(length)));
  };
  const sent = call.legs.map((leg) => line([leg.name, leg.toward, leg.error].filter(Boolean).join(" · "), leg.offset_ms, leg.duration_ms, leg.error ? "bad" : ""));
  const note = call.legs.length ? null : element("p", { class: "dim" }, "No server was asked anything for this call.");
  return element("div", { class: "legs" }, element("h3", {}, "Timing"), line("the whole call", 0, call.duration_ms, "whole"), sent, note);
}

function payloads(call) {
  if (!call.payloads) return element("p", { class: "dim" }, "Arguments and result were not kept: that takes admin.payloads: true.");
  const part = (title, text) => [element("h3", {}, title), element("pre", { tabindex: 0 }, pretty(text))];
  return element("div", { class: "outcome" }, part("Request", call.payloads.request), part("Answer", call.payloads.answer || "none"));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // cut off, mostly
  }
}

const rows = new Rows(byId("call-rows"), (call) => `${call.number} ${call.request_id}`, row);

function matches(call, words, failedOnly) {
  if (failedOnly && !failed(call)) return false;
  const text = FIELDS.map((field) => call[field] ?? "").join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

function render(asked) {
  const words = byId("call-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const failedOnly = byId("call-failed").checked;
  const found = calls.filter((call) => matches(call, words, failedOnly));
  rows.show(found);
  const empty = byId("calls-empty");
  empty.hidden = found.length > 0;
  say(empty, calls.length ? "No call matches the filter." : "No calls yet.");
  const held = paused && waiting.length ? `, ${count(waiting.length)} new` : "";
  const gone = missed ? `, ${count(missed)} came too fast to be shown` : "";
  byId("call-count").ariaLive = asked ? "polite" : "off"; // what the filter found is read out, not every call
  say(byId("call-count"), `${count(found.length)} of ${count(calls.length)}${held}${gone}`);
}

/** Calls that ended, oldest first. */
export function addCalls(news) {
  if (begins) startAnew();
  else missed += news.missed;
  const target = paused ? waiting : calls;
  target.unshift(...news.calls.reverse());
  target.length = Math.min(target.length, MOST);
  render();
  started = true;
}

/** A stream begins, perhaps of another process, whose calls are numbered from one. What is shown stays until then. */
export function beginCalls() {
  begins = true;
}

/** The sidecar remembers none. */
export function forgetCalls() {
  if (!calls.length && !waiting.length) return;
  startAnew();
  render();
}

function startAnew() {
  begins = started = false;
  missed = 0;
  waiting = [];
  whole = paused; // what the operator looks at is not taken away
  if (!paused) calls = [];
}

byId("call-filter").addEventListener("input", render);
byId("call-failed").addEventListener("change", render);
byId("call-pause").addEventListener("click", (event) => {
  paused = !paused;
  event.target.setAttribute("aria-pressed", String(paused));
  if (!paused) {
    calls = (whole ? waiting : [...waiting, ...calls]).slice(0, MOST);
    waiting = [];
    whole = false;
  }
  render(event);
});
