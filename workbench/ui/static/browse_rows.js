// A table of any length: only the rows in sight exist. Arrow keys move through it; what they rest on is chosen.
import { pagesOf } from "./browse_pages.js";
import { ROW, rowElement, space, waitingElement, wantPictures } from "./browse_row.js";

const SPARE = 6; // rows above and below what is in sight
const REST_MS = 120; // an arrow key held down opens what it rests on
const KEPT = 400; // elements
let tables = 0;

export function mountRows(root, { ask, arrived, failed, choose, open }) {
  const box = root.querySelector(".fw-rows");
  const list = pagesOf({
    ask,
    failed,
    arrived: (answer) => {
      arrived(answer);
      rows.active = Math.min(rows.active, list.found - 1);
      rows.draw();
    },
  });
  const rows = drawnRows(box, list);
  const activate = activation(box, list, rows, choose);
  drawInTime(box, rows.draw);
  takePointer(box.querySelector("tbody"), list, activate, open);
  takeKeys(box, list, rows, activate, open);

  return {
    focus: () => { box.querySelector("table").focus(); if (rows.active < 0) activate(0); },
    // Asks anew; with `keep` what is shown stays until the answer is there.
    reload: ({ keep = false } = {}) => {
      if (!keep) { box.scrollTop = 0; rows.active = -1; }
      return list.reload(Math.floor(box.scrollTop / ROW));
    },
  };
}

const head = (box) => box.querySelector("thead").offsetHeight;

// The rows that exist: the one the keys are at is `active`, the one whose details are shown `chosen` (an id).
function drawnRows(box, list) {
  const [table, body] = [box.querySelector("table"), box.querySelector("tbody")];
  const prefix = `browse-${++tables}`;
  const made = new Map(); // id and stamp -> element; a row that stays in sight keeps its picture
  const rows = { active: -1, chosen: null };

  const elementOf = (row) => {
    if (!row) return waitingElement();
    const name = row.id + row.stamp;
    if (made.size > KEPT) made.clear();
    if (!made.has(name)) made.set(name, rowElement(row));
    return made.get(name);
  };
  const placed = (index) => {
    const row = list.row(index);
    const line = elementOf(row);
    line.id = `${prefix}-${index}`;
    line.dataset.index = index;
    line.setAttribute("aria-rowindex", index + 2);
    line.setAttribute("aria-selected", String(row ? row.id === rows.chosen : false));
    line.classList.toggle("fw-active", index === rows.active);
    return line;
  };

  rows.draw = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
    const last = Math.min(list.found, Math.ceil((box.scrollTop + box.clientHeight - head(box)) / ROW) + SPARE);
    list.want(first, last);
    const lines = Array.from({ length: Math.max(last - first, 0) }, (_, index) => placed(first + index));
    body.replaceChildren(space(first), ...lines, space(list.found - Math.max(last, first)));
    table.setAttribute("aria-rowcount", list.found + 1);
    if (rows.active >= first && rows.active < last) table.setAttribute("aria-activedescendant", `${prefix}-${rows.active}`);
    else table.removeAttribute("aria-activedescendant");
    wantPictures(body);
  };
  return rows;
}

// Brings a row into sight and, once it rests there, chooses it.
function activation(box, list, rows, choose) {
  let resting = 0;
  const settle = () => {
    const row = list.row(rows.active);
    if (!row || row.id === rows.chosen) return;
    rows.chosen = row.id;
    rows.draw();
    choose(row.id);
  };
  return (index, { now = false } = {}) => {
    if (!list.found) return;
    rows.active = Math.min(Math.max(index, 0), list.found - 1);
    const top = rows.active * ROW;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW > box.scrollTop + box.clientHeight - head(box)) box.scrollTop = top + ROW + head(box) - box.clientHeight;
    rows.draw();
    clearTimeout(resting);
    resting = setTimeout(settle, now ? 0 : REST_MS);
  };
}

function drawInTime(box, draw) {
  let waiting = false;
  box.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  new ResizeObserver(() => draw()).observe(box);
}

function takePointer(body, list, activate, open) {
  const indexOf = (event) => Number(event.target.closest("tr[data-index]")?.dataset.index ?? -1);
  body.addEventListener("click", (event) => indexOf(event) >= 0 && activate(indexOf(event), { now: true }));
  body.addEventListener("dblclick", (event) => {
    const row = list.row(indexOf(event));
    if (row) open(row.id);
  });
}

function takeKeys(box, list, rows, activate, open) {
  const table = box.querySelector("table");
  table.addEventListener("keydown", (event) => {
    if (event.target !== table) return;
    const { active } = rows;
    const inSight = Math.max(1, Math.floor(box.clientHeight / ROW) - 1);
    const moves = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + inSight, PageUp: active - inSight, Home: 0, End: list.found - 1 };
    if (event.key === "Enter" && list.row(active)) open(list.row(active).id);
    else if (event.key in moves) activate(moves[event.key]);
    else return;
    event.preventDefault();
  });
}
