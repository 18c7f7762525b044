// What a property of a JSON Schema asks for, in the few words that a form has. Knows no element.

const SIMPLE = ["string", "number", "integer", "boolean"];
const MOST_HOPS = 8; // of references that lead to references, or in a circle

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** `enum`, one of the simple types, or `json` for everything else. */
export function typeOf(schema) {
  const types = [schema.type].flat().filter((type) => type !== "null");
  if (Array.isArray(schema.enum)) return "enum";
  return types.length === 1 && SIMPLE.includes(types[0]) ? types[0] : "json";
}

/** The schema with references followed inside `root`, "this or null" as this, and one allowed value as a choice. */
export function plain(schema, root) {
  let found = isObject(schema) ? schema : {};
  for (let hops = 0; hops < MOST_HOPS; hops += 1) {
    const next = alternative(found) ?? target(found, root);
    if (!next) break;
    const { anyOf, oneOf, $ref, ...own } = found; // the words beside a reference are about this property
    found = { ...next, ...own };
  }
  return found.const === undefined ? found : { ...found, enum: [found.const] };
}

/** The only alternative that is not null. */
function alternative({ anyOf, oneOf }) {
  const all = anyOf ?? oneOf;
  if (!Array.isArray(all)) return null;
  const real = all.filter((one) => !(isObject(one) && one.type === "null"));
  return real.length === 1 && isObject(real[0]) ? real[0] : null;
}

function target({ $ref }, root) {
  if (typeof $ref !== "string" || !$ref.startsWith("#/")) return null;
  let place = root;
  for (const step of $ref.slice(2).split("/")) {
    const name = step.replaceAll("~1", "/").replaceAll("~0", "~");
    place = isObject(place) && Object.hasOwn(place, name) ? place[name] : null;
  }
  return isObject(place) ? place : null;
}
