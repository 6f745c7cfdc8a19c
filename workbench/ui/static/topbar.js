// Checkpoint, episode table, instruction, badges, share and the error line.
import { state, on } from "./store.js";
import { link, open, openCheckpoint } from "./visit.js";
import { fill, make } from "./dom.js";
import { askJson } from "./request.js";
import { mountExport } from "./export.js";
import text from "./text.js";

const PICKED = 200; // rows; the Browse tab has all of them
const LONGEST_BADGE = 60; // the rest of a long note is in its tooltip

export function mountTopbar(root) {
  const checkpoint = root.querySelector(".fw-checkpoint");
  checkpoint.addEventListener("change", () => openCheckpoint(checkpoint.value));
  on("lists", ({ checkpoints }) => {
    checkpoint.replaceChildren(...checkpoints.map(({ id, name }) => new Option(name, id)));
    if (!checkpoints.length) checkpoint.append(new Option(text.no_checkpoint_short, ""));
    checkpoint.disabled = !checkpoints.length;
  });
  on("clip", (clip) => {
    checkpoint.value = clip.checkpoint?.id ?? "";
    root.querySelector(".fw-episode").textContent = clip.episode.title;
    const instruction = root.querySelector(".fw-instruction");
    instruction.textContent = clip.instruction;
    instruction.hidden = !clip.instruction; // a badge says that there is none
  });
  on("frame", (frame) => fillBadges(root.querySelector(".fw-badges"), frame));
  on("errors", (messages) => {
    const line = root.querySelector(".fw-error");
    line.textContent = messages.at(-1) ?? "";
    line.hidden = !messages.length;
  });
  mountPicker(root);
  mountExport(root);
  mountShare(root.querySelector(".fw-share"));
}

const here = () => (state.clip ? { episode: state.clip.episode.id, t: state.t } : {});

function fillBadges(host, frame) {
  const { clip } = state;
  const policy = clip.checkpoint ? [clip.checkpoint.weights, text.origins[frame.origin]] : [text.no_checkpoint_short];
  const unsaid = clip.instruction ? "" : text.no_instruction;
  const badges = [unsaid, clip.outcome, ...clip.badges, ...policy, ...(frame.remarks ?? []), ...clip.notes].filter(Boolean);
  if (badges.join() === host.dataset.shown) return;
  host.dataset.shown = badges.join();
  host.replaceChildren(...badges.map((badge) => {
    const item = make("span", "fw-badge", shortened(badge));
    item.setAttribute("role", "listitem");
    item.title = text.badge_hints[badge] ?? badge;
    return item;
  }));
}

const shortened = (words) => (words.length > LONGEST_BADGE ? `${words.slice(0, LONGEST_BADGE - 1)}…` : words);

function mountPicker(root) {
  const button = root.querySelector(".fw-episode");
  const picker = root.querySelector(".fw-picker");
  const filter = root.querySelector(".fw-filter");
  const setOpen = (value) => {
    picker.hidden = !value;
    button.setAttribute("aria-expanded", String(value));
    if (value) { filter.focus(); redraw(); }
    else button.focus();
  };
  const choose = (id) => {
    setOpen(false);
    open({ checkpoint: state.clip?.checkpoint?.id, episode: id });
  };
  // The server searches: there may be thousands of episodes.
  let asking = null;
  const redraw = async () => {
    asking?.abort();
    if (picker.hidden) return;
    asking = new AbortController();
    try {
      fillPicker(picker, await askJson("browse/rows", { q: filter.value, limit: PICKED }, asking.signal), choose);
    } catch (error) {
      if (error.name !== "AbortError") picker.querySelector(".fw-problems").textContent = error.message;
    }
  };
  button.addEventListener("click", () => setOpen(picker.hidden));
  root.querySelector(".fw-close").addEventListener("click", () => setOpen(false));
  root.querySelector(".fw-refresh").addEventListener("click", () => open({ checkpoint: state.clip?.checkpoint?.id, ...here(), refresh: true }));
  let typing = 0;
  filter.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(redraw, 120); });
  picker.addEventListener("keydown", (event) => {
    if (event.key === "Escape") setOpen(false);
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const rows = [...picker.querySelectorAll("tbody tr[tabindex]")];
    const at = rows.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    (rows[at] ?? filter).focus();
  });
  on("lists", redraw);
  on("clip", redraw);
}

function fillPicker(picker, { rows: listed, found, total, problems }, choose) {
  const table = picker.querySelector("table");
  const rows = fill(table, text.columns_episodes, listed.map((row) => text.columns_episodes.map((name) => row[name])));
  rows.forEach((row, index) => {
    row.tabIndex = 0;
    row.classList.toggle("fw-chosen", listed[index].id === state.clip?.episode.id);
    row.addEventListener("click", () => choose(listed[index].id));
    row.addEventListener("keydown", (event) => event.key === "Enter" && choose(listed[index].id));
  });
  picker.querySelector(".fw-count").textContent = `${found} / ${total}`;
  const more = found > listed.length ? text.more_in_browse.replace("{n}", listed.length) : "";
  const message = !total ? text.no_episodes : !found ? text.no_match : more;
  const unlisted = problems.length ? `${text.problems} ${problems.slice(0, 5).join(" · ")}` : "";
  picker.querySelector(".fw-problems").textContent = [message, unlisted].filter(Boolean).join(" ");
}

function mountShare(button) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    if (!state.clip) return;
    const address = new URL(link(), location.href).href;
    try {
      await navigator.clipboard.writeText(address);
      button.textContent = text.copied;
      setTimeout(() => { button.textContent = label; }, 1500);
    } catch {
      globalThis.prompt(text.copy_by_hand, address); // no clipboard without a secure context
    }
  });
}
