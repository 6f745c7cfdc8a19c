// Plotly, loaded when the first figure is drawn, in the page's colours; the cursor is a plain element that moves for free.
const PLOTLY = new URL("./plotly.js", import.meta.url).href;
const DASHES = { dot: "dotted", dash: "dashed", dashdot: "double" }; // as a border can say it
let loading = null;

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = PLOTLY;
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = () => reject(new Error("plotly"));
    document.head.append(script);
  });
  return loading;
}

export async function drawPlot(host, figure, { steps, empty = "", margin = {} }) {
  if (!figure.data.length || !figure.data.some((trace) => trace.x?.length)) {
    host.textContent = empty;
    return;
  }
  const Plotly = await plotly();
  if (!host.querySelector(".fw-canvas")) {
    const canvas = document.createElement("div");
    canvas.className = "fw-canvas";
    const cursor = document.createElement("div");
    cursor.className = "fw-cursor";
    host.replaceChildren(canvas, cursor);
    const legend = document.createElement("div");
    legend.className = "fw-legend";
    host.prepend(legend);
    new ResizeObserver(() => { if (canvas.clientHeight) Plotly.Plots.resize(canvas).then(() => place(host)); }).observe(host);
  }
  const layout = dressed(host, figure.layout, margin);
  layout.shapes = layout.shapes?.slice(1);
  for (const trace of figure.data) spread(trace, steps);
  fillLegend(host, figure.data.filter((trace) => trace.name && trace.type === "scatter" && trace.showlegend !== false));
  layout.showlegend = false;
  await withoutBase(() => Plotly.react(host.querySelector(".fw-canvas"), figure.data, layout, { displayModeBar: false, responsive: false }));
  place(host);
}

// Bars over categories: no time, no cursor.
export async function drawBars(host, figure, empty) {
  const Plotly = await plotly();
  if (!figure.data.some((trace) => trace.x?.length)) {
    Plotly.purge(host);
    host.textContent = empty;
    return;
  }
  if (!host.querySelector(".js-plotly-plot, .main-svg")) host.replaceChildren();
  const layout = dressed(host, figure.layout, { l: 8, t: 26, b: 44 });
  const ink = layout.font.color;
  for (const { error_x: interval, marker } of figure.data) {
    if (interval) interval.color = ink;
    if (marker.line) marker.line.color = marker.color = ink;
  }
  await withoutBase(() => Plotly.react(host, figure.data, layout, { displayModeBar: false, responsive: true }));
}

// Where the page has a <base>, Plotly names its clip paths by the whole address, and nothing is clipped any more once the
// address says another time. It looks for the <base> only when a figure is made.
function withoutBase(draw) {
  const base = document.querySelector("base[href]");
  const href = base?.getAttribute("href");
  base?.removeAttribute("href");
  try {
    return draw();
  } finally {
    base?.setAttribute("href", href);
  }
}

// A figure's layout in the page's colours.
function dressed(host, plain, margin) {
  const style = getComputedStyle(host);
  const [ink, grid, ground] = ["--body-text-color", "--border-color-primary", "--background-fill-primary"].map((name) => style.getPropertyValue(name).trim());
  const layout = structuredClone(plain);
  Object.assign(layout, { autosize: true, font: { color: ink, family: "system-ui, sans-serif", size: 11 } });
  layout.margin = { l: 52, r: 8, t: 6, b: 34, ...margin };
  layout.hoverlabel = { bgcolor: ground, font: { color: ink } };
  for (const name of Object.keys(layout)) if (/^[xy]axis/.test(name)) Object.assign(layout[name], { gridcolor: grid, zerolinecolor: grid, linecolor: grid });
  return layout;
}

// Gives every step of the clip a place: a time nobody has predicted yet is a gap, not a line or a wide cell.
function spread(trace, steps) {
  const at = new Map(trace.x.map((step, index) => [step, index]));
  const placed = (values) => steps.map((step) => (at.has(step) ? values[at.get(step)] : null));
  if (trace.type === "heatmap") trace.z = trace.z.map(placed);
  else Object.assign(trace, { y: placed(trace.y), mode: at.size < steps.length ? "lines+markers" : "lines", marker: { size: 4 } });
  trace.x = steps;
}

// Wraps where Plotly's own legend would eat the plot.
function fillLegend(host, traces) {
  const entries = traces.map((trace) => {
    const entry = document.createElement("span");
    entry.style.setProperty("--fw-series", trace.line?.color);
    entry.style.setProperty("--fw-dash", DASHES[trace.line?.dash] ?? "solid");
    entry.textContent = trace.name;
    return entry;
  });
  host.querySelector(".fw-legend").replaceChildren(...entries);
}

const axis = (host) => host.querySelector(".fw-canvas")?._fullLayout?.xaxis ?? null;

export function moveCursor(host, t) {
  host.dataset.cursor = t;
  place(host);
}

function place(host) {
  const [x, cursor] = [axis(host), host.querySelector(".fw-cursor")];
  if (!x || !cursor) return;
  const { t, h } = host.querySelector(".fw-canvas")._fullLayout._size;
  const above = host.querySelector(".fw-canvas").offsetTop;
  cursor.style.cssText = `left:${x._offset + x.d2p(Number(host.dataset.cursor))}px;top:${above + t}px;height:${h}px`;
}

// The control step under a place on the screen, null outside the plot.
export function stepUnder(host, clientX) {
  const x = axis(host);
  if (!x) return null;
  const pixel = clientX - host.getBoundingClientRect().left - x._offset;
  return pixel < 0 || pixel > x._length ? null : Math.round(x.p2d(pixel));
}
