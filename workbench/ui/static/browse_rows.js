// A table of any length: only the rows in sight exist, pages of them are fetched when they come into sight, and their
// pictures one by one after that, so that nothing waits for a picture.
import { make } from "./dom.js";
import { address } from "./request.js";
import text from "./text.js";

const ROW = 46; // pixels, as in browse.css
const PAGE = 100;
const SPARE = 6; // rows above and below what is in sight
const PICTURES_AT_ONCE = 2; // a browser opens six connections, and the rest of the page needs some
const REST_MS = 120; // an arrow key held down opens what it rests on
let tables = 0;

export function mountRows(root, { ask, arrived, failed, choose, open }) {
  const box = root.querySelector(".fw-rows");
  const table = box.querySelector("table");
  const body = box.querySelector("tbody");
  const prefix = `browse-${++tables}`;
  let pages = new Map(); // number -> rows, or null while they are asked for
  let found = 0;
  let active = -1;
  let chosen = null;
  let round = 0; // answers to an older question are dropped
  let resting = 0;

  const rowAt = (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE];

  const fetchPage = async (number) => {
    if (pages.has(number)) return;
    const mine = round;
    pages.set(number, null);
    try {
      const answer = await ask(number * PAGE, PAGE);
      if (mine !== round) return;
      pages.set(number, answer.rows);
      found = answer.found;
      arrived(answer);
      active = Math.min(active, found - 1);
      draw();
    } catch (error) {
      if (mine !== round) return;
      pages.delete(number);
      failed(error.message);
    }
  };

  const draw = () => {
    const head = box.querySelector("thead").offsetHeight;
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
    const last = Math.min(found, Math.ceil((box.scrollTop + box.clientHeight - head) / ROW) + SPARE);
    for (let number = Math.floor(first / PAGE); number * PAGE < last; number += 1) fetchPage(number);
    const drawn = [];
    for (let index = first; index < last; index += 1) drawn.push(element(index));
    body.replaceChildren(space(first), ...drawn, space(found - Math.max(last, first)));
    table.setAttribute("aria-rowcount", found + 1);
    if (active >= first && active < last) table.setAttribute("aria-activedescendant", `${prefix}-${active}`);
    else table.removeAttribute("aria-activedescendant");
    wantPictures(body);
  };

  const made = new Map(); // id and stamp -> element; a row that stays in sight keeps its picture
  const element = (index) => {
    const row = rowAt(index);
    const known = row && made.get(row.id + row.stamp);
    const line = known ?? (row ? rowElement(row) : make("tr", "fw-waiting"));
    if (!row) line.append(...Array.from({ length: 6 }, () => make("td")));
    else if (!known) made.set(row.id + row.stamp, line);
    if (made.size > 400) made.clear();
    line.id = `${prefix}-${index}`;
    line.dataset.index = index;
    line.setAttribute("aria-rowindex", index + 2);
    line.setAttribute("aria-selected", String(row ? row.id === chosen : false));
    line.classList.toggle("fw-active", index === active);
    return line;
  };

  const activate = (index, { now = false } = {}) => {
    if (!found) return;
    active = Math.min(Math.max(index, 0), found - 1);
    const [top, head] = [active * ROW, box.querySelector("thead").offsetHeight];
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW > box.scrollTop + box.clientHeight - head) box.scrollTop = top + ROW + head - box.clientHeight;
    draw();
    clearTimeout(resting);
    resting = setTimeout(() => {
      const row = rowAt(active);
      if (!row || row.id === chosen) return;
      chosen = row.id;
      draw();
      choose(row.id);
    }, now ? 0 : REST_MS);
  };

  let waiting = false;
  box.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  new ResizeObserver(() => draw()).observe(box);
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr[data-index]");
    if (line) activate(Number(line.dataset.index), { now: true });
  });
  body.addEventListener("dblclick", (event) => {
    const row = rowAt(Number(event.target.closest("tr[data-index]")?.dataset.index ?? -1));
    if (row) open(row.id);
  });
  table.addEventListener("keydown", (event) => {
    if (event.target !== table) return;
    const inSight = Math.max(1, Math.floor(box.clientHeight / ROW) - 1);
    const moves = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + inSight, PageUp: active - inSight, Home: 0, End: found - 1 };
    if (event.key === "Enter" && rowAt(active)) open(rowAt(active).id);
    else if (event.key in moves) activate(moves[event.key]);
    else return;
    event.preventDefault();
  });

  return {
    focus: () => { table.focus(); if (active < 0) activate(0); },
    // Asks anew; with `keep` what is shown stays until the answer is there.
    reload: async ({ keep = false } = {}) => {
      round += 1;
      pages = new Map();
      if (!keep) { box.scrollTop = 0; active = -1; }
      await fetchPage(keep ? Math.floor(box.scrollTop / ROW / PAGE) : 0);
      if (keep && box.scrollTop >= PAGE * ROW) fetchPage(0); // the first page has the choices and the problems
    },
  };
}

// Stands for rows that are out of sight.
function space(rows) {
  const line = make("tr", "fw-space");
  line.style.height = `${Math.max(rows, 0) * ROW}px`;
  line.setAttribute("aria-hidden", "true");
  return line;
}

function rowElement(row) {
  const line = make("tr");
  const picture = make("img");
  picture.alt = "";
  picture.dataset.source = address("browse/thumbnail", { episode: row.id, v: row.stamp });
  const named = make("td", "fw-two");
  named.append(make("b", "", row.own ? `${row.episode} (${text.browse_own})` : row.episode), make("span", "", row.instruction || text.no_instruction));
  const seen = make("td", "fw-two");
  seen.append(make("span", "", row.views), make("span", "", row.depth === "none" ? text.browse_no_depth : row.depth));
  const framed = make("td");
  framed.append(picture);
  line.append(framed, named, make("td", "", row.source), make("td", "fw-number", row.steps ?? "–"), seen, make("td", "", row.outcome));
  line.title = `${row.episode}\n${row.instruction || text.no_instruction}`;
  return line;
}

// Pictures in sight that are not there yet; what was scrolled past is not asked for.
let wanted = [];
let loading = 0;

function wantPictures(body) {
  wanted = [...body.querySelectorAll("img[data-source]:not([src])")];
  setTimeout(pump, 60); // after the rows are on the screen
}

function pump() {
  while (loading < PICTURES_AT_ONCE && wanted.length) {
    const picture = wanted.shift();
    if (!picture.isConnected || picture.src) continue;
    loading += 1;
    const done = () => { loading -= 1; pump(); };
    picture.addEventListener("load", done, { once: true });
    picture.addEventListener("error", () => {
      picture.removeAttribute("src");
      delete picture.dataset.source; // choosing the episode says what is wrong with it
      done();
    }, { once: true });
    picture.src = picture.dataset.source;
  }
}
