// The page: one stream of events in, every part told. Read this file first.

import { addCalls, forgetCalls } from "/static/calls.js";
import { showConnections } from "/static/connections.js";
import { askedForToken } from "/static/dialogs.js";
import { byId, element, mark, say } from "/static/dom.js";
import { Refused, ask, events, useToken } from "/static/sidecar.js";
import { loadTools, showActions } from "/static/tools.js";
import { count, duration, now } from "/static/units.js";
import { showUpstreams } from "/static/upstreams.js";

const AGAIN_MS = 1500;
const TOOLS_MS = 5000;
const PHASES = { starting: "warn", serving: "good", lame_duck: "warn", draining: "warn", stopped: "bad" };
let state = null;
let offered = null; // the servers whose tools are shown, with their health
let askAgainAt = 0;

function live(kind, text) {
  mark(byId("live-dot"), `dot ${kind}`);
  say(byId("live-text"), text);
  byId("main").classList.toggle("stale", kind === "bad"); // what is shown is what was
}

function tile(label) {
  const value = element("dd");
  byId("tiles").append(element("div", {}, element("dt", {}, label), value));
  return value;
}

const tiles = Object.fromEntries(["Phase", "Uptime", "Calls", "In flight", "Upstreams", "Connections"].map((label) => [label, tile(label)]));

function showTiles() {
  if (!state) return;
  const up = state.servers.filter((server) => server.state !== "down").length;
  say(tiles.Phase, state.phase.replace("_", " "));
  mark(tiles.Phase, PHASES[state.phase] ?? "");
  say(tiles.Uptime, duration(now() - state.started_at));
  say(tiles.Calls, count(state.calls));
  say(tiles["In flight"], count(state.in_flight));
  say(tiles.Upstreams, `${up} / ${state.servers.length}`);
  mark(tiles.Upstreams, up < state.servers.length ? "bad" : "");
  say(tiles.Connections, count(state.connections_total));
}

function showDrain() {
  const notice = byId("notice");
  const leaving = state.phase !== "serving" && state.phase !== "starting";
  notice.hidden = !leaving;
  if (!leaving) return;
  const left = state.drain_ends_at === null ? "" : `, at most ${duration(state.drain_ends_at - now())} more`;
  const refused = state.refused ? ` ${count(state.refused)} new calls were refused.` : "";
  say(notice, `The sidecar is leaving (${state.phase.replace("_", " ")}): ${count(state.in_flight)} calls in flight${left}.${refused}`);
}

function showState(next) {
  if (state && Math.abs(next.started_at - state.started_at) > 2) forgetCalls();
  state = next;
  say(byId("version"), state.version);
  showTiles();
  showDrain();
  showUpstreams(state);
  showConnections(state);
  showActions(state);
  offerTools(state.servers.map(({ name, state: health }) => `${name} ${health}`).join("\n"));
}

/** Read the tools again when servers come, go or recover, and after a failure: seldom, for every server is asked. */
function offerTools(servers) {
  if (servers === offered || Date.now() < askAgainAt) return;
  offered = servers;
  askAgainAt = Date.now() + TOOLS_MS;
  loadTools().catch(() => { offered = null; });
}

async function follow() {
  const answer = await ask("/api/events");
  forgetCalls(); // a stream begins with all that is remembered
  live("good", "live");
  for await (const { name, data } of events(answer)) {
    if (name === "state") showState(data);
    else if (name === "calls") addCalls(data);
    else if (name === "end") live("warn", "draining");
  }
}

async function run() {
  for (;;) {
    try {
      await follow();
      live("warn", "ended, trying again");
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        live("warn", "needs a token");
        useToken(await askedForToken(error.message));
        continue;
      }
      live("bad", error instanceof Refused ? error.message : "not reachable, trying again");
    }
    offered = null;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

setInterval(showTiles, 1000);
run();
