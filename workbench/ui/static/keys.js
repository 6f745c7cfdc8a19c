// The keyboard, wherever the focus is except where keys mean something else.
import { state, on, emit } from "./store.js";
import { move, setView } from "./visit.js";

export function mountKeys() {
  document.addEventListener("keydown", (event) => {
    if (!state.clip || event.ctrlKey || event.metaKey || event.altKey || takesKeys(event.target, event.key)) return;
    const frames = event.shiftKey ? 10 : 1;
    const actions = {
      ArrowLeft: () => step(-frames),
      ArrowRight: () => step(frames),
      Home: () => step(-Infinity),
      End: () => step(Infinity),
      " ": () => emit("toggle-play"),
      w: () => setView(state.view === "static" ? "wrist" : "static"),
      g: () => document.querySelector(".fw-tracks")?.click(),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    if (event.target.matches("canvas")) event.stopPropagation(); // or the viewer would step too
    action();
  }, { capture: true });
}

function step(frames) {
  emit("halt");
  move(frames);
}

function takesKeys(target, key) {
  if (target.matches("canvas")) return key.length === 1 && key !== " "; // the 3D view's eye moves by letters
  if (target.closest("[role=dialog], [role=tablist], .fw-browse, select, textarea")) return true;
  if (target.matches("input")) return target.type !== "range" && target.type !== "checkbox";
  return key === " " && target.closest("button, summary, a") !== null;
}
