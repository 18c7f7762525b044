// Tools by server, the schema of one, and calling it.

import { byId, element, say } from "/static/dom.js";
import { ArgumentForm } from "/static/form.js";
import { ask, events } from "/static/sidecar.js";
import { milliseconds } from "/static/units.js";

const LONGEST = 64 * 1024; // characters of a result that are shown
const MOST_STEPS = 200;
let servers = [];
let chosen = "";
let mayAct = false;
let running = null;
let drawn = null; // what is shown of the chosen tool

const keyOf = (server, tool) => `${server}\n${tool.name}`;

/** What each server offers; what was chosen and typed stays, and is said to be old where it is. */
export function showTools(offered) {
  servers = offered;
  list();
  compare();
}

export function showActions(state) {
  if (mayAct !== state.actions) {
    mayAct = state.actions;
    redraw();
  }
}

function list() {
  const words = byId("tool-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = servers.map(({ server, tools, error, pending }) => {
    const found = tools.filter((tool) => words.every((word) => `${server} ${tool.name} ${tool.title} ${tool.description}`.toLowerCase().includes(word)));
    if (words.length && !found.length) return null;
    return [
      element("h3", {}, server),
      error ? element("p", {}, error) : null,
      pending ? element("p", { class: "dim" }, "asked, no answer yet") : null,
      !error && !pending && !tools.length ? element("p", { class: "dim" }, "offers no tools") : null,
      element("ul", {}, found.map((tool) => element("li", {}, choice(server, tool)))),
    ];
  });
  const box = byId("tool-list");
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  box.replaceChildren(...groups.flat().filter(Boolean));
  if (!box.childElementCount) box.append(element("p", { class: "dim" }, "No tool matches."));
  if (focused) [...box.querySelectorAll("button")].find((one) => one.dataset.key === focused)?.focus();
}

function choice(server, tool) {
  const key = keyOf(server, tool);
  const button = element("button", { type: "button", onclick: () => choose(server, tool) }, tool.title || tool.name);
  button.dataset.key = key;
  if (key === chosen) button.setAttribute("aria-current", "true");
  return button;
}

function choose(server, tool) {
  chosen = keyOf(server, tool);
  for (const one of byId("tool-list").querySelectorAll("button")) {
    if (one.dataset.key === chosen) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
  draw(server, tool);
}

/** The chosen tool as it is offered, or null. */
function offeredOne() {
  for (const { server, tools } of servers) {
    for (const tool of tools) if (keyOf(server, tool) === chosen) return { server, tool };
  }
  return null;
}

function redraw() {
  const found = offeredOne();
  if (found) draw(found.server, found.tool);
}

/** Say above a chosen tool that it is gone, or is another; what was typed for it is not thrown away. */
function compare() {
  if (!drawn) return;
  const found = offeredOne();
  const known = servers.find(({ server }) => server === drawn.server);
  if (!found && known && (known.error || known.pending)) return; // nothing is known of it
  drawn.gone = !found;
  const changed = found !== null && JSON.stringify(found.tool) !== drawn.text;
  const another = changed ? `${drawn.server} describes this tool in another way than is shown here.` : "";
  say(drawn.said, drawn.gone ? `${drawn.server} does not offer ${drawn.name} any more.` : another);
  drawn.notice.hidden = !drawn.gone && !changed;
  drawn.anew.hidden = !changed;
}

function badges(tool) {
  const said = tool.annotations ?? {};
  return [
    said.readOnlyHint === true ? ["reads only", "good"] : null,
    said.destructiveHint === true && !said.readOnlyHint ? ["may destroy", "bad"] : null,
    said.idempotentHint === true ? ["may be repeated", ""] : null,
    said.openWorldHint === true ? ["reaches out", "warn"] : null,
  ].filter(Boolean).map(([text, kind]) => element("span", { class: `pill ${kind}` }, text));
}

function schema(title, value) {
  if (!value) return null;
  return element("details", {}, element("summary", {}, title), element("pre", { tabindex: 0 }, JSON.stringify(value, null, 2)));
}

function draw(server, tool) {
  running?.abort();
  running = null;
  const box = byId("tool-detail");
  const said = element("span");
  const anew = element("button", { type: "button", onclick: redraw }, "Show it");
  const notice = element("p", { class: "notice", "aria-live": "polite", hidden: true }, said, " ", anew);
  const typed = drawn?.key === keyOf(server, tool) ? drawn.form?.typed() : null;
  const form = mayAct ? new ArgumentForm(tool.inputSchema) : null;
  if (typed) form?.retype(typed);
  drawn = { key: keyOf(server, tool), server, name: tool.name, text: JSON.stringify(tool), form, notice, said, anew, gone: false };
  box.replaceChildren(
    notice,
    element("div", { class: "head" }, element("h3", {}, tool.title || tool.name), element("span", { class: "dim mono" }, `${server} / ${tool.name}`), badges(tool)),
    tool.description ? element("p", { class: "prose" }, tool.description) : "",
    form ? caller(server, tool, form) : element("p", { class: "dim" }, "Calling tools from this page needs admin.actions: true."),
    schema("Input schema", tool.inputSchema) ?? "",
    schema("Output schema", tool.outputSchema) ?? "",
  );
}

function caller(server, tool, form) {
  const outcome = element("div", { class: "outcome" });
  const run = element("button", { type: "submit", class: "main" }, "Call");
  const stop = element("button", { type: "button", hidden: true, onclick: () => running?.abort() }, "Cancel");
  const text = element("button", { type: "button", "aria-pressed": "false", onclick: () => {
    form.showText(!form.asText);
    text.setAttribute("aria-pressed", String(form.asText));
  } }, "as JSON");
  const submit = async (event) => {
    event.preventDefault();
    if (run.ariaDisabled) return;
    if (drawn.gone) {
      outcome.replaceChildren(element("p", { role: "status", class: "bad-text" }, `not called: ${server} does not offer it any more`));
      return;
    }
    const given = form.read();
    if (given === null) return;
    run.ariaDisabled = "true"; // not `disabled`, which would take the focus away
    stop.hidden = false;
    try {
      await call(server, tool, given, outcome);
    } finally {
      run.ariaDisabled = null;
      if (document.activeElement === stop) run.focus();
      stop.hidden = true;
    }
  };
  return element("div", { class: "outcome" }, element("form", { onsubmit: submit, novalidate: true }, form.nodes, element("div", { class: "acts" }, run, stop, text)), outcome);
}

async function call(server, tool, given, outcome) {
  running = new AbortController();
  const { signal } = running;
  const state = element("p", { role: "status" }, "running …");
  const bar = element("progress", { "aria-label": "Progress" });
  const steps = element("ol", { class: "steps", "aria-label": "Progress messages" });
  outcome.replaceChildren(state, bar, steps);
  const body = `{"server":${JSON.stringify(server)},"tool":${JSON.stringify(tool.name)},"arguments":${given}}`;
  let ended = false;
  try {
    for await (const { name, data } of events(await ask("/api/call", { method: "POST", body, signal }))) {
      if (name === "progress") progress(data.params ?? {}, bar, steps);
      else if (name === "notification") step(steps, data.params?.data === undefined ? data.method : asText(data.params.data));
      else {
        ended = true;
        bar.remove();
        finish(name, data, state, outcome);
      }
    }
    if (!ended) fail(state, bar, "the stream ended without an answer");
  } catch (error) {
    fail(state, bar, signal.aborted ? "cancelled" : error.message);
  }
}

function progress({ progress: done, total, message }, bar, steps) {
  if (typeof done === "number" && typeof total === "number" && total > 0) {
    bar.max = total;
    bar.value = done;
  }
  step(steps, [typeof total === "number" ? `${done}/${total}` : `${done ?? ""}`, asText(message ?? "")].join("  "));
}

function step(steps, text) {
  steps.append(element("li", {}, text));
  while (steps.childElementCount > MOST_STEPS) steps.firstElementChild.remove();
  steps.scrollTop = steps.scrollHeight;
}

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function fail(state, bar, why) {
  bar.remove();
  say(state, why);
  state.className = "bad-text";
}

function finish(name, data, state, outcome) {
  const error = name === "failed" ? data.error : data.error ? `the server refused: ${data.error.message ?? ""}` : "";
  const failed = Boolean(error) || data.result?.isError === true;
  const head = error || (failed ? "the tool failed" : "done");
  say(state, `${head} · ${milliseconds(data.duration_ms)} · execution ${data.execution} · request ${data.request_id}`);
  state.className = failed ? "bad-text" : "";
  const result = data.result ?? data.error;
  if (result === undefined || name === "failed") return;
  const texts = (Array.isArray(result.content) ? result.content : []).filter((one) => one?.type === "text" && typeof one.text === "string").map((one) => one.text).join("\n");
  if (texts) outcome.append(element("pre", { tabindex: 0, "aria-label": "Text of the result" }, cut(texts)));
  const whole = element("details", { open: !texts }, element("summary", {}, "Whole result"), element("pre", { tabindex: 0 }, cut(JSON.stringify(result, null, 2))));
  outcome.append(whole);
}

const cut = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}\n… ${text.length - LONGEST} more characters` : text);

byId("tool-filter").addEventListener("input", list);
