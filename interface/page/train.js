// Training: a table of past cases, and the column to predict.

import { $, FINAL, call, make, options, send, watch } from "./api.js";
import { known, refreshModels, report, scoreTable } from "./models.js";

/** How much of a CSV file tells its columns, in bytes. */
const HEADER = 64 * 1024;

export function prepareTraining(finished) {
  $("train-file").addEventListener("change", () => askColumns($("train-file").files[0]));
  $("train").addEventListener("input", () => hint());
  $("train").addEventListener("submit", (event) => {
    event.preventDefault();
    train($("train-file").files[0], finished);
  });
}

/** The table's columns: the service refuses a training without a target, and lists them. */
async function askColumns(file) {
  wrong([]);
  offer([]);
  hint();
  if (!file || /\.parquet$/i.test(file.name)) return;
  const form = new FormData();
  const beginning = /\.csv$/i.test(file.name) ? new File([file.slice(0, HEADER)], file.name) : file;
  form.append("file", beginning);
  try {
    await call("POST", "train", { body: form });
  } catch (error) {
    if (file !== $("train-file").files[0]) return;
    const columns = error.errors?.[0]?.allowed;
    if (columns) offer(columns);
    else wrong([{ field: "file", message: error.message }]);
  }
}

function offer(columns) {
  $("train-columns").replaceChildren(...options(columns));
  $("train-target-hint").textContent = columns.length ? `One of: ${columns.join(", ")}` : "The column to predict.";
}

function hint() {
  const name = $("train-name").value.trim();
  $("train-name-hint").textContent = known(name) ? `Makes a new version of ${name}.` : "By default, the file's.";
}

function wrong(errors) {
  for (const field of ["file", "target", "group", "name", "task"]) {
    const found = errors.find((error) => error.field === field);
    $(`train-${field}`).removeAttribute("aria-invalid");
    if (found) $(`train-${field}`).setAttribute("aria-invalid", "true");
    $(`train-${field}-wrong`).textContent = found?.message ?? "";
  }
}

async function train(file, finished) {
  wrong(file ? [] : [{ field: "file", message: "Choose a file." }]);
  if (!file) { $("train-file").focus(); return; }
  const form = new FormData();
  form.append("file", file);
  for (const field of ["target", "group", "name", "task"]) {
    const value = $(`train-${field}`).value.trim();
    if (value) form.append(field, value);
  }
  const button = $("train").querySelector("button");
  const progress = item(file.name);
  button.disabled = true;
  try {
    const accepted = await send("train", form, (sent, total) => { progress.bar.max = total; progress.bar.value = sent; });
    progress.bar.removeAttribute("value");
    watch(accepted.job_id, (job) => show(job, progress, finished));
    finished();
  } catch (error) {
    if (error.errors?.length) wrong(error.errors);
    progress.fail(error.message);
  } finally {
    button.disabled = false;
  }
}

/** An entry in the list of trainings. */
function item(name) {
  const state = make("span", { class: "hint" }, "uploading");
  const bar = make("progress", { max: 1, value: 0, "aria-label": `Progress of ${name}` });
  const entry = make("li", {}, make("div", { class: "row" }, make("span", { class: "name" }, name), state), bar);
  $("trainings").prepend(entry);
  const end = (status) => { bar.remove(); state.className = `badge ${status}`; state.textContent = status; };
  const fail = (message) => { end("failed"); entry.append(make("span", { class: "error" }, message)); };
  return { entry, state, bar, end, fail };
}

function show(job, progress, finished) {
  progress.state.textContent = job.status === "processing" ? "training" : job.status;
  if (!FINAL.has(job.status)) return;
  finished();
  if (job.status !== "done") progress.fail(job.error ?? `The training was ${job.status}.`);
  else published(job, progress);
}

/** Show the outcome of a training that is done. */
export function showTraining(job) {
  published(job, item(job.filename));
  $("train-title").scrollIntoView();
}

function published(job, progress) {
  progress.end("done");
  const { name, version, groups, replaced } = job.training;
  const instead = replaced ? `, in place of ${replaced}` : "";
  const kinds = [...new Set(Object.values(groups ?? {}).map((scores) => scores.chosen).filter(Boolean))];
  const best = kinds.length ? ` Best of what was compared: ${kinds.join(", ")}.` : "";
  progress.entry.append(
    make("p", {}, `${name} is published as version ${version}${instead}.${best}`),
    kinds.includes("trivial") ? make("p", { class: "error" }, "Nothing predicts better than the trivial model: the other columns say too little about this one.") : "",
    scoreTable(groups),
    make("div", { class: "row" }, report(name),
      make("button", { type: "button", class: "plain", onclick: () => choose(name, progress) }, `Predict with ${name}`)));
  refreshModels().catch(() => {});
}

async function choose(name, progress) {
  try {
    await refreshModels(name);
    if (!known(name)) throw new Error("The ML service has not taken it up yet; try again in a moment.");
    $("model-title").scrollIntoView();
    ($("model-choice").hidden ? $("predict").querySelector("input, select") : $("model"))?.focus();
  } catch (error) {
    progress.entry.append(make("span", { class: "error" }, error.message));
  }
}
