// The visit begins when this script runs, before Gradio has placed anything: what was recorded is here by the time
// there is a panel to draw it in. Gradio then places the fragments, and each of them is brought to life, once.
import { mountAttention } from "./attention.js";
import { mountFieldOfView } from "./field_of_view.js";
import { start } from "./frames.js";
import { mountKeys } from "./keys.js";
import { mountPanels } from "./panels.js";
import { persistently } from "./request.js";
import { mountTables } from "./tables.js";
import { mountTimeline } from "./timeline.js";
import { mountTopbar } from "./topbar.js";
import { mountScene } from "./viewer.js";
import { openCheckpoint, openFromLink } from "./visit.js";

const mounted = new WeakSet();
const mounts = {
  topbar: (element) => { mountTopbar(element); mountKeys(); },
  foresight: (element, viewer) => { mountPanels(element); mountTimeline(element); mountTables(element); mountScene(element, viewer); mountFieldOfView(element); },
  browse: (element) => persistently(() => import("./browse.js")).then((tab) => tab.mountBrowse(element)),
  attention: mountAttention,
  proof: (element) => persistently(() => import("./proof.js")).then((tab) => tab.mountProof(element)),
  audit: (element) => persistently(() => import("./audit.js")).then((tab) => tab.mountAudit(element)),
};

start();
openFromLink();

export function mount(name, element, viewer) {
  if (mounted.has(element)) return;
  mounted.add(element);
  mounts[name](element, viewer);
}

export { openCheckpoint };
