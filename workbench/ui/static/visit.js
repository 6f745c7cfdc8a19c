// What a visitor does: open a clip, go to a time, change the camera. Everything that changes `state` stands here.
import { state, emit, report } from "./store.js";
import { askJson } from "./request.js";
import text from "./text.js";

const LISTING_MS = 1000;
let retry = 0;

export async function open(choice = {}) {
  clearTimeout(retry);
  try {
    const { clip, problem, ...lists } = await askJson("open", choice);
    state.lists = lists;
    emit("lists", lists);
    if (clip) show(clip);
    else if (lists.listing) retry = setTimeout(() => open(choice), LISTING_MS); // the first episode is still being found
    report("open", problem || (clip || lists.listing ? "" : text.no_episodes));
  } catch (error) {
    if (!state.lists && Object.keys(choice).length) await open(); // a broken link still opens the workbench
    if (choice.episode && (await maybeListedLater())) retry = setTimeout(() => open(choice), LISTING_MS);
    report("open", error.message);
  }
}

// Whether folders were still being listed when an episode was not found: then it may be found the next time.
async function maybeListedLater() {
  if (!state.lists?.listing) return false;
  state.lists.listing = await askJson("browse/rows", { limit: 1 }).then(({ listing }) => listing, () => null);
  return true;
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
