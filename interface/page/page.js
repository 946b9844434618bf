// The page: uploads with progress by WebSocket, one prediction, recent jobs. No dependency.

const FINAL = new Set(["done", "failed", "cancelled"]);
const KEY = "aimq-api-key";
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat();

/** Make an element; children that are strings become text, never HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/* Calls */

const key = () => sessionStorage.getItem(KEY) ?? "";
const headers = (more = {}) => (key() ? { "X-API-Key": key(), ...more } : more);
let asking = null;

/** Ask for the API key once, however many calls need it. */
function askKey() {
  asking ??= new Promise((resolve) => {
    const dialog = $("key-dialog");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, $("key").value);
      $("key").value = "";
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

/** Call the API; throws an Error with the service's own words, and its `errors` by field. */
async function call(method, path, options = {}) {
  let response;
  try {
    response = await fetch(path, { method, ...options, headers: headers(options.headers) });
  } catch {
    throw new Error("The service does not answer. Trying again may help.");
  }
  if (response.status === 401) {
    await askKey();
    return call(method, path, options);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  return Object.assign(new Error(problem.detail ?? `The service answers ${response.status}.`), { errors: problem.errors ?? [] });
}

const json = async (method, path, options) => (await call(method, path, options)).json();

/** Download a result; through fetch, as a link could not carry the key. */
async function download(path, suggested) {
  const blob = await (await call("GET", path)).blob();
  const link = make("a", { href: URL.createObjectURL(blob), download: suggested });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const predictedName = (name) => name.replace(/\.[^.]{1,4}$/, "") + "_predicted.xlsx";

/* Uploads */

/** Send a file with XMLHttpRequest, which tells how much has gone. */
function send(file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "upload");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded, event.total);
    request.onerror = () => reject(new Error("The upload was cut off. Is the file too large, or the service away?"));
    request.onload = () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* not JSON: the status says it */ }
      if (request.status === 202) resolve(body);
      else if (request.status === 401) askKey().then(() => send(file, onProgress)).then(resolve, reject);
      else reject(new Error(body.detail ?? `The service answers ${request.status}.`));
    };
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}

/** Call `onJob` with a job at every change until it is final; reconnects when cut off. */
function watch(job, onJob) {
  const url = new URL(`jobs/${job}/events`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const encoded = btoa(key()).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const socket = new WebSocket(url, key() ? ["aimq", `aimq.key.${encoded}`] : []);
  let final = false;
  socket.onmessage = (event) => {
    const state = JSON.parse(event.data);
    final = FINAL.has(state.status);
    onJob(state);
  };
  socket.onclose = () => {
    if (!final) setTimeout(() => reconnect(job, onJob), 1000);
  };
}

async function reconnect(job, onJob) {
  try {
    const state = await json("GET", `jobs/${job}`);
    onJob(state);
    if (!FINAL.has(state.status)) watch(job, onJob);
  } catch (error) {
    if (/No job/.test(error.message)) onJob({ status: "cancelled", error: "The job was deleted.", rows_done: 0 });
    else setTimeout(() => reconnect(job, onJob), 2000);
  }
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
  try {
    const accepted = await send(file, (sent, total) => { bar.max = total; bar.value = sent; });
    bar.removeAttribute("value");
    watch(accepted.job_id, (job) => show(job, accepted, { item, bar, state, file, fail }));
  } catch (error) {
    fail(error.message);
  }
  refreshJobs();
}

function show(job, accepted, { item, bar, state, file, fail }) {
  state.textContent = rowsOf(job) ? `${job.status} · ${rowsOf(job)}` : job.status;
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

/* One prediction */

let schema = null;

async function loadForm() {
  if (schema) return;
  try {
    schema = await json("GET", "schema");
  } catch (error) {
    $("predict-notice").textContent = `Single predictions have to wait: ${error.message} Spreadsheets can be uploaded meanwhile.`;
    setTimeout(loadForm, 3000);
    return;
  }
  $("subtitle").textContent = schema.record.title ?? schema.title;
  $("fields").replaceChildren(...Object.entries(schema.record.properties).map(([name, property]) => field(name, property)));
  $("fields").addEventListener("change", (event) => { if (event.target.name === schema.group) narrow(); });
  narrow();
  $("predict-notice").hidden = true;
  $("predict").hidden = false;
}

function field(name, property) {
  const id = `field-${name}`;
  const value = schema.record.example?.[name];
  const range = [property.minimum, property.maximum].every((bound) => bound !== undefined) ? `${number.format(property.minimum)} to ${number.format(property.maximum)}` : "";
  const about = { id, name, "aria-describedby": `${id}-hint ${id}-wrong` };
  const control = property.enum
    ? make("select", about, ...options(texts(property), value))
    : make("input", { ...about, type: "number", step: property.type === "integer" ? 1 : "any", min: property.minimum, max: property.maximum, value });
  return make("div", { class: "field" },
    make("label", { for: id }, name.replaceAll("_", " ")), control,
    make("span", { class: "hint", id: `${id}-hint` }, [property.description, range].filter(Boolean).join(", ")),
    make("span", { class: "wrong", id: `${id}-wrong` }));
}

const options = (values, chosen) => values.map((value) => make("option", { value, selected: value === chosen }, value));

/** The categories as text: one whose name is a number is listed as that number as well. */
const texts = (property) => property.enum.filter((value) => typeof value === "string");

/** Offer only the categories that the chosen group knows. */
function narrow() {
  const group = $("predict").elements[schema.group].value;
  for (const [name, groups] of Object.entries(schema.by_group)) {
    const select = $("predict").elements[name];
    select.replaceChildren(...options(groups[group] ?? texts(schema.record.properties[name]), select.value));
  }
}

function record() {
  const values = {};
  for (const [name, property] of Object.entries(schema.record.properties)) {
    const text = $("predict").elements[name].value;
    values[name] = property.enum ? text : text === "" ? null : Number(text);
  }
  return values;
}

function mark(errors) {
  for (const control of $("predict").elements) {
    if (!control.name) continue;
    const wrong = errors.find((error) => error.field === control.name);
    control.toggleAttribute("aria-invalid", false);
    if (wrong) control.setAttribute("aria-invalid", "true");
    $(`${control.id}-wrong`).textContent = wrong?.message ?? "";
  }
}

async function predict(event) {
  event.preventDefault();
  const button = $("predict").querySelector("button");
  const output = $("prediction");
  button.disabled = true;
  try {
    const answer = await json("POST", "predict", { body: JSON.stringify(record()), headers: { "Content-Type": "application/json" } });
    mark([]);
    output.className = "";
    const unit = schema.unit ? ` ${schema.unit}` : "";
    output.replaceChildren(number.format(answer[schema.prediction]) + unit, make("small", {}, `model ${answer.model_group}, version ${answer.model_version}`));
  } catch (error) {
    mark(error.errors ?? []);
    output.className = "error";
    output.textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

/* Recent jobs, dead letters, health */

const when = (text) => (text ? new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "");

function jobRow(job) {
  const name = job.filename || job.kind;
  const remove = make("button", { type: "button", class: "plain danger", "aria-label": `Delete ${name}`, onclick: () => act(call("DELETE", `jobs/${job.job_id}`)) }, FINAL.has(job.status) ? "Delete" : "Cancel");
  const get = job.status === "done" && job.kind === "spreadsheet"
    ? make("button", { type: "button", class: "plain", "aria-label": `Download the result of ${name}`, onclick: () => act(download(`jobs/${job.job_id}/result`, predictedName(name))) }, "Download")
    : null;
  return make("tr", {},
    make("td", { class: "file" }, name, job.error ? make("div", { class: "error" }, job.error) : null),
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

/** Repeat while the page is seen; a hidden tab asks for nothing. */
function repeat(step, milliseconds) {
  const round = async () => {
    if (!document.hidden) await step();
    setTimeout(round, milliseconds);
  };
  round();
}

prepareUploads();
$("predict").addEventListener("submit", predict);
loadForm();
repeat(refreshJobs, 3000);
repeat(refreshDead, 10_000);
repeat(refreshHealth, 5000);
