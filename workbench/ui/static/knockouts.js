// Knock-outs: ranked bars beside random ones, attention beside the effect, and the same as a table.
import { drawBars } from "./plot.js";
import { fill, make } from "./dom.js";
import text from "./text.js";

export async function drawKnockouts(root, found) {
  const at = (name) => root.querySelector(`.fw-${name}`);
  at("knocked-title").textContent = found.title;
  at("sampled").textContent = found.sampled;
  for (const [list, options] of [[at("measure"), found.measures], [at("replacement"), found.replacements]]) list.replaceChildren(...options.map(({ id, label }) => new Option(label, id)));
  if (found.replacements.some(({ id }) => id === "time")) at("replacement").value = "time";
  const draw = () => {
    const kind = at("replacement").value;
    fill(at("knocked-table"), text.columns_knockout, found.rows[kind]);
    return drawBars(at("bars-plot"), found.figures[at("measure").value][kind], text.proof_nothing_measured);
  };
  at("measure").onchange = at("replacement").onchange = draw;
  at("training-title").textContent = text.proof_training;
  fill(at("training-table"), ["", ""], found.training);
  at("notes").replaceChildren(...found.notes.map((note) => make("li", "fw-hint", note)));
  await draw();
}
