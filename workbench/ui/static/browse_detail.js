// The chosen episode: every camera at one time, every number over time, and a button that opens it in Foresight.
import { address, askJson } from "./request.js";
import { fill, make, visible } from "./dom.js";
import { drawPlot, moveCursor, stepUnder } from "./plot.js";
import text from "./text.js";

export function mountDetail(root, openInForesight) {
  const box = root.querySelector(".fw-detail");
  const at = (name) => box.querySelector(`.fw-${name}`);
  let episode = null; // what is shown
  let asking = null; // the newest choice wins
  let features = [];

  const say = (message) => { at("problem").textContent = message; at("problem").hidden = !message; };
  const time = () => episode?.steps[Number(at("slider").value)] ?? 0;

  const show = async (id) => {
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    root.querySelector(".fw-nothing").hidden = true;
    box.hidden = false;
    box.setAttribute("aria-busy", "true");
    try {
      episode = await askJson("browse/episode", { episode: id }, signal);
      say("");
      describe(at, episode);
      at("pictures").replaceChildren(...episode.pictures.map(frameOf));
      at("slider").max = Math.max(episode.steps.length - 1, 0);
      at("slider").value = 0;
      features = [];
      at("features").replaceChildren(make("p", "fw-hint", text.browse_reading));
      goTo();
      if (episode.pictures.some(({ kind }) => kind === "depth")) addBars(at("pictures"), await askJson("browse/bars", { episode: id }, signal));
      features = (await askJson("browse/features", { episode: id }, signal)).features;
      await drawFeatures();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (episode?.id !== id) clear(at);
      at("features").replaceChildren();
      episode = episode?.id === id ? episode : null;
      say(error.message);
    }
    box.removeAttribute("aria-busy");
  };

  const goTo = () => {
    const t = time();
    at("clock").textContent = episode.steps.length ? `t ${t} / ${episode.length - 1} · ${(t / episode.hz).toFixed(2)} s` : text.browse_no_frames;
    at("slider").setAttribute("aria-valuetext", at("clock").textContent);
    for (const host of box.querySelectorAll(".fw-plot")) moveCursor(host, t);
    if (episode.steps.length) for (const frame of at("pictures").children) paint(frame, episode.id, t, say);
  };

  const drawFeatures = async () => {
    const mine = episode;
    const asTable = at("as-table").checked;
    const drawn = episode.drawn;
    at("thinned").textContent = drawn.length < episode.length ? text.browse_thinned.replace("{k}", drawn[1]) : "";
    const blocks = features.map(({ name }) => {
      const block = make("div", "fw-feature");
      block.append(make("h4", "", name));
      return block;
    });
    at("features").replaceChildren(...(blocks.length ? blocks : [make("p", "fw-hint", text.browse_no_features)]));
    for (const [index, { name, figure, columns, rows }] of features.entries()) {
      if (mine !== episode || !visible(root)) return;
      const host = make("div", asTable ? "fw-scroll" : "fw-plot");
      blocks[index].append(host);
      if (asTable) {
        const table = make("table", "fw-table");
        host.append(table);
        fill(table, columns, rows);
        continue;
      }
      host.setAttribute("role", "img");
      host.setAttribute("aria-label", `${name}, ${text.browse_over_time}`);
      host.addEventListener("click", (event) => {
        const t = stepUnder(host, event.clientX);
        if (t === null) return;
        at("slider").value = nearest(episode.steps, t);
        goTo();
      });
      await drawPlot(host, structuredClone(figure), { steps: drawn, empty: text.browse_no_features, margin: { b: 20 } });
      moveCursor(host, time());
    }
  };

  at("slider").addEventListener("input", goTo);
  at("as-table").addEventListener("change", () => episode && drawFeatures());
  at("open").addEventListener("click", () => episode && openInForesight(episode.id, time()));
  return { show };
}

function describe(at, { title, instruction, source, outcome, badges, length, hz, notes }) {
  at("title").textContent = title;
  at("said").textContent = instruction || text.no_instruction;
  at("said").classList.toggle("fw-unsaid", !instruction);
  at("facts-line").textContent = [source, outcome, `${length} ${text.browse_control_steps}, ${(length / hz).toFixed(1)} s`, ...badges].join(" · ");
  at("notes").replaceChildren(...notes.map((note) => make("li", "", note)));
  at("open").disabled = false;
}

function clear(at) {
  for (const name of ["title", "said", "facts-line", "notes", "pictures", "clock"]) at(name).replaceChildren();
  at("open").disabled = true;
}

function frameOf({ camera, kind, size, policy }) {
  const frame = make("figure", "fw-shot");
  const picture = make("img");
  picture.alt = `${camera} ${kind}`;
  picture.width = size[1];
  picture.height = size[0];
  const role = policy ? "" : ` (${text.browse_not_fed})`;
  frame.append(picture, make("figcaption", "", `${camera} ${kind}${role} · ${size[1]} × ${size[0]}`));
  Object.assign(frame.dataset, { camera, kind });
  return frame;
}

function addBars(pictures, { bars }) {
  for (const frame of pictures.children) {
    if (frame.dataset.kind !== "depth") continue;
    const host = make("div", "fw-bars");
    host.innerHTML = bars[frame.dataset.camera] ?? ""; // made and escaped by the server
    frame.append(host);
  }
}

// The newest time wins; while one picture is on its way no second one is asked for.
async function paint(frame, episode, t, say) {
  frame.wanted = { episode, t };
  if (frame.busy) return;
  frame.busy = true;
  while (frame.wanted) {
    const { wanted } = frame;
    frame.wanted = null;
    const { camera, kind } = frame.dataset;
    try {
      const response = await fetch(address("browse/picture", { ...wanted, camera, kind }));
      if (!response.ok) throw new Error((await response.json()).error);
      const bitmap = URL.createObjectURL(await response.blob());
      const picture = frame.querySelector("img");
      picture.onload = () => URL.revokeObjectURL(bitmap);
      picture.src = bitmap;
      frame.dataset.t = wanted.t;
      delete frame.dataset.failed;
    } catch (error) {
      frame.dataset.failed = "";
      if (frame.isConnected) say(error instanceof TypeError ? text.connection_lost : error.message);
    }
  }
  frame.busy = false;
}

function nearest(steps, t) {
  return steps.reduce((best, step, index) => (Math.abs(step - t) < Math.abs(steps[best] - t) ? index : best), 0);
}
