// One row of the list, and its picture: those in sight are fetched one by one, so that nothing waits for a picture.
import { make } from "./dom.js";
import { address } from "./request.js";
import text from "./text.js";

export const ROW = 46; // pixels, as in browse.css
const PICTURES_AT_ONCE = 2; // a browser opens six connections, and the rest of the page needs some
const AFTER_ROWS_MS = 60;

export function rowElement(row) {
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

// Stands for a row that was not fetched yet.
export function waitingElement() {
  const line = make("tr", "fw-waiting");
  line.append(...Array.from({ length: 6 }, () => make("td")));
  return line;
}

// Stands for rows that are out of sight.
export function space(rows) {
  const line = make("tr", "fw-space");
  line.style.height = `${Math.max(rows, 0) * ROW}px`;
  line.setAttribute("aria-hidden", "true");
  return line;
}

// Pictures in sight that are not there yet; what was scrolled past is not asked for.
let wanted = [];
let loading = 0;

export function wantPictures(body) {
  wanted = [...body.querySelectorAll("img[data-source]:not([src])")];
  setTimeout(pump, AFTER_ROWS_MS);
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
