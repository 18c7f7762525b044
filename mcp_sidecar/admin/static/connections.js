// The table of connections, and closing one.

import { Rows, byId, element, mark, say } from "/static/dom.js";
import { confirmed, told } from "/static/dialogs.js";
import { ask } from "/static/sidecar.js";
import { count, duration, now } from "/static/units.js";

const MARKS = { connected: "good", connecting: "warn", disconnected: "bad", closed: "" };
let mayAct = false;
let process = ""; // whose connections these are: another one numbers its own from the beginning

function row(connection) {
  const cell = (kind = "") => element("td", kind ? { class: kind } : {});
  const cells = {
    server: cell(), endpoint: cell("wide mono cut"), state: cell("cut"), protocol_version: cell("wide"),
    since: cell("number wide"), in_flight: cell("number"), calls: cell("number"), close: cell("number"),
  };
  const pill = element("span");
  const error = element("span", { class: "sub bad" });
  cells.state.append(pill, error);
  const { id, server } = connection; // of one for as long as there is the row
  const button = element("button", { type: "button", onclick: () => close({ id, server, process }, button) }, "Close");
  button.setAttribute("aria-label", `Close connection ${id} to ${server}`);
  cells.close.append(button);
  const made = element("tr", {}, element("th", { scope: "row", class: "mono" }, id), Object.values(cells));
  const update = (one) => {
    for (const key of ["server", "endpoint"]) say(cells[key], one[key]);
    say(cells.protocol_version, one.protocol_version || "–");
    mark(pill, `pill ${MARKS[one.state] ?? ""}`);
    say(pill, one.state);
    say(error, one.last_error);
    error.title = one.last_error; // cut off, mostly
    error.hidden = !one.last_error;
    say(cells.since, duration(now() - one.since));
    say(cells.in_flight, count(one.in_flight));
    say(cells.calls, count(one.calls));
    button.hidden = !mayAct;
  };
  return { row: made, update };
}

async function close({ id, ...meant }, button) {
  const sure = await confirmed(
    `Close connection ${id} to ${meant.server}?`,
    "It takes no new calls, and closes when those on it have ended. The next call opens another.",
    "Close it",
  );
  if (!sure) return;
  button.disabled = true;
  try {
    await ask(`/api/connections/${encodeURIComponent(id)}/close`, { method: "POST", body: JSON.stringify(meant) });
  } catch (error) {
    await told(`Connection ${id} to ${meant.server} was not closed`, error.message);
    button.disabled = false;
  }
}

const rows = new Rows(byId("connection-rows"), ({ id, server }) => `${id}\n${server}`, row);

export const forgetConnections = () => rows.forget();

export function showConnections(state) {
  mayAct = state.actions;
  process = state.process;
  rows.show(state.connections);
  byId("connections-empty").hidden = state.connections.length > 0;
  const more = state.connections_total - state.connections.length;
  say(byId("connections-note"), more > 0 ? `and ${count(more)} more` : mayAct ? "" : "closing one needs admin.actions");
}
