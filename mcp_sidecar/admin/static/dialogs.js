// One dialog for everything; whoever opened it has the focus again when it is closed.

import { byId, element } from "/static/dom.js";

const dialog = byId("dialog");
let cameFrom = null;
let ended = () => {};

dialog.addEventListener("close", () => {
  const back = cameFrom;
  cameFrom = null;
  if (back?.isConnected) back.focus();
  ended(dialog.returnValue);
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close("");
});

/** Show a dialog; resolves to what it was closed with, empty for Escape. */
export function shown(title, ...body) {
  const heading = element("h2", { id: "dialog-title" }, title);
  const close = element("button", { type: "button", onclick: () => dialog.close(""), "aria-label": "Close the dialog" }, "Close");
  dialog.replaceChildren(element("div", { class: "bar" }, heading, close), element("div", { class: "body" }, ...body));
  if (!dialog.open) {
    cameFrom = document.activeElement;
    dialog.returnValue = "";
    dialog.showModal();
  }
  return new Promise((resolve) => { ended = resolve; });
}

export async function confirmed(question, consequence, word) {
  const yes = element("button", { type: "button", class: "main", onclick: () => dialog.close("yes") }, word);
  const no = element("button", { type: "button", autofocus: true, onclick: () => dialog.close("") }, "Cancel");
  return (await shown(question, element("p", {}, consequence), element("div", { class: "acts" }, yes, no))) === "yes";
}

export const told = (title, text) => shown(title, element("p", { class: "prose" }, text));

/** Ask for a token; empty when the operator gave none. */
export async function askedForToken(why) {
  const field = element("input", { type: "password", id: "token", autocomplete: "off", autofocus: true, required: true, size: 40 });
  const form = element(
    "form", { onsubmit: (event) => { event.preventDefault(); dialog.close("given"); } },
    element("div", { class: "field" }, element("label", { for: "token" }, "Token"), field,
      element("span", { class: "hint" }, "Kept in the memory of this tab only; a reload forgets it.")),
    element("div", { class: "acts" }, element("button", { type: "submit", class: "main" }, "Use it")),
  );
  const said = await shown("This sidecar asks for a token", element("p", {}, why), form);
  return said === "given" ? field.value : "";
}
