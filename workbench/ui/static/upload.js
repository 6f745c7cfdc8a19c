// Files a visitor brings: dropped or chosen, announced first (so that what cannot fit is refused before it is sent), then
// sent as one body, with progress and cancel. Below it what he has here, to be removed. Names are only ever set as text.
import { address, askJson, sendJson } from "./request.js";
import { state } from "./store.js";
import { open } from "./visit.js";
import { make } from "./dom.js";
import { dropped, chosen } from "./upload_files.js";
import text from "./text.js";

const words = text.upload;
const UNITS = ["B", "kB", "MB", "GB"];

export function mountUpload(root, openEpisode) {
  root.replaceChildren(...skeleton());
  const at = (name) => root.querySelector(`.fw-upload-${name}`);
  const own = { limits: null, show: (listed) => { own.limits = listed; showOwn(root, listed, remove); } };
  const remove = async (name) => {
    try {
      own.show(await sendJson("DELETE", name ? `uploads/${name}` : "uploads"));
      say(at, "");
      await openWhatIsLeft();
    } catch (error) {
      say(at, error.message);
    }
  };
  const transfer = transfers(at, own, openEpisode);
  at("cancel").addEventListener("click", transfer.cancel);
  at("all").addEventListener("click", () => remove());
  mountDrop(root, (data) => transfer.take(dropped(data)));
  mountChoice(at, (files) => transfer.take(chosen(files)));
  new IntersectionObserver((entries) => {
    if (entries.at(-1).isIntersecting && transfer.idle()) askJson("uploads").then(own.show, (error) => say(at, error.message));
  }).observe(root);
}

// One upload at a time: its files are announced, sent and opened, unless they are cancelled on the way.
function transfers(at, own, openEpisode) {
  let sending = null;
  const bring = async (collect) => {
    const files = await collect(own.limits?.files ?? Infinity);
    if (!files.length) throw new Error(words.nothing);
    const { upload } = await sendJson("POST", "uploads", { files: files.map(({ path, file }) => [path, file.size]) });
    if (sending.cancelled) throw await ended(upload, words.cancelled);
    return send(upload, files.map(({ file }) => file), sending, (done, total) => progress(at, done, total));
  };
  const take = async (collect) => {
    if (sending) return say(at, words.one_at_a_time);
    sending = { cancelled: false };
    say(at, "");
    busy(at, words.reading_names);
    try {
      const found = await bring(collect).catch((error) => { if (error instanceof LostError) return bring(collect); throw error; });
      say(at, found.problems.join(" · "));
      own.show(await askJson("uploads"));
      await openEpisode(found.episode);
    } catch (error) {
      say(at, error.message, !sending.cancelled);
    } finally {
      sending = null;
      busy(at, null);
    }
  };
  const cancel = () => {
    if (!sending) return;
    sending.cancelled = true;
    sending.request?.abort();
  };
  return { take, cancel, idle: () => !sending };
}

function say(at, message, bad = true) {
  at("said").textContent = message;
  at("said").classList.toggle("fw-bad", bad);
  at("said").hidden = !message;
}

function busy(at, what) {
  at("busy").hidden = !what;
  at("what").textContent = what ?? "";
  for (const button of at("ways").children) button.disabled = Boolean(what);
}

function mountChoice(at, take) {
  for (const way of ["files", "folder"]) {
    const input = at(`choose-${way}`);
    at(way).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = ""; // the same files may be chosen again
      if (files.length) take(files);
    });
  }
}

function skeleton() {
  const ways = make("div", "fw-row fw-upload-ways");
  const inputs = [];
  for (const [name, label] of [["files", words.files], ["folder", words.folder]]) {
    const button = make("button", `fw-upload-${name}`, label);
    button.type = "button";
    ways.append(button);
    const input = make("input", `fw-upload-choose-${name}`);
    Object.assign(input, { type: "file", multiple: true, hidden: true, webkitdirectory: name === "folder" });
    inputs.push(input);
  }
  const zone = make("div", "fw-upload-zone");
  zone.append(make("span", "fw-upload-hint", words.drop), ways, make("span", "fw-hint fw-upload-limits"), ...inputs);
  const busy = make("div", "fw-row fw-upload-busy");
  busy.hidden = true;
  const bar = make("progress", "fw-progress fw-upload-progress");
  bar.setAttribute("aria-label", words.progress);
  const cancel = make("button", "fw-upload-cancel", words.cancel);
  cancel.type = "button";
  busy.append(bar, make("span", "fw-upload-what"), cancel);
  const said = make("p", "fw-upload-said");
  said.setAttribute("role", "status");
  said.hidden = true;
  const own = make("div", "fw-upload-own");
  own.hidden = true;
  const all = make("button", "fw-upload-all", words.remove_all);
  all.type = "button";
  own.append(make("span", "fw-hint", words.yours), make("ul", "fw-upload-list"), all);
  return [zone, busy, said, own];
}

function showOwn(root, { uploads, limit, hours }, remove) {
  const used = uploads.reduce((sum, upload) => sum + upload.bytes, 0);
  root.querySelector(".fw-upload-limits").textContent = words.limits.replace("{used}", size(used)).replace("{limit}", size(limit)).replace("{hours}", hours);
  root.querySelector(".fw-upload-own").hidden = !uploads.length;
  root.querySelector(".fw-upload-all").hidden = uploads.length < 2;
  root.querySelector(".fw-upload-list").replaceChildren(...uploads.map(({ name, title, bytes, episodes }) => {
    const item = make("li", "fw-row");
    const button = make("button", "", words.remove);
    button.type = "button";
    button.setAttribute("aria-label", `${words.remove} ${title}`);
    button.addEventListener("click", () => remove(name));
    const about = make("span", "fw-upload-title", title);
    about.title = title;
    item.append(about, make("span", "fw-hint", `${size(bytes)} · ${episodes} ${episodes === 1 ? words.episode : words.episodes}`), button);
    return item;
  }));
}

// A drop beside the zone must not make the browser leave the page for the file.
function mountDrop(root, take) {
  const zone = root.querySelector(".fw-upload-zone");
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => hasFiles(event) && event.preventDefault());
  }
  zone.addEventListener("dragover", (event) => zone.classList.toggle("fw-over", hasFiles(event)));
  zone.addEventListener("dragleave", (event) => zone.contains(event.relatedTarget) || zone.classList.remove("fw-over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("fw-over");
    if (hasFiles(event)) take(event.dataTransfer);
  });
}

// XMLHttpRequest and not fetch: only it tells how much was sent.
function send(upload, files, sending, progressed) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    sending.request = request;
    request.open("PUT", address(`uploads/${upload}`, {}));
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => progressed(event.loaded, event.total));
    request.addEventListener("load", () => (request.status === 200 ? resolve(request.response) : reject(new Error(request.response?.error ?? text.bad_request))));
    request.addEventListener("error", () => ended(upload, text.connection_lost, LostError).then(reject));
    request.addEventListener("abort", () => ended(upload, words.cancelled).then(reject));
    request.send(new Blob(files));
  });
}

// The connection was lost on the way: once more may help.
class LostError extends Error {}

async function ended(upload, message, Kind = Error) {
  await sendJson("DELETE", `uploads/${upload}`).catch(() => {}); // the server saw the connection end, and was faster
  return new Kind(message);
}

function progress(at, done, total) {
  const bar = at("progress");
  if (done < total) bar.value = done / total;
  else bar.removeAttribute("value");
  at("what").textContent = done < total ? `${size(done)} / ${size(total)}` : words.opening;
}

// The same episode if it is still there, else another one.
async function openWhatIsLeft() {
  const { checkpoint, episode } = state.clip ?? {};
  const choice = { checkpoint: checkpoint?.id, episode: episode?.id, t: state.t };
  const there = await askJson("open", choice).then(() => true, () => false);
  await open(there ? choice : { checkpoint: checkpoint?.id });
}

function size(bytes) {
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  return `${Number((bytes / 1000 ** power).toPrecision(3))} ${UNITS[power]}`;
}
