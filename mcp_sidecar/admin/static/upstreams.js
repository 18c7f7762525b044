// The table of MCP servers.

import { Rows, byId, element, mark, say } from "/static/dom.js";
import { Spark } from "/static/spark.js";
import { count, milliseconds } from "/static/units.js";

const MARKS = { up: "good", down: "bad", unknown: "" };
const ENDPOINTS = { connected: "good", connecting: "warn", disconnected: "bad", "": "" };

function row() {
  const dot = element("span", { class: "dot" });
  const state = element("span", { class: "unseen" });
  const name = element("span");
  const title = element("span", { class: "sub" });
  const endpoints = element("td", { class: "cut mono wide" });
  const protocol = element("td", { class: "wide" });
  const cells = Object.fromEntries(["calls", "failed", "p50", "p95"].map((key) => [key, element("td", { class: "number" })]));
  cells.p50.classList.add("wide");
  const spark = new Spark();
  const error = element("span", { class: "sub bad" });
  const made = element(
    "tr", {},
    element("th", { scope: "row", class: "cut" }, element("span", { class: "name" }, dot, state, name), title, error),
    endpoints, protocol, cells.calls, cells.failed, cells.p50, cells.p95,
    element("td", {}, spark.svg),
  );
  const update = (server) => {
    const { latency } = server;
    mark(dot, `dot ${MARKS[server.state] ?? ""}`);
    say(state, `${server.state}: `);
    say(name, server.name);
    say(title, [server.title, server.version].filter(Boolean).join(" "));
    say(error, server.last_error);
    error.hidden = !server.last_error;
    title.hidden = !server.title;
    showEndpoints(endpoints, server.endpoints);
    say(protocol, [server.protocol_version || "not asked yet", server.transport].join(" · "));
    say(cells.calls, count(latency.calls));
    say(cells.failed, count(latency.failed));
    cells.failed.classList.toggle("bad-text", latency.failed > 0);
    say(cells.p50, milliseconds(latency.p50_ms));
    say(cells.p95, milliseconds(latency.p95_ms));
    spark.show(latency);
  };
  return { row: made, update };
}

function showEndpoints(cell, endpoints) {
  while (cell.childElementCount > endpoints.length) cell.lastElementChild.remove();
  endpoints.forEach((endpoint, index) => {
    let line = cell.children[index];
    if (!line) {
      line = element("span", { class: "place" }, element("span", { class: "dot" }), element("span"));
      cell.append(line);
    }
    mark(line.children[0], `dot ${ENDPOINTS[endpoint.state] ?? ""}`);
    say(line.children[1], endpoint.address);
    line.title = `${endpoint.state || "not connected"}, ${endpoint.connections} connections, ${endpoint.in_flight} in flight`;
  });
}

const rows = new Rows(byId("upstream-rows"), (server) => server.name, row);

export function showUpstreams(state) {
  rows.show(state.servers);
  byId("upstreams-empty").hidden = state.servers.length > 0;
}
