// The picture of one time: a grid of small canvases that change together, and tracks drawn over the static image.
import { state, on, emit } from "./store.js";
import { setView } from "./visit.js";
import { make } from "./dom.js";
import text from "./text.js";

const GRID = [
  ["rgb", "depth", "depth_true", "depth_error"],
  ["future_rgb", "future_rgb_true", "copy_last", "bars"],
  ["future_depth", "future_depth_true", "copy_last_depth", "future_depth_error"],
];
const SHARP = 3; // overlay pixels for each image pixel

export function mountPanels(root) {
  const grid = root.querySelector(".fw-panels");
  const cells = new Map(GRID.flat().map((name) => [name, name === "bars" ? make("div", "fw-bars") : emptyPanel(name)]));
  const rowLabels = GRID.map(() => make("div", "fw-rowlabel"));
  GRID.forEach((names, row) => grid.append(rowLabels[row], ...names.map((name) => cells.get(name))));

  const shown = root.querySelector(".fw-shown");
  const box = root.querySelector(".fw-tracks");
  box.addEventListener("change", () => { state.tracks = box.checked; emit("tracks", box.checked); });
  for (const radio of root.querySelectorAll("[name=fw-view]")) radio.addEventListener("change", () => setView(radio.value));

  on("view", (view) => {
    for (const radio of root.querySelectorAll("[name=fw-view]")) {
      radio.checked = radio.value === view;
      radio.disabled = !state.clip.views.includes(radio.value);
    }
    const bars = state.clip.bars[view]; // made and escaped by the server
    cells.get("bars").innerHTML = bars ? bars.depth + bars.error : "";
    cells.get("bars").title = `${text.range_from} ${state.clip.range_from}`;
  });
  on("frame", (frame) => {
    const byName = new Map(frame.panels.map((panel) => [panel.key.slice(frame.view.length + 1), panel]));
    for (const [name, cell] of cells) if (name !== "bars") drawPanel(cell, byName.get(name), frame);
    rowLabels[0].textContent = `t ${frame.t}`;
    const later = frame.future_t === null ? "" : `t ${frame.future_t}`;
    rowLabels[1].textContent = later;
    rowLabels[2].textContent = later;
    drawTracks(cells.get("rgb"), frame, shown);
    grid.dataset.t = frame.t;
    grid.dataset.view = frame.view;
    grid.dataset.origin = frame.origin;
    requestAnimationFrame(() => emit("painted"));
  });
  on("tracks", () => state.frame && drawTracks(cells.get("rgb"), state.frame, shown));
  on("ring", () => state.frame && drawTracks(cells.get("rgb"), state.frame, shown));
  on("status", (message) => { root.querySelector(".fw-status").textContent = message; });
}

function emptyPanel(name) {
  const figure = make("figure", "fw-panel");
  figure.dataset.panel = name;
  const picture = make("div", "fw-picture");
  picture.append(make("canvas", "fw-image"), make("canvas", "fw-overlay"), make("span", "fw-note"));
  figure.append(make("figcaption"), picture);
  return figure;
}

function drawPanel(figure, panel, frame) {
  const image = figure.querySelector(".fw-image");
  const title = panel?.title ?? "";
  figure.querySelector("figcaption").textContent = title;
  const drawn = panel && panel.at !== null;
  figure.querySelector(".fw-note").textContent = drawn ? "" : panel?.note ?? "";
  figure.title = drawn ? panel.note : "";
  figure.classList.toggle("fw-empty", !panel || panel.at === null);
  if (!panel || panel.at === null) return;
  const [height, width] = frame.size;
  if (image.width !== width || image.height !== height) Object.assign(image, { width, height });
  image.getContext("2d").drawImage(frame.bitmap, panel.at * width, 0, width, height, 0, 0, width, height);
  image.setAttribute("role", "img");
  image.setAttribute("aria-label", `${title}, t ${frame.t}`);
}

// Predicted solid, true faded; a ring around the chosen point. Tracks live in the static image only.
function drawTracks(figure, frame, shown) {
  const overlay = figure.querySelector(".fw-overlay");
  const tracks = frame.view === "static" ? frame.tracks : null;
  const legend = [tracks?.of ? tracksText(tracks) : "", frame.labelled ? labelledText(frame.labelled) : ""];
  shown.textContent = state.tracks ? legend.filter(Boolean).join(" · ") : "";
  if (!frame.size) return;
  const [height, width] = frame.size.map((pixels) => pixels * SHARP);
  if (overlay.width !== width || overlay.height !== height) Object.assign(overlay, { width, height });
  const pen = overlay.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(figure);
  if (state.tracks) for (const line of frame.labelled?.lines ?? []) drawLine(pen, line, style.getPropertyValue("--fw-truth"), 2, true);
  if (!tracks) return;
  if (state.tracks) {
    for (const track of tracks.true ?? []) drawLine(pen, track, style.getPropertyValue("--fw-truth"), 2);
    for (const track of tracks.predicted) drawLine(pen, track, style.getPropertyValue("--fw-predicted"), 2);
  }
  const ring = state.ring;
  if (ring && ring.t === frame.t) {
    pen.strokeStyle = style.getPropertyValue("--fw-ring");
    pen.lineWidth = 4;
    pen.beginPath();
    pen.arc(ring.uv[0] * SHARP, ring.uv[1] * SHARP, 14, 0, 2 * Math.PI);
    pen.stroke();
  }
}

function drawLine(pen, track, colour, widthPixels, dot = false) {
  if (dot && track[0][0] !== null) { // where the line starts: the picture's own time
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(track[0][0] * SHARP, track[0][1] * SHARP, 3, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.strokeStyle = colour;
  pen.lineWidth = widthPixels;
  pen.beginPath();
  let down = false;
  for (const [u, v] of track) {
    if (u === null || v === null) break; // the truth ends with the episode
    if (down) pen.lineTo(u * SHARP, v * SHARP);
    else pen.moveTo(u * SHARP, v * SHARP);
    down = true;
  }
  pen.stroke();
}

function tracksText({ predicted, of, moving, start_depth, pseudo }) {
  const count = `${predicted.length} ${text.of} ${of} ${text.points} (${moving} ${text.moving}), ${start_depth} ${text.start_depth}`;
  return pseudo ? `${count}; ${text.tracker_faded}` : count;
}

function labelledText({ lines, of, until }) {
  return `${text.tracker_lines}: ${lines.length} ${text.of} ${of} ${text.points} ${text.move_until} t ${until}`;
}
