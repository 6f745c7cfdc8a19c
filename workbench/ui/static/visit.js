// What a visitor does: open a clip, go to a time, change the camera. Everything that changes `state` stands here.
import { state, emit, report } from "./store.js";
import { askJson } from "./request.js";

export async function open(choice = {}) {
  try {
    const { clip, problem, ...lists } = await askJson("open", choice);
    state.lists = lists;
    emit("lists", lists);
    if (clip) show(clip);
    report("open", problem);
  } catch (error) {
    if (!state.lists && Object.keys(choice).length) await open(); // a broken link still opens the workbench
    report("open", error.message);
  }
}

// Another policy at the same time of the same episode.
export function openCheckpoint(checkpoint) {
  return open(state.clip ? { checkpoint, episode: state.clip.episode.id, t: state.t } : { checkpoint });
}

function show(clip) {
  Object.assign(state, { clip, t: clip.t, frame: null });
  if (!clip.views.includes(state.view)) state.view = clip.views[0];
  emit("clip", clip);
  emit("view", state.view);
  emit("time", state.t);
  writeLink();
}

export function openFromLink() {
  const query = new URLSearchParams(location.search);
  const choice = ["checkpoint", "episode", "t"].map((name) => [name, query.get(name)]).filter(([, value]) => value !== null);
  return open(Object.fromEntries(choice));
}

// Any control step; the nearest one that has an image is taken.
export function goTo(t) {
  if (!state.clip) return;
  const nearest = nearestStep(t);
  if (nearest === state.t) return;
  state.t = nearest;
  emit("time", nearest);
  writeLink();
}

export function move(frames) {
  if (!state.clip) return;
  const { steps } = state.clip;
  const index = Math.min(Math.max(steps.indexOf(state.t) + frames, 0), steps.length - 1);
  goTo(steps[index]);
}

export function setView(view) {
  if (!state.clip?.views.includes(view) || view === state.view) return;
  state.view = view;
  emit("view", view);
  emit("time", state.t);
}

export function nearestStep(t) {
  return state.clip.steps.reduce((best, step) => (Math.abs(step - t) < Math.abs(best - t) ? step : best));
}

export function link() {
  const { checkpoint, episode } = state.clip;
  const query = new URLSearchParams(location.search);
  if (checkpoint) query.set("checkpoint", checkpoint.id);
  query.set("episode", episode.id);
  query.set("t", state.t);
  return `${location.pathname}?${query}`;
}

// Browsers allow some 100 changes of the address in 30 s, so a drag writes it once it rests.
let pending = 0;
function writeLink() {
  clearTimeout(pending);
  pending = setTimeout(() => history.replaceState(history.state, "", link()), 250);
}
