// The action's attention over all times predicted so far: heat map and lines, or the table of both.
import { state, on, report } from "./store.js";
import { askJson } from "./request.js";
import { goTo } from "./visit.js";
import { fill, visible } from "./dom.js";
import { drawPlot, moveCursor, stepUnder } from "./plot.js";
import text from "./text.js";

export function mountAttentionTime(root) {
  const host = root.querySelector(".fw-over-time");
  const [drawn, asTable] = [host.querySelector(".fw-drawn"), host.querySelector(".fw-as-table")];
  const [plots, table] = [host.querySelector(".fw-plots"), host.querySelector(".fw-series")];
  let timer = 0;

  const draw = async () => {
    const { clip } = state;
    if (!clip?.checkpoint || !visible(root)) return;
    const query = { episode: clip.episode.id, checkpoint: clip.checkpoint.id, drawn: drawn.value || null };
    const over = await askJson("attention/timeline", query);
    if (clip !== state.clip) return;
    if (drawn.options.length !== over.names.length) drawn.replaceChildren(...over.names.map((name) => new Option(name, name)));
    drawn.value = over.drawn;
    plots.hidden = asTable.checked;
    table.hidden = !asTable.checked;
    if (asTable.checked) return fillSeries(table.querySelector("table"), over.rows);
    const options = { steps: clip.steps, empty: text.timeline_empty };
    await drawPlot(host.querySelector(".fw-lift"), over.figure, { ...options, margin: { l: 92 } });
    await drawPlot(host.querySelector(".fw-mass"), over.shares, { ...options, margin: { l: 92, r: 96 } });
    for (const plot of host.querySelectorAll(".fw-plot")) moveCursor(plot, state.t);
  };
  const refresh = (delay = 250) => {
    clearTimeout(timer);
    timer = setTimeout(() => draw().then(() => report("attention-time", ""), (error) => report("attention-time", error.message)), delay);
  };

  for (const plot of host.querySelectorAll(".fw-plot"))
    plot.addEventListener("click", (event) => {
      const t = stepUnder(plot, event.clientX);
      if (t !== null) goTo(t);
    });
  drawn.addEventListener("change", () => refresh(0));
  asTable.addEventListener("change", () => refresh(0));
  on("clip", () => drawn.replaceChildren());
  on("time", (t) => { for (const plot of host.querySelectorAll(".fw-plot")) moveCursor(plot, t); });
  on("predicted", () => refresh());
  new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && refresh()).observe(root);
}

function fillSeries(table, rows) {
  const columns = Object.keys(rows[0] ?? {});
  const made = fill(table, columns, rows.map((row) => columns.map((name) => row[name])));
  made.forEach((element, index) => element.addEventListener("click", () => goTo(rows[index].step)));
}
