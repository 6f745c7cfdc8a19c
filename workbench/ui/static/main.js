// Gradio places the fragments; this brings each of them to life, once.
import { mountAttention } from "./attention.js";
import { start } from "./frames.js";
import { mountKeys } from "./keys.js";
import { mountPanels } from "./panels.js";
import { mountTables } from "./tables.js";
import { mountTimeline } from "./timeline.js";
import { mountTopbar } from "./topbar.js";
import { mountScene } from "./viewer.js";
import { openCheckpoint } from "./visit.js";

const mounted = new WeakSet();
const mounts = {
  topbar: (element) => { start(); mountTopbar(element); mountKeys(); },
  foresight: (element, viewer) => { mountPanels(element); mountTimeline(element); mountTables(element); mountScene(element, viewer); },
  attention: mountAttention,
};

export function mount(name, element, viewer) {
  if (mounted.has(element)) return;
  mounted.add(element);
  mounts[name](element, viewer);
}

export { openCheckpoint };
