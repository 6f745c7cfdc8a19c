// From a wanted time to a drawn frame: the newest wish wins, what was seen is kept, neighbours are fetched when idle.
import { state, on, emit, key, report } from "./store.js";
import { askJson } from "./request.js";
import text from "./text.js";

const KEPT = 160;
const kept = new Map(); // key -> payload with its decoded sheet, least recently used first
let wanted = null;
let busy = false;
let ahead = null; // AbortController of the neighbour being fetched
let direction = 1;
let painted = null; // resolves with the first frame on the screen

export function start() {
  let previous = 0;
  painted = new Promise((resolve) => on("painted", resolve));
  on("clip", () => { kept.clear(); });
  on("time", (t) => {
    direction = t < previous ? -1 : 1;
    previous = t;
    want(t);
  });
}

function want(t) {
  if (!state.clip) return;
  wanted = t;
  ahead?.abort();
  if (!busy) pump();
}

async function pump() {
  busy = true;
  while (wanted !== null) {
    const t = wanted;
    const clip = state.clip;
    wanted = null;
    try {
      if (!clip.checkpoint || !state.frame || state.frame.view !== state.view) await showRecorded(t);
      if (!clip.checkpoint) continue;
      await painted; // loading the policy would slow the server down while the page is still being built
      if (!kept.has(key(t))) emit("status", text.predicting);
      const frame = await load(t, clip.checkpoint.id);
      if (clip === state.clip) show(frame);
      emit("status", "");
      report("frame", "");
    } catch (error) {
      if (clip === state.clip) await showRecorded(t).catch(() => {});
      emit("status", "");
      report("frame", error.message);
    } finally {
      emit("settled", t); // as much of it as there will be is on the screen
    }
  }
  busy = false;
  prefetch();
}

// What was recorded needs no policy: it is on the screen while the policy is still loading.
async function showRecorded(t) {
  const clip = state.clip;
  const frame = await fetchFrame(t, null, undefined);
  if (clip === state.clip) show(frame);
  emit("status", clip.checkpoint ? text.predicting : text.recorded_only);
}

function show(frame) {
  state.frame = frame;
  emit("frame", frame);
  if (frame.origin !== "recorded") emit("predicted", frame.t);
}

async function load(t, checkpoint, signal = undefined) {
  const name = key(t);
  const frame = kept.get(name) ?? (await fetchFrame(t, checkpoint, signal));
  kept.delete(name);
  kept.set(name, frame);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return frame;
}

async function fetchFrame(t, checkpoint, signal) {
  const view = state.view;
  const frame = await askJson("frame", { episode: state.clip.episode.id, t, view, checkpoint }, signal);
  frame.view = view;
  if (frame.sheet) {
    const bytes = Uint8Array.from(atob(frame.sheet.slice(frame.sheet.indexOf(",") + 1)), (c) => c.charCodeAt(0));
    frame.bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    frame.sheet = null;
  }
  return frame;
}

async function prefetch() {
  const clip = state.clip;
  if (!clip?.checkpoint) return;
  const at = clip.steps.indexOf(state.t);
  const view = state.view;
  ahead = new AbortController();
  const { signal } = ahead;
  for (const offset of [direction, 2 * direction, -direction]) {
    const t = clip.steps[at + offset];
    if (t === undefined || kept.has(key(t))) continue;
    try {
      const frame = await load(t, clip.checkpoint.id, signal);
      if (signal.aborted || busy || clip !== state.clip || view !== state.view) return;
      emit("predicted", frame.t);
    } catch {
      return; // it will be asked for again, and reported, when somebody wants to see it
    }
  }
}
