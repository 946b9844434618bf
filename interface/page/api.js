// Calls of the HTTP API, and what every part of the page uses.

export const FINAL = new Set(["done", "failed", "cancelled"]);
const KEY = "aimq-api-key";
export const $ = (id) => document.getElementById(id);
export const number = new Intl.NumberFormat();
export const when = (text) => (text ? new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "");

/** Make an element; children that are strings become text, never HTML. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const options = (values, chosen) => values.map((value) => make("option", { value, selected: value === chosen }, value));

export const key = () => sessionStorage.getItem(KEY) ?? "";
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

/** Call the API; throws an Error with the service's own words, its status, and its `errors` by field. */
export async function call(method, path, options = {}) {
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
  if (!response.ok) throw refusal(response.status, await response.json().catch(() => ({})));
  return response;
}

const refusal = (status, problem) =>
  Object.assign(new Error(problem.detail ?? `The service answers ${status}.`), { status, errors: problem.errors ?? [] });

export const json = async (method, path, options) => (await call(method, path, options)).json();
export const post = (path, body) => json("POST", path, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

/** Download a result; through fetch, as a link could not carry the key. */
export async function download(path, suggested) {
  const blob = await (await call("GET", path)).blob();
  const link = make("a", { href: URL.createObjectURL(blob), download: suggested });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A link that opens in a new tab; with a key, which a link could not carry, it downloads. */
export function opened(path, name, label, text) {
  const get = (event) => {
    if (!key()) return;
    event.preventDefault();
    download(path, name).catch((error) => window.alert(error.message));
  };
  return make("a", { href: path, target: "_blank", rel: "noopener", "aria-label": label, onclick: get }, text);
}

/** Send a form with XMLHttpRequest, which tells how much has gone. */
export function send(path, form, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded, event.total);
    request.onerror = () => reject(new Error("The upload was cut off. Is the file too large, or the service away?"));
    request.onload = () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* not JSON: the status says it */ }
      if (request.status === 202) resolve(body);
      else if (request.status === 401) askKey().then(() => send(path, form, onProgress)).then(resolve, reject);
      else reject(refusal(request.status, body));
    };
    request.send(form);
  });
}

/** Call `onJob` with a job at every change until it is final; reconnects when cut off. */
export function watch(job, onJob) {
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
    if (/No job/.test(error.message)) onJob({ status: "cancelled", error: "The job was deleted.", rows_done: 0, notes: [] });
    else setTimeout(() => reconnect(job, onJob), 2000);
  }
}

/** Repeat while the page is seen; a hidden tab asks for nothing. */
export function repeat(step, milliseconds) {
  const round = async () => {
    if (!document.hidden) await step();
    setTimeout(round, milliseconds);
  };
  round();
}
