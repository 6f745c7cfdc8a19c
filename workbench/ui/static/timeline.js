// Slider, transport, "predict whole clip", and the plot over time with its table twin.
import { state, on, emit, report } from "./store.js";
import { goTo, move } from "./visit.js";
import { ask, askJson } from "./request.js";
import { fill, visible } from "./dom.js";
import { drawPlot, moveCursor, stepUnder } from "./plot.js";
import text from "./text.js";

export function mountTimeline(root) {
  mountTransport(root);
  mountWholeClip(root);
  mountPlot(root);
}

function mountTransport(root) {
  const slider = root.querySelector(".fw-slider");
  const clock = root.querySelector(".fw-clock");
  const play = root.querySelector(".fw-play");
  let playing = false;

  const setPlaying = (value) => {
    playing = value && Boolean(state.clip);
    play.textContent = playing ? text.pause : text.play;
    play.setAttribute("aria-pressed", String(playing));
    if (playing && state.t === state.clip.steps.at(-1)) goTo(state.clip.steps[0]);
    else if (playing) advance();
  };
  // The next frame is asked for when this one is on the screen: slow predictions slow the clip and skip nothing.
  let shownAt = 0;
  const advance = () => {
    const { steps, hz } = state.clip;
    const index = steps.indexOf(state.t);
    if (index + 1 >= steps.length) return setPlaying(false);
    const pause = (1000 * (steps[index + 1] - state.t)) / hz - (performance.now() - shownAt);
    return setTimeout(() => playing && goTo(steps[index + 1]), Math.max(pause, 0));
  };
  on("settled", (t) => {
    if (!playing || t !== state.t) return;
    advance();
    shownAt = performance.now();
  });

  slider.addEventListener("input", () => { setPlaying(false); goTo(state.clip?.steps[Number(slider.value)] ?? 0); });
  root.querySelector(".fw-previous").addEventListener("click", () => { setPlaying(false); move(-1); });
  root.querySelector(".fw-next").addEventListener("click", () => { setPlaying(false); move(1); });
  play.addEventListener("click", () => setPlaying(!playing));
  on("toggle-play", () => setPlaying(!playing), { fresh: true });
  on("halt", () => setPlaying(false), { fresh: true });
  on("clip", (clip) => { setPlaying(false); slider.max = clip.steps.length - 1; });
  on("time", (t) => {
    const { steps, length, hz } = state.clip;
    slider.value = steps.indexOf(t);
    const spoken = `t ${t} / ${length - 1}`;
    slider.setAttribute("aria-valuetext", spoken);
    clock.textContent = `${spoken} · ${(t / hz).toFixed(2)} s`;
  });
}

// Long work in small requests: progress and cancelling need nothing from the server but to notice that we left.
function mountWholeClip(root) {
  const start = root.querySelector(".fw-whole");
  const cancel = root.querySelector(".fw-cancel");
  const bar = root.querySelector(".fw-progress");
  const left = root.querySelector(".fw-left-time");
  let running = null;

  const stop = () => running?.abort();
  const setRunning = (value) => {
    running = value;
    start.hidden = Boolean(value);
    cancel.hidden = bar.hidden = !value;
    left.textContent = "";
  };
  start.addEventListener("click", async () => {
    const { clip } = state;
    if (!clip?.checkpoint) return;
    setRunning(new AbortController());
    const { signal } = running;
    const began = performance.now();
    try {
      for (const [index, t] of clip.steps.entries()) {
        await ask("predict", { episode: clip.episode.id, checkpoint: clip.checkpoint.id, t }, signal);
        emit("predicted", t);
        const done = (index + 1) / clip.steps.length;
        bar.value = done;
        const seconds = ((performance.now() - began) / 1000) * (1 / done - 1);
        left.textContent = `${index + 1} / ${clip.steps.length}, ${Math.ceil(seconds)} ${text.seconds_left}`;
      }
      report("clip", "");
    } catch (error) {
      if (error.name !== "AbortError") report("clip", error.message);
    }
    if (running?.signal === signal) setRunning(null);
  });
  cancel.addEventListener("click", stop);
  on("clip", () => { stop(); setRunning(null); });
}

function mountPlot(root) {
  const plot = root.querySelector(".fw-plot");
  const table = root.querySelector(".fw-series");
  const asTable = root.querySelector(".fw-as-table");
  const drawn = root.querySelector(".fw-drawn");
  const known = new Set();
  let timer = 0;

  const draw = async () => {
    const { clip } = state;
    if (!clip?.checkpoint || !visible(root)) return;
    const { figure, rows } = await askJson("timeline", { episode: clip.episode.id, checkpoint: clip.checkpoint.id, drawn: drawn.value });
    if (clip !== state.clip) return;
    plot.hidden = asTable.checked;
    table.hidden = !asTable.checked;
    if (asTable.checked) fillSeries(table.querySelector("table"), rows);
    else await drawPlot(plot, figure, { steps: clip.steps, empty: text.timeline_empty });
    moveCursor(plot, state.t);
  };
  const drawSoon = (delay) => {
    clearTimeout(timer);
    timer = setTimeout(() => draw().then(() => report("timeline", ""), (error) => report("timeline", error.message)), delay);
  };
  on("lists", ({ metrics }) => {
    const chosen = drawn.value;
    drawn.replaceChildren(new Option(text.skill_of_all, "skill"), ...metrics.map(({ name, label }) => new Option(label, name)));
    if (chosen) drawn.value = chosen;
  });
  on("clip", () => { known.clear(); plot.replaceChildren(); drawSoon(1500); });
  // A new point waits until the visitor rests, but a whole-clip run still shows its growth.
  let drawnAt = 0;
  on("predicted", (t) => {
    if (known.has(t)) return;
    known.add(t);
    const rested = performance.now() - drawnAt > 2500;
    if (rested) drawnAt = performance.now();
    drawSoon(rested ? 700 : 1500);
  });
  on("time", (t) => moveCursor(plot, t));
  drawn.addEventListener("change", () => drawSoon(0));
  asTable.addEventListener("change", () => drawSoon(0));
  plot.addEventListener("click", (event) => {
    const t = stepUnder(plot, event.clientX);
    if (t !== null) { emit("halt"); goTo(t); }
  });
}

function fillSeries(table, rows) {
  const columns = Object.keys(rows[0] ?? {});
  const made = fill(table, columns, rows.map((row) => columns.map((name) => row[name])));
  made.forEach((element, index) => element.addEventListener("click", () => goTo(rows[index].step)));
}
