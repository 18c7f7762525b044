// Whose tools have to be asked for, and asking: of all at first, then of those that come, change or recover.

import { byId } from "/static/dom.js";
import { ask, events } from "/static/sidecar.js";
import { showTools } from "/static/tools.js";

const PACE_MS = 2000; // a server that changes all the time is not asked all the time
const isTool = (tool) => typeof tool?.name === "string";
let servers = []; // as the state has them
const answers = new Map(); // by server: what it said last
const asked = new Map(); // by server: in which condition it was when it was asked last
let awaited = new Set();
let begunAt = -Infinity;
let timer = 0;
let reading = null;

/** A tool whose words are texts, whatever its server sent in their place: one server spoils no list. */
function readable(tool) {
  const text = (value) => (typeof value === "string" ? value : "");
  return { ...tool, title: text(tool.title), description: text(tool.description) };
}

const condition = ({ offers, state }) => `${offers} ${state}`;

function isDue(server) {
  const before = asked.get(server.name);
  if (before === condition(server)) return false;
  // That it went down says nothing that its answer did not say already.
  return !(server.state === "down" && before?.startsWith(`${server.offers} `) && answers.get(server.name)?.error);
}

/** The servers there are: ask those that may offer something else than is shown. */
export function offer(state) {
  const names = (all) => all.map(({ name }) => name).join("\n");
  const others = names(state) !== names(servers);
  servers = state;
  if (others) {
    const known = new Set(servers.map(({ name }) => name));
    for (const kept of [answers, asked]) for (const name of kept.keys()) if (!known.has(name)) kept.delete(name);
    show();
  }
  if (!timer && servers.some(isDue)) timer = setTimeout(begin, Math.max(0, begunAt + PACE_MS - Date.now()));
}

/** What is known may be old. */
export const askAgain = () => asked.clear();

/** What is known is another process's. */
export function forgetOffers() {
  reading?.abort();
  servers = [];
  for (const kept of [answers, asked, awaited]) kept.clear();
}

function begin() {
  timer = 0;
  const due = servers.filter(isDue);
  if (due.length) read(due).catch(() => {}); // the next state has them due again
}

function show() {
  showTools(servers.map(({ name }) => answers.get(name) ?? { server: name, tools: [], error: "", pending: true }));
}

/** Ask these, and those that the last request still waits for: there is one request at a time. */
async function read(due) {
  reading?.abort();
  const mine = new AbortController();
  reading = mine;
  begunAt = Date.now();
  for (const server of due) asked.set(server.name, condition(server));
  const names = servers.map(({ name }) => name).filter((name) => awaited.has(name) || due.some((one) => one.name === name));
  awaited = new Set(names);
  const all = names.length === servers.length; // the names of thousands are too long for a line
  const query = all ? "" : `?${new URLSearchParams(names.map((name) => ["server", name]))}`;
  try {
    const answer = await ask(`/api/tools${query}`, { signal: mine.signal, accept: "text/event-stream" });
    for await (const { data } of events(answer)) {
      if (reading !== mine) return;
      awaited.delete(data.server);
      answers.set(data.server, { ...data, tools: data.tools.filter(isTool).map(readable) });
      show();
    }
  } catch (error) {
    if (reading !== mine) return;
    for (const name of awaited) asked.delete(name);
    throw error;
  } finally {
    if (reading === mine) reading = null;
  }
}

byId("tools-refresh").addEventListener("click", async ({ target }) => {
  if (target.ariaDisabled) return;
  target.ariaDisabled = "true"; // not `disabled`, which would take the focus away
  try {
    await read(servers);
  } catch (error) {
    showTools([{ server: "", tools: [], error: error.message }]);
  } finally {
    target.ariaDisabled = null;
  }
});
