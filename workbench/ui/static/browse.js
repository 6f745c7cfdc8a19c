// The Browse tab: a list of any length, the chosen episode beside it, and what could not be listed.
import { state, on } from "./store.js";
import { open } from "./visit.js";
import { askJson } from "./request.js";
import { fill, make, visible } from "./dom.js";
import { mountDetail } from "./browse_detail.js";
import { mountRows } from "./browse_rows.js";
import { mountUpload } from "./upload.js";
import text from "./text.js";

const LOOK_AGAIN_MS = 800; // while the folders are being listed
const TYPING_MS = 150;

export function mountBrowse(root) {
  const at = (name) => root.querySelector(`.fw-${name}`);
  const detail = mountDetail(root, openInForesight);
  mountUpload(at("upload"), openInForesight);
  const wish = { q: "", order: "", descending: false };
  let timer = 0;

  const list = mountRows(root, {
    ask: (offset, limit, signal) => askJson("browse/rows", { ...wish, ...chosenFilters(root), offset, limit }, signal),
    arrived: (answer) => {
      const { total, found, listing, choices, problems } = answer;
      at("count").textContent = `${found === total ? total : `${found} / ${total}`} ${text.browse_episodes}`;
      if (choices) offerFilters(root, choices);
      if (problems) showProblems(at("unlisted"), problems);
      say(at("none"), found ? "" : listing ? text.browse_listing : total ? text.no_match : text.no_episodes);
      showListing(at("listing"), listing);
      clearTimeout(timer);
      if (listing && visible(root)) timer = setTimeout(() => list.reload({ keep: true }), LOOK_AGAIN_MS);
      else if (!listing && answer.offset === 0) showChains(at("chains"));
    },
    failed: (message) => say(at("none"), message),
    choose: detail.show,
    open: openInForesight,
  });

  let typing = 0;
  at("words").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { wish.q = at("words").value; list.reload(); }, TYPING_MS);
  });
  at("words").addEventListener("keydown", (event) => event.key === "ArrowDown" && (event.preventDefault(), list.focus()));
  for (const select of root.querySelectorAll(".fw-only")) select.addEventListener("change", () => list.reload());
  mountOrder(root, wish, list.reload);
  at("again").addEventListener("click", () => {
    const here = state.clip ? { checkpoint: state.clip.checkpoint?.id, episode: state.clip.episode.id, t: state.t } : {};
    open({ ...here, refresh: true });
  });
  on("lists", () => visible(root) && list.reload({ keep: true }));
  let shown = false;
  new IntersectionObserver((entries) => {
    const now = entries.at(-1).isIntersecting;
    if (now && !shown) list.reload({ keep: true });
    shown = now;
  }).observe(root);
}

async function openInForesight(id, t = undefined) {
  [...document.querySelectorAll("#tabs [role=tab]")].find((tab) => tab.textContent.trim() === text.tab_foresight)?.click();
  await open({ checkpoint: state.clip?.checkpoint?.id, episode: id, t });
}

const chosenFilters = (root) => Object.fromEntries([...root.querySelectorAll(".fw-only")].map(({ name, value }) => [name, value || null]));

function offerFilters(root, choices) {
  for (const select of root.querySelectorAll(".fw-only")) {
    const chosen = select.value;
    const options = choices[select.name].map(([value, count]) => new Option(`${value} (${count})`, value));
    select.replaceChildren(new Option(`${text.browse_any} ${select.ariaLabel.toLowerCase()}`, ""), ...options);
    select.value = options.some(({ value }) => value === chosen) ? chosen : "";
  }
}

// A click on a column's head: up, down, then the order of the folders again.
function mountOrder(root, wish, reload) {
  for (const button of root.querySelectorAll("[data-order]")) button.addEventListener("click", () => {
    const again = wish.order === button.dataset.order;
    if (again && wish.descending) Object.assign(wish, { order: "", descending: false });
    else Object.assign(wish, { order: button.dataset.order, descending: again });
    markOrder(root, wish);
    reload();
  });
}

function markOrder(root, { order, descending }) {
  for (const button of root.querySelectorAll("[data-order]")) {
    const mine = button.dataset.order === order;
    button.dataset.direction = mine ? (descending ? "↓" : "↑") : "";
    button.closest("th").removeAttribute("aria-sort");
  }
  root.querySelector(`[data-order="${order}"]`)?.closest("th").setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function say(element, message) {
  element.textContent = message;
  element.hidden = !message;
}

function showListing(line, listing) {
  line.hidden = !listing;
  if (!listing) return;
  const bar = line.querySelector("progress");
  if (listing.total) bar.value = listing.done / listing.total;
  else bar.removeAttribute("value");
  const part = listing.total ? `, ${listing.done} / ${listing.total} ${text.browse_datasets}` : "";
  line.querySelector("span").textContent = `${text.browse_listing} ${listing.root}: ${listing.episodes} ${text.browse_so_far}${part}`;
}

function showProblems(box, problems) {
  box.hidden = !problems.length;
  box.querySelector("summary").textContent = `${problems.length} ${text.browse_unlisted}`;
  box.querySelector("ul").replaceChildren(...problems.slice(0, 200).map((problem) => make("li", "", problem)));
}

async function showChains(box) {
  const { sets } = await askJson("browse/chains").catch(() => ({ sets: [] }));
  box.hidden = !sets.length;
  const total = sets.reduce((sum, { rows }) => sum + rows.length, 0);
  box.querySelector("summary").textContent = `${text.browse_chains} (${total})`;
  box.querySelector("div").replaceChildren(...sets.flatMap(({ of, problem, rows }) => {
    const scroll = make("div", "fw-scroll");
    const table = make("table", "fw-table");
    fill(table, ["", ...text.columns_chains], rows.map((cells, index) => [index + 1, ...cells]));
    scroll.append(table);
    return [make("h3", "", of), ...(problem ? [make("p", "fw-error", problem)] : [scroll])];
  }));
}
