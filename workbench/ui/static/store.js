// One visitor: what is chosen, and who wants to know. Lives in this browser tab only; the address bar can restore it.
const listeners = new Map();
const last = new Map();

export const state = { lists: null, clip: null, view: "static", t: 0, frame: null, tracks: false, question: {} };

// Events: lists, clip, time, view, frame, painted, tracks, errors, status, predicted, pick, ring, question (what the Attention tab asks).
// A late listener starts with what is known, unless it wants `fresh` events only.
export function on(event, listener, { fresh = false } = {}) {
  if (!listeners.has(event)) listeners.set(event, new Set());
  listeners.get(event).add(listener);
  if (!fresh && last.has(event)) listener(last.get(event));
}

export function emit(event, value) {
  last.set(event, value);
  for (const listener of listeners.get(event) ?? []) listener(value);
}

// One line for people, by who found it; an empty message takes it back.
const errors = new Map();
export function report(source, message) {
  errors.delete(source);
  if (message) errors.set(source, message);
  emit("errors", [...errors.values()]);
}

export function key(t = state.t, view = state.view) {
  const { checkpoint, episode } = state.clip;
  return `${checkpoint?.id ?? ""}/${episode.id}/${view}/${t}`;
}
