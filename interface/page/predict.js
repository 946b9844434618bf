// One prediction: a form that follows the chosen model.

import { $, json, make, number, options, post } from "./api.js";
import { chosen, interval } from "./models.js";

/** What the form is made from: the model as listed, and its `schema` and `record`. */
let form = null;
let asked = "";

export function preparePredictions() {
  $("predict").addEventListener("submit", predict);
  $("fields").addEventListener("change", (event) => { if (event.target.name === form?.group) narrow(); });
}

/** Show the form of a model; `undefined` while none is served. */
export async function follow(model) {
  const wanted = model ? `${model.name} ${model.version}` : "";
  if (!model || (wanted === asked && form)) return;
  const another = asked.split(" ")[0] !== model.name;
  asked = wanted;
  try {
    const { schema, record } = await json("GET", `models/${encodeURIComponent(model.name)}/schema`);
    if (wanted === asked) draw({ ...model, source: schema, record }, another);
  } catch (error) {
    if (wanted !== asked) return;
    asked = "";
    form = null;
    wait(error);
    setTimeout(() => follow(chosen()), 3000);
  }
}

/** Say that predictions have to wait; a form that is there already stays. */
export function wait(error) {
  if (!form) notice(`Single predictions have to wait: ${error.message} Spreadsheets can be uploaded meanwhile.`);
}

function notice(text) {
  $("predict-notice").textContent = text;
  $("predict-notice").hidden = text === "";
  if (text) $("predict").hidden = true;
}

function draw(made, another) {
  const before = !form || another ? {} : values();
  form = made;
  $("subtitle").textContent = form.record.title ?? form.title;
  $("fields").replaceChildren(...Object.entries(form.record.properties).map(([name, property]) => field(name, property)));
  for (const [name, value] of Object.entries(before)) if (control(name)) control(name).value = value;
  narrow();
  notice("");
  $("predict").hidden = false;
  $("prediction").replaceChildren();
  $("example").textContent = example();
}

const control = (name) => $("predict").elements[name];
const values = () => Object.fromEntries(Object.keys(form.record.properties).map((name) => [name, control(name).value]));
const of = (property, type) => [property.type].flat().includes(type);
const blankable = (property) => of(property, "null");

function field(name, property) {
  const id = `field-${name}`;
  const value = form.record.example?.[name];
  const range = [property.minimum, property.maximum].every((bound) => bound !== undefined) ? `${number.format(property.minimum)} to ${number.format(property.maximum)}` : "";
  const hints = [property.description, range, blankable(property) ? "may be blank" : ""].filter(Boolean).join(", ");
  return make("div", { class: "field" },
    make("label", { for: id }, name.replaceAll("_", " ")),
    ...controls({ id, name, "aria-describedby": `${id}-hint ${id}-wrong` }, property, value),
    make("span", { class: "hint", id: `${id}-hint` }, hints),
    make("span", { class: "wrong", id: `${id}-wrong` }));
}

/** The element that takes a value, and what belongs to it. */
function controls(about, property, value) {
  const blank = blankable(property) ? [make("option", { value: "" }, "(blank)")] : [];
  if (property.enum) return [make("select", about, ...blank, ...options(texts(property), value))];
  if (of(property, "boolean")) return [make("select", about, ...blank, ...[true, false].map((truth) => make("option", { value: truth, selected: truth === value }, truth ? "yes" : "no")))];
  if (property.format === "date") return [make("input", { ...about, type: "date", value })];
  if (of(property, "string")) {
    const list = `${about.id}-list`;
    return [make("input", { ...about, type: "text", list, value }), make("datalist", { id: list }, ...options(property.examples ?? []))];
  }
  return [make("input", { ...about, type: "number", step: of(property, "integer") ? 1 : "any", min: property.minimum, max: property.maximum, value })];
}

/** The categories as text: one whose name is a number is listed as that number as well. */
const texts = (property) => property.enum.filter((value) => typeof value === "string");

/** Offer only the categories that the chosen group knows. */
function narrow() {
  if (!form.group) return;
  for (const { name, categories } of form.source.features) {
    if (!categories || Array.isArray(categories)) continue;
    const known = categories[control(form.group).value] ?? texts(form.record.properties[name]);
    control(name).replaceChildren(...options(known, control(name).value));
  }
}

function record() {
  return Object.fromEntries(Object.entries(form.record.properties).map(([name, property]) => {
    const text = control(name).value;
    if (text === "" && (blankable(property) || !property.enum)) return [name, null];
    if (of(property, "boolean")) return [name, text === "true"];
    return [name, of(property, "string") ? text : Number(text)];
  }));
}

function mark(errors) {
  for (const element of $("predict").elements) {
    if (!element.name) continue;
    const wrong = errors.find((error) => error.field === element.name);
    element.removeAttribute("aria-invalid");
    if (wrong) element.setAttribute("aria-invalid", "true");
    $(`${element.id}-wrong`).textContent = wrong?.message ?? "";
  }
}

const path = () => `models/${encodeURIComponent(form.name)}/predict${interval() ? `?interval=${interval()}` : ""}`;

async function predict(event) {
  event.preventDefault();
  const button = $("predict").querySelector("button");
  const output = $("prediction");
  button.disabled = true;
  try {
    const answer = await post(path(), record());
    mark([]);
    output.className = "";
    output.replaceChildren(...answered(answer));
  } catch (error) {
    mark(error.errors ?? []);
    output.className = "error";
    output.textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

function answered(answer) {
  const value = answer[form.prediction];
  const unit = form.source.target?.unit ? ` ${form.source.target.unit}` : "";
  const low = answer[`${form.prediction}_low`];
  const said = [
    answer.probability === undefined ? null : `probability ${number.format(Math.round(answer.probability * 1000) / 10)} %`,
    low === undefined ? null : `between ${number.format(low)} and ${number.format(answer[`${form.prediction}_high`])}`,
    `model ${[form.name, answer[form.group]].filter(Boolean).join(" ")}, version ${answer.model_version}`,
  ].filter(Boolean);
  return [typeof value === "number" ? number.format(value) + unit : value,
    ...said.map((text) => make("small", {}, text)),
    ...(answer.warning ? [make("small", { class: "warning" }, answer.warning)] : [])];
}

/** The calls of this model, as they are typed into a terminal. */
function example() {
  const base = location.href.split("#")[0].replace(/\/$/, "");
  const body = JSON.stringify(form.record.example).replaceAll("'", "'\\''");
  return `curl -X POST ${base}/models/${form.name}/predict -H "Content-Type: application/json" -d '${body}'\n\ncurl -F file=@table.xlsx "${base}/upload?model=${form.name}"`;
}
