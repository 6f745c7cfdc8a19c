// The numbers at this time beside their baselines, and the worst points; a row rings its point in the image.
import { state, on, emit } from "./store.js";
import { fill, make } from "./dom.js";
import text from "./text.js";

export function mountTables(root) {
  const numbers = root.querySelector(".fw-numbers table");
  const points = root.querySelector(".fw-points table");
  on("frame", (frame) => {
    state.ring = state.ring?.t === frame.t ? state.ring : null;
    fillNumbers(numbers, frame);
    fillPoints(points, frame, state.picked?.t === frame.t ? state.picked.row : null);
  });
  on("pick", (picked) => {
    state.picked = picked;
    if (!picked || picked.t !== state.frame?.t) return;
    fillPoints(points, state.frame, picked.row);
    choose(points, picked.row, picked.t);
  }, { fresh: true });
}

function fillNumbers(table, frame) {
  const rows = frame.numbers.map(({ label, value, baseline, skill }) => [label, value, baseline, skill]);
  const made = fill(table, text.columns_numbers, rows);
  made.forEach((row, index) => {
    const { definition, baseline_name, better } = frame.numbers[index];
    row.title = `${definition} ${text.baseline}: ${baseline_name}`;
    row.lastChild.className = frame.numbers[index].skill === null ? "" : better ? "fw-good" : "fw-bad";
  });
  if (!made.length) say(table, frame.origin === "recorded" ? text.no_numbers : text.no_comparison);
}

function fillPoints(table, frame, picked) {
  const listed = frame.points.filter(({ point }) => point !== picked?.point);
  const all = picked ? [picked, ...listed] : listed;
  const cells = all.map(({ point, px, lateral, along, moved }) => [point, px, lateral, along, moved]);
  const made = fill(table, text.columns_points, cells);
  made.forEach((row, index) => {
    row.tabIndex = 0;
    row.dataset.point = all[index].point;
    if (all[index] === picked) row.title = text.picked;
    row.addEventListener("click", () => choose(table, all[index], frame.t));
    row.addEventListener("keydown", (event) => event.key === "Enter" && choose(table, all[index], frame.t));
  });
  if (!made.length) say(table, frame.origin === "recorded" ? text.no_numbers : frame.no_points || text.no_points);
}

function choose(table, { point, uv }, t) {
  for (const row of table.tBodies[0].rows) row.classList.toggle("fw-chosen", row.dataset.point === String(point));
  state.ring = { t, uv };
  emit("ring", state.ring);
}

function say(table, message) {
  const row = make("tr");
  const cell = make("td", "fw-hint", message);
  cell.colSpan = table.tHead.rows[0].cells.length;
  row.append(cell);
  table.tBodies[0].append(row);
}
