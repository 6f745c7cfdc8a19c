// The chosen episode: every camera at one time, every number over time, and a button that opens it in Foresight.
import { askJson } from "./request.js";
import { make, visible } from "./dom.js";
import { drawFeatures } from "./browse_features.js";
import { addBars, paint, shotOf } from "./browse_shots.js";
import { moveCursor } from "./plot.js";
import text from "./text.js";

export function mountDetail(root, openInForesight) {
  const box = root.querySelector(".fw-detail");
  const at = (name) => box.querySelector(`.fw-${name}`);
  const say = (message) => { at("problem").textContent = message; at("problem").hidden = !message; };
  const shown = { episode: null, features: [] };
  const clock = clockOf(box, at, shown, say);
  const drawNumbers = () => {
    const { episode, features } = shown;
    at("thinned").textContent = episode.drawn.length < episode.length ? text.browse_thinned.replace("{k}", episode.drawn[1]) : "";
    const live = () => episode === shown.episode && visible(root);
    return drawFeatures(at("features"), features, { ...clock, live, steps: episode.drawn, asTable: at("as-table").checked });
  };

  let asking = null; // the newest choice wins
  const show = async (id) => {
    asking?.abort();
    asking = new AbortController();
    root.querySelector(".fw-nothing").hidden = true;
    box.hidden = false;
    box.setAttribute("aria-busy", "true");
    try {
      await load(id, asking.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (shown.episode?.id !== id) { clear(at); shown.episode = null; }
      at("features").replaceChildren();
      say(error.message);
    }
    box.removeAttribute("aria-busy");
  };
  // What is quick to have is shown first: facts, pictures, their scales, numbers.
  const load = async (id, signal) => {
    const episode = await askJson("browse/episode", { episode: id }, signal);
    Object.assign(shown, { episode, features: [] });
    say("");
    describe(at, episode);
    clock.start();
    at("features").replaceChildren(make("p", "fw-hint", text.browse_reading));
    if (episode.pictures.some(({ kind }) => kind === "depth")) addBars(at("pictures"), await askJson("browse/bars", { episode: id }, signal));
    shown.features = (await askJson("browse/features", { episode: id }, signal)).features;
    await drawNumbers();
  };

  at("as-table").addEventListener("change", () => shown.episode && drawNumbers());
  at("open").addEventListener("click", () => shown.episode && openInForesight(shown.episode.id, clock.time()));
  return { show };
}

// The time that is shown: slider, pictures and the cursors of all plots.
function clockOf(box, at, shown, say) {
  const slider = at("slider");
  const time = () => shown.episode?.steps[Number(slider.value)] ?? 0;
  const follow = () => {
    const { episode } = shown;
    if (!episode) return;
    const t = time();
    at("clock").textContent = episode.steps.length ? `t ${t} / ${episode.length - 1} · ${(t / episode.hz).toFixed(2)} s` : text.browse_no_frames;
    slider.setAttribute("aria-valuetext", at("clock").textContent);
    for (const host of box.querySelectorAll(".fw-plot")) moveCursor(host, t);
    if (episode.steps.length) for (const frame of at("pictures").children) paint(frame, episode.id, t, say);
  };
  slider.addEventListener("input", follow);
  return {
    time,
    start: () => { slider.max = Math.max(shown.episode.steps.length - 1, 0); slider.value = 0; follow(); },
    goTo: (t) => { slider.value = nearest(shown.episode.steps, t); follow(); },
  };
}

function describe(at, { title, instruction, source, outcome, badges, length, hz, notes, pictures }) {
  at("title").textContent = title;
  at("said").textContent = instruction || text.no_instruction;
  at("said").classList.toggle("fw-unsaid", !instruction);
  at("facts-line").textContent = [source, outcome, `${length} ${text.browse_control_steps}, ${(length / hz).toFixed(1)} s`, ...badges].join(" · ");
  at("notes").replaceChildren(...notes.map((note) => make("li", "", note)));
  at("pictures").replaceChildren(...pictures.map(shotOf));
  at("open").disabled = false;
}

function clear(at) {
  for (const name of ["title", "said", "facts-line", "notes", "pictures", "clock"]) at(name).replaceChildren();
  at("open").disabled = true;
}

function nearest(steps, t) {
  return steps.reduce((best, step, index) => (Math.abs(step - t) < Math.abs(steps[best] - t) ? index : best), 0);
}
