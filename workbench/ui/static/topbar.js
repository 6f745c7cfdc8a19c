// Checkpoint, episode table, instruction, badges, share and the error line.
import { state, on } from "./store.js";
import { link, open, openCheckpoint } from "./visit.js";
import { fill, make } from "./dom.js";
import { mountExport } from "./export.js";
import text from "./text.js";

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
    item.title = badge;
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
    if (value) filter.focus();
    else button.focus();
  };
  const redraw = () => fillPicker(picker, filter.value, (id) => {
    setOpen(false);
    open({ checkpoint: state.clip?.checkpoint?.id, episode: id });
  });
  button.addEventListener("click", () => setOpen(picker.hidden));
  root.querySelector(".fw-close").addEventListener("click", () => setOpen(false));
  root.querySelector(".fw-refresh").addEventListener("click", () => open({ checkpoint: state.clip?.checkpoint?.id, ...here(), refresh: true }));
  filter.addEventListener("input", redraw);
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

function fillPicker(picker, wanted, choose) {
  const { episodes, problems } = state.lists;
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const found = episodes.filter((row) => words.every((word) => Object.values(row).join(" ").toLowerCase().includes(word)));
  const table = picker.querySelector("table");
  const rows = fill(table, text.columns_episodes, found.map((row) => text.columns_episodes.map((name) => row[name])));
  rows.forEach((row, index) => {
    row.tabIndex = 0;
    row.classList.toggle("fw-chosen", found[index].id === state.clip?.episode.id);
    row.addEventListener("click", () => choose(found[index].id));
    row.addEventListener("keydown", (event) => event.key === "Enter" && choose(found[index].id));
  });
  picker.querySelector(".fw-count").textContent = `${found.length} / ${episodes.length}`;
  const message = !episodes.length ? text.no_episodes : !found.length ? text.no_match : "";
  const unlisted = problems.length ? `${text.problems} ${problems.join(" · ")}` : "";
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
