// What a property of a JSON Schema asks for, in the few words that a form has. Knows no element.

const SIMPLE = ["string", "number", "integer", "boolean"];
const MOST_HOPS = 8; // of references that lead to references, or in a circle

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** The values that are allowed, each with its label; null where others are. */
export function choicesOf(schema) {
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => ({ value, label: labelOf(value) }));
  const all = realOnes(schema);
  if (!all?.length || !all.every((one) => isObject(one) && Object.hasOwn(one, "const"))) return null;
  return all.map(({ const: value, title }) => ({ value, label: typeof title === "string" && title ? title : labelOf(value) }));
}

const labelOf = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** `enum`, one of the simple types, or `json` for everything else. */
export function typeOf(schema) {
  const types = [schema.type].flat().filter((type) => type !== "null");
  if (choicesOf(schema)) return "enum";
  return types.length === 1 && SIMPLE.includes(types[0]) ? types[0] : "json";
}

/** The schema with references followed inside `root`, "this or null" as this, and one allowed value as a choice. */
export function plain(schema, root) {
  let found = isObject(schema) ? schema : {};
  for (let hops = 0; hops < MOST_HOPS; hops += 1) {
    const next = alternative(found) ?? target(found, root);
    if (!next) break;
    const { anyOf, oneOf, allOf, $ref, ...own } = found; // the words beside a reference are about this property
    found = { ...next, ...own };
  }
  return found.const === undefined ? found : { ...found, enum: [found.const] };
}

/** The alternatives that are not null; null where there are none at all. */
function realOnes({ anyOf, oneOf }) {
  const all = anyOf ?? oneOf;
  return Array.isArray(all) ? all.filter((one) => !(isObject(one) && one.type === "null")) : null;
}

/** The only schema that is meant: the one alternative, or the one that all values have to fit. */
function alternative(schema) {
  if (choicesOf(schema)) return null;
  const real = realOnes(schema) ?? (Array.isArray(schema.allOf) ? schema.allOf : []);
  return real.length === 1 && isObject(real[0]) ? real[0] : null;
}

/** Of a part of a URI; as it stands where it is none. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function target({ $ref }, root) {
  if (typeof $ref !== "string" || !$ref.startsWith("#/")) return null;
  let place = root;
  for (const step of $ref.slice(2).split("/")) {
    const name = decoded(step).replaceAll("~1", "/").replaceAll("~0", "~");
    place = isObject(place) && Object.hasOwn(place, name) ? place[name] : null;
  }
  return isObject(place) ? place : null;
}
