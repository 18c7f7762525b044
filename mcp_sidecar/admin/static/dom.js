// Elements made from values. Text is only ever set as text: whatever a server calls itself, it stays a name.

/** An element with attributes (`class`, `type`, `onclick` …) and children: elements or texts; null is left out. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function drawing(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Change a text only when it is another: a reader's selection and place stay. */
export function say(node, text) {
  const wanted = String(text ?? "");
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function mark(node, name) {
  if (node.className !== name) node.className = name;
}

/**
 * Keep the rows of a table in step with items: a row stays the same element for as long as its item's key is there, so
 * that focus and selection survive an update. `make(item)` returns {row, update(item)}.
 */
export class Rows {
  constructor(body, keyOf, make) {
    this.body = body;
    this.keyOf = keyOf;
    this.make = make;
    this.known = new Map();
  }

  /** Whatever comes next has a row of its own. */
  forget() {
    for (const { row } of this.known.values()) row.remove();
    this.known.clear();
  }

  show(items) {
    const keys = new Set(items.map(this.keyOf));
    for (const [key, one] of this.known) {
      if (!keys.has(key)) {
        one.row.remove();
        this.known.delete(key);
      }
    }
    let place = this.body.firstElementChild;
    for (const item of items) {
      const key = this.keyOf(item);
      let one = this.known.get(key);
      if (!one) this.known.set(key, (one = this.make(item)));
      one.update?.(item);
      if (one.row === place) place = place.nextElementSibling;
      else this.body.insertBefore(one.row, place);
    }
  }
}
