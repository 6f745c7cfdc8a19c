// Every number of the chosen episode over time: a plot each, or its table twin.
import { fill, make } from "./dom.js";
import { drawPlot, moveCursor, stepUnder } from "./plot.js";
import text from "./text.js";

// `live` says whether they are still wanted; `goTo` shows a time; `time` is the one shown when a plot is there.
export async function drawFeatures(host, features, { steps, asTable, live, time, goTo }) {
  const blocks = features.map(({ name }) => {
    const block = make("div", "fw-feature");
    block.append(make("h4", "", name));
    return block;
  });
  host.replaceChildren(...(blocks.length ? blocks : [make("p", "fw-hint", text.browse_no_features)]));
  for (const [index, feature] of features.entries()) {
    if (!live()) return;
    if (asTable) blocks[index].append(tableOf(feature));
    else {
      const plot = plotHost(feature.name, goTo);
      blocks[index].append(plot);
      await drawPlot(plot, structuredClone(feature.figure), { steps, empty: text.browse_no_features, margin: { b: 20 } });
      moveCursor(plot, time());
    }
  }
}

function tableOf({ columns, rows }) {
  const scroll = make("div", "fw-scroll");
  const table = make("table", "fw-table");
  scroll.append(table);
  fill(table, columns, rows);
  return scroll;
}

function plotHost(name, goTo) {
  const host = make("div", "fw-plot");
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", `${name}, ${text.browse_over_time}`);
  host.addEventListener("click", (event) => {
    const t = stepUnder(host, event.clientX);
    if (t !== null) goTo(t);
  });
  return host;
}
