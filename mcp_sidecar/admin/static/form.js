// A form from a JSON Schema, and JSON text from the form. Numbers and JSON stay the text that was typed.

import { element } from "/static/dom.js";
import { choicesOf, isObject, plain, typeOf } from "/static/schemas.js";

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const INTEGER = /^-?(0|[1-9]\d*)$/;

function hintOf(schema, type) {
  const said = [];
  const types = [schema.type].flat().filter((one) => typeof one === "string");
  if (type === "json") said.push(["JSON", types.join(" or ")].filter(Boolean).join(", "));
  if (type === "integer") said.push("whole number");
  if (type === "number") said.push("number");
  if ([schema.minimum, schema.maximum].some((one) => typeof one === "number")) said.push(`${schema.minimum ?? "…"} to ${schema.maximum ?? "…"}`);
  if (typeof schema.format === "string") said.push(schema.format);
  if (schema.default !== undefined && schema.default !== null) said.push(`default ${JSON.stringify(schema.default)}`);
  return [typeof schema.description === "string" ? schema.description : "", said.join(", ")].filter(Boolean).join(" — ");
}

/** One field: its elements, and `read()` → JSON text, undefined for nothing; throws what is wrong with it. */
class Field {
  constructor(name, schema, required, id) {
    this.name = name;
    this.schema = schema;
    this.required = required;
    this.type = typeOf(this.schema);
    this.id = id;
    this.input = this.control();
    this.hint = element("span", { class: "hint", id: `${id}-hint` }, hintOf(this.schema, this.type));
    this.input.setAttribute("aria-describedby", this.hint.id);
    const label = element("label", { for: id }, name, required ? element("span", { class: "must", title: "required" }, " *") : null);
    this.node = element("div", { class: "field" }, label, this.input, this.hint);
  }

  control() {
    const { schema, type, id } = this;
    const given = schema.default;
    if (type === "boolean" || type === "enum") {
      const allowed = type === "boolean" ? [true, false].map((value) => ({ value, label: String(value) })) : choicesOf(schema);
      const blank = this.required && given !== undefined ? null : element("option", { value: "" }, this.required ? "choose …" : "leave out");
      const choices = allowed.map(({ value, label }, index) => element("option", { value: String(index + 1), selected: value === given }, label));
      this.values = allowed.map(({ value }) => value);
      return element("select", { id, required: this.required }, blank, choices);
    }
    if (type === "json") return filled(element("textarea", { id, spellcheck: "false", rows: 3 }), given === undefined || given === null ? "" : JSON.stringify(given, null, 2));
    const long = type === "string" && (schema.maxLength > 200 || schema.format === "textarea");
    if (long) return filled(element("textarea", { id, rows: 3 }), given ?? "");
    const mode = type === "string" ? null : type === "integer" ? "numeric" : "decimal";
    return filled(element("input", { id, type: "text", inputmode: mode, autocomplete: "off", spellcheck: "false" }), given ?? "");
  }

  read() {
    const text = this.input.value;
    if (text === "" || (this.type !== "string" && text.trim() === "")) {
      if (!this.required) return undefined;
      if (this.type === "string") return '""';
      throw new Error("is required");
    }
    switch (this.type) {
      case "string": return JSON.stringify(text);
      case "boolean":
      case "enum": return JSON.stringify(this.values[Number(text) - 1]);
      case "json": return JSON.parse(text) === undefined ? undefined : text;
      default: return this.number(text.trim());
    }
  }

  /** What was typed or chosen, for another field in its place. */
  kept() {
    return { type: this.type, text: this.input.value, value: this.values?.[Number(this.input.value) - 1] };
  }

  keep({ type, text, value }) {
    if (type !== this.type || text === "") return;
    const index = this.values ? this.values.findIndex((one) => JSON.stringify(one) === JSON.stringify(value)) + 1 : text;
    if (index) this.input.value = String(index);
  }

  number(text) {
    if (!(this.type === "integer" ? INTEGER : NUMBER).test(text)) throw new Error(this.type === "integer" ? "is no whole number" : "is no number");
    const { minimum, maximum } = this.schema;
    if (Number(text) < minimum) throw new Error(`is less than ${minimum}`);
    if (Number(text) > maximum) throw new Error(`is more than ${maximum}`);
    return text;
  }

  say(problem) {
    this.hint.classList.toggle("bad-text", Boolean(problem));
    this.hint.textContent = problem || hintOf(this.schema, this.type);
    this.input.setAttribute("aria-invalid", String(Boolean(problem)));
  }
}

function filled(control, value) {
  control.value = typeof value === "string" ? value : JSON.stringify(value);
  return control;
}

/** The arguments of a tool: a field for each property, or the whole as JSON. */
export class ArgumentForm {
  constructor(schema) {
    const properties = isObject(schema?.properties) ? schema.properties : {};
    const required = Array.isArray(schema?.required) ? schema.required : [];
    this.fields = Object.entries(properties).map(([name, one], index) => new Field(name, plain(one, schema), required.includes(name), `argument-${index}`));
    this.raw = element("textarea", { id: "arguments-json", spellcheck: "false", rows: 6 });
    this.rawHint = element("span", { class: "hint" }, "the whole arguments object, sent as it is written");
    this.rawNode = element("div", { class: "field off" }, element("label", { for: "arguments-json" }, "JSON"), this.raw, this.rawHint);
    this.asText = false;
    this.nodes = [...this.fields.map((field) => field.node), this.rawNode];
  }

  /** What was typed, by the names of the fields, and as text. */
  typed() {
    return { fields: new Map(this.fields.map((field) => [field.name, field.kept()])), asText: this.asText, text: this.raw.value };
  }

  /** What was typed into another form, as far as this one has the same fields. */
  retype({ fields, asText, text }) {
    for (const field of this.fields) if (fields.has(field.name)) field.keep(fields.get(field.name));
    if (asText) this.showText(true);
    if (asText) this.raw.value = text;
  }

  /** Switch between fields and text; the text begins as what the fields say. */
  showText(asText) {
    if (asText) {
      try { this.raw.value = JSON.stringify(JSON.parse(this.fromFields()), null, 2); } catch { this.raw.value ||= "{}"; }
    }
    this.asText = asText;
    this.fields.forEach((field) => field.node.classList.toggle("off", asText));
    this.rawNode.classList.toggle("off", !asText);
  }

  /** The arguments as JSON text, or null after the first wrong field was marked and got the focus. */
  read() {
    try {
      if (!this.asText) return this.fromFields(true);
      if (!isObject(JSON.parse(this.raw.value))) throw new Error("must be an object");
      this.rawHint.classList.remove("bad-text");
      return this.raw.value;
    } catch (error) {
      if (this.asText) {
        this.rawHint.textContent = error.message;
        this.rawHint.classList.add("bad-text");
        this.raw.focus();
      }
      return null;
    }
  }

  fromFields(marking = false) {
    const members = [];
    let wrong = null;
    for (const field of this.fields) {
      try {
        const text = field.read();
        if (text !== undefined) members.push(`${JSON.stringify(field.name)}:${text}`);
        if (marking) field.say("");
      } catch (error) {
        wrong ??= field;
        if (marking) field.say(`${field.name} ${error.message}`);
      }
    }
    if (wrong) {
      if (marking) wrong.input.focus();
      throw new Error("the form is not complete");
    }
    return `{${members.join(",")}}`;
  }
}
