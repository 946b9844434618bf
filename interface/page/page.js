// The page: uploads with progress by WebSocket, one prediction, models, trainings, recent jobs. No dependency.

import { $, FINAL, call, download, json, make, number, repeat, send, watch, when } from "./api.js";
import { interval, onModel, refreshModels } from "./models.js";
import { follow, preparePredictions, wait } from "./predict.js";
import { prepareTraining, showTraining } from "./train.js";

const predictedName = (name) => name.replace(/\.[^.]{1,4}$/, "") + "_predicted.xlsx";

/* Uploads */

/** Which model scores a sheet, and with which interval. */
function query() {
  const asked = new URLSearchParams();
  if ($("scored-by").value) asked.set("model", $("scored-by").value);
  if (interval()) asked.set("interval", interval());
  return asked.size ? `?${asked}` : "";
}

async function upload(file) {
  const state = make("span", { class: "hint" }, "uploading");
  const bar = make("progress", { max: 1, value: 0, "aria-label": `Progress of ${file.name}` });
  const row = make("div", { class: "row" }, make("span", { class: "name" }, file.name), state);
  const item = make("li", {}, row, bar);
  $("uploads").prepend(item);
  const fail = (message) => {
    bar.remove();
    state.replaceWith(make("span", { class: "badge failed" }, "failed"));
    item.append(make("span", { class: "error" }, message));
  };
  const form = new FormData();
  form.append("file", file);
  try {
    const accepted = await send(`upload${query()}`, form, (sent, total) => { bar.max = total; bar.value = sent; });
    bar.removeAttribute("value");
    watch(accepted.job_id, (job) => show(job, accepted, { item, bar, state, file, fail }));
  } catch (error) {
    fail(error.message);
  }
  refreshJobs();
}

function show(job, accepted, { item, bar, state, file, fail }) {
  const by = job.model ? `${job.model} · ` : "";
  state.textContent = by + (rowsOf(job) ? `${job.status} · ${rowsOf(job)}` : job.status);
  if (job.rows_total) { bar.max = job.rows_total; bar.value = job.rows_done; }
  if (!FINAL.has(job.status)) return;
  refreshJobs();
  if (job.status !== "done") { fail(job.error ?? `The job was ${job.status}.`); return; }
  bar.remove();
  const wrong = (job.rows_failed ? `, ${number.format(job.rows_failed)} without a prediction (see the column “error”)` : "")
    + job.notes.map((note) => ` ${note}`).join("");
  item.append(make("div", { class: "row" },
    make("span", { class: "hint" }, `${number.format(job.rows_total ?? 0)} rows${wrong}`),
    make("button", { type: "button", onclick: () => download(`jobs/${accepted.job_id}/result`, predictedName(file.name)).catch((error) => fail(error.message)) }, "Download")));
  state.replaceWith(make("span", { class: "badge done" }, "done"));
}

const wrongOf = (job) => (job.rows_failed ? `, ${number.format(job.rows_failed)} wrong` : "");
const rowsOf = (job) => (job.rows_total ? `${number.format(job.rows_done)} / ${number.format(job.rows_total)}${wrongOf(job)}` : "");

function prepareUploads() {
  const drop = $("drop");
  const input = $("file");
  input.addEventListener("change", () => {
    for (const file of input.files) upload(file);
    input.value = "";
  });
  for (const type of ["dragenter", "dragover"]) drop.addEventListener(type, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const type of ["dragleave", "drop"]) drop.addEventListener(type, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  drop.addEventListener("drop", (event) => { for (const file of event.dataTransfer.files) upload(file); });
  for (const type of ["dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());
}

/* Recent jobs, dead letters, health */

function jobRow(job) {
  const name = job.filename || job.kind;
  const remove = make("button", { type: "button", class: "plain danger", "aria-label": `Delete ${name}`, onclick: () => act(call("DELETE", `jobs/${job.job_id}`)) }, FINAL.has(job.status) ? "Delete" : "Cancel");
  const scores = () => act(json("GET", `jobs/${job.job_id}`).then(showTraining));
  const get = job.status === "done" && job.kind === "training"
    ? make("button", { type: "button", class: "plain", "aria-label": `Scores of ${job.model}`, onclick: scores }, "Scores")
    : job.status === "done" && job.kind === "spreadsheet"
    ? make("button", { type: "button", class: "plain", "aria-label": `Download the result of ${name}`, onclick: () => act(download(`jobs/${job.job_id}/result`, predictedName(name))) }, "Download")
    : null;
  return make("tr", {},
    make("td", { class: "file" }, name, job.model ? make("div", { class: "hint" }, job.kind === "training" ? `trains ${job.model}` : `by ${job.model}`) : null, job.error ? make("div", { class: "error" }, job.error) : null),
    make("td", {}, make("span", { class: `badge ${job.status}` }, job.status)),
    make("td", { class: "number" }, rowsOf(job)),
    make("td", {}, make("time", { datetime: job.created_at }, when(job.created_at))),
    make("td", { class: "actions-cell" }, get, " ", remove));
}

async function act(promise) {
  try { await promise; } catch (error) { window.alert(error.message); }
  refreshJobs();
}

let shown = "";

async function refreshJobs() {
  try {
    const text = await (await call("GET", "jobs?limit=20")).text();
    if (text === shown) return;
    shown = text;
    const rows = JSON.parse(text).map(jobRow);
    $("jobs").replaceChildren(...(rows.length ? rows : [make("tr", {}, make("td", { colspan: 5, class: "empty" }, "No jobs yet: upload a spreadsheet above."))]));
  } catch (error) {
    shown = "";
    $("jobs").replaceChildren(make("tr", {}, make("td", { colspan: 5, class: "empty" }, error.message)));
  }
}

async function refreshDead() {
  const place = $("dead");
  try {
    const letters = await json("GET", "dead-letters?limit=1000");
    const count = letters.length;
    if (place.dataset.count === String(count)) return;
    place.dataset.count = count;
    place.replaceChildren(count ? `${number.format(count)}${count === 1000 ? " or more" : ""} dead ${count === 1 ? "letter" : "letters"}` : "No dead letters");
    if (count) place.append(make("button", { type: "button", class: "plain", onclick: () => act(call("POST", "dead-letters/replay").then(refreshDead)) }, "Try all again"));
  } catch {
    place.dataset.count = "";
    place.replaceChildren("Dead letters cannot be counted while the queue is away");
  }
}

async function refreshHealth() {
  let state = { status: "away" };
  try { state = await (await fetch("health/ready")).json(); } catch { /* away it is */ }
  const names = { status: "Uploads", broker: "Queue", ml_service: "ML service" };
  const pills = Object.entries(names).map(([name, label]) => {
    const up = ["ready", "up"].includes(state[name]);
    return make("li", { class: up ? "" : "down", title: state[name] ?? "not known" }, `${label} ${up ? "up" : "away"}`);
  });
  $("health").replaceChildren(...pills);
}

prepareUploads();
preparePredictions();
prepareTraining(refreshJobs);
onModel(follow);
repeat(() => refreshModels().catch(wait), 5000);
repeat(refreshJobs, 3000);
repeat(refreshDead, 10_000);
repeat(refreshHealth, 5000);
$("main").inert = false; // what was clicked before would be lost
