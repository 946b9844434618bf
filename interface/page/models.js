// The models: which one the page works with, its scores, its versions.

import { $, download, json, make, number, opened, options, post } from "./api.js";

const METRICS = { mae: "mean error", mape: "mean error in %", r2: "R²", accuracy: "accuracy", log_loss: "log loss" };
const PERCENT = new Set(["mape", "accuracy", "balanced_accuracy"]);
const CANARY = 10;

let models = [];
let shown = "";
let listener = () => {};

/** Call `listener` with the chosen model whenever it, or its version, is another. */
export function onModel(changed) {
  listener = changed;
  $("model").addEventListener("change", choose);
  $("template").addEventListener("click", () => {
    const { name } = chosen();
    download(`models/${encodeURIComponent(name)}/template`, `${name}_template.xlsx`).catch((error) => window.alert(error.message));
  });
}

export const chosen = () => models.find((model) => model.name === $("model").value);
export const known = (name) => models.some((model) => model.name === name);
export const interval = () => ($("interval-choice").hidden ? "" : $("interval").value);

/** Ask for the models; the page follows if anything about them is new. Throws what the service says. */
export async function refreshModels(wanted = $("model").value) {
  const found = (await json("GET", "models")).models;
  const text = JSON.stringify(found);
  if (text === shown && wanted === $("model").value) return;
  shown = text;
  models = found;
  const served = found.filter((model) => model.version);
  const name = [wanted, served.find((model) => model.default)?.name, served[0]?.name].find(known);
  $("model").replaceChildren(...models.map((model) =>
    make("option", { value: model.name, selected: model.name === name }, label(model))));
  $("model-choice").hidden = models.length < 2;
  redraw();
  choose();
}

const label = (model) => (model.title && model.title !== model.name ? `${model.name}: ${model.title}` : model.name);

function choose() {
  const model = chosen();
  const several = models.length > 1;
  $("interval-choice").hidden = !model || model.task === "classification";
  $("scored-by-choice").hidden = !several;
  $("template").disabled = !model;
  const by = $("scored-by").value;
  $("scored-by").replaceChildren(make("option", { value: "" }, "the model whose columns the sheet has"),
    ...(model ? [make("option", { value: model.name, selected: by !== "" }, `the chosen model, ${model.name}`)] : []));
  $("columns").textContent = (model?.columns ?? []).map((name) => (model.required.includes(name) ? name : `${name} (may be blank)`)).join(", ");
  listener(model);
}

/* Scores */

const format = (name, value) =>
  (typeof value !== "number" ? "-" : PERCENT.has(name) ? `${number.format(Math.round(value * 1000) / 10)} %` : new Intl.NumberFormat([], { maximumSignificantDigits: 4 }).format(value));
const named = (name) => METRICS[name] ?? name.replaceAll("_", " ");

/** A table of scores: a row for each group and metric, the model's beside the trivial model's. */
export function scoreTable(groups) {
  const several = Object.keys(groups ?? {}).length > 1;
  const rows = Object.entries(groups ?? {}).flatMap(([group, scores]) => Object.keys(scores.model ?? {})
    .filter((metric) => typeof scores.model[metric] === "number")
    .map((metric) => make("tr", {}, several ? make("td", {}, group) : null, make("th", { scope: "row" }, named(metric)),
      make("td", { class: "number" }, format(metric, scores.model[metric])),
      make("td", { class: "number" }, format(metric, scores.baseline?.[metric])))));
  return make("div", { class: "scroll" }, make("table", { class: "scores" },
    make("thead", {}, make("tr", {}, ...[...(several ? ["Group"] : []), "Score on rows held out"].map((text) => make("th", { scope: "col" }, text)),
      ...["Model", "Trivial model"].map((text) => make("th", { scope: "col", class: "number" }, text)))),
    make("tbody", {}, ...rows)));
}

export const report = (name) => opened(`models/${encodeURIComponent(name)}/report`, `${name}_report.html`, `Report of ${name}`, "Report");

/* Versions */

function redraw() {
  const focused = document.activeElement?.getAttribute("aria-label");
  $("models").replaceChildren(...models.map(row));
  if (focused && !document.activeElement?.getAttribute("aria-label")) {
    [...$("models").querySelectorAll("[aria-label]")].find((element) => element.getAttribute("aria-label") === focused)?.focus();
  }
}

function row(model) {
  const newest = [...(model.versions ?? [])].reverse();
  const select = make("select", { "aria-label": `Version of ${model.name}` }, ...options(newest, model.canary?.version ?? model.version));
  const button = (text, what, path, body) => make("button", {
    type: "button", class: "plain", "aria-label": `${text}: ${model.name}`, onclick: () => change(model.name, path, body(), what),
  }, text);
  const chosenVersion = () => ({ version: select.value });
  const buttons = [
    button("Use", "is in use", "reload", chosenVersion),
    model.canary
      ? button("End canary", "has no canary any more", "canary", () => ({ version: model.canary.version, percent: 0 }))
      : button(`Canary ${CANARY} %`, "has a canary", "canary", () => ({ ...chosenVersion(), percent: CANARY })),
    button("Roll back", "is the version before", "rollback", () => ({})),
  ];
  const measured = Object.fromEntries(Object.entries(model.scores ?? {}).map(([group, scores]) => [group, { model: scores, baseline: model.baselines?.[group] }]));
  return make("tr", {},
    make("td", { class: "file" }, label(model), model.default ? make("span", { class: "hint" }, " (default)") : null,
      model.error ? make("div", { class: "error" }, model.error) : null),
    make("td", {}, model.target ?? ""),
    make("td", {}, model.version ?? "-", model.canary ? make("div", { class: "hint" }, `${model.canary.percent} % of single records: ${model.canary.version}`) : null),
    make("td", {}, make("details", {}, make("summary", {}, "Scores"), scoreTable(measured)),
      model.report ? report(model.name) : null),
    make("td", {}, newest.length > 1 ? make("div", { class: "versions" }, select, ...buttons) : make("span", { class: "hint" }, "one version")));
}

async function change(name, path, body, what) {
  try {
    await post(`models/${encodeURIComponent(name)}/${path}`, body);
    await refreshModels();
    const model = models.find((one) => one.name === name);
    $("models-said").textContent = `${name} ${what === "is in use" || path === "rollback" ? `uses version ${model?.version}` : what}.`;
  } catch (error) {
    $("models-said").textContent = `${name}: ${error.message}`;
  }
}
