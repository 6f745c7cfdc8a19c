// The pictures of the chosen episode: one of each camera and kind, all of one time, depth with its colour bar.
import { make } from "./dom.js";
import { ask } from "./request.js";
import text from "./text.js";

export function shotOf({ camera, source, kind, size, policy }) {
  const frame = make("figure", "fw-shot");
  const picture = make("img");
  picture.alt = `${camera} ${kind}`;
  picture.width = size[1];
  picture.height = size[0];
  const role = policy ? "" : ` (${text.browse_not_fed})`;
  const named = source === camera ? "" : ` · ${source}`; // what the source calls it
  frame.append(picture, make("figcaption", "", `${camera} ${kind}${role}${named} · ${size[1]} × ${size[0]}`));
  Object.assign(frame.dataset, { camera, kind });
  return frame;
}

export function addBars(pictures, { bars }) {
  for (const frame of pictures.children) {
    if (frame.dataset.kind !== "depth") continue;
    const host = make("div", "fw-bars");
    host.innerHTML = bars[frame.dataset.camera] ?? ""; // made and escaped by the server
    frame.append(host);
  }
}

// The newest time wins; while one picture is on its way no second one is asked for.
export async function paint(frame, episode, t, say) {
  frame.wanted = { episode, t };
  if (frame.busy) return;
  frame.busy = true;
  while (frame.wanted) {
    const { wanted } = frame;
    frame.wanted = null;
    const { camera, kind } = frame.dataset;
    try {
      const response = await ask("browse/picture", { ...wanted, camera, kind });
      const bitmap = URL.createObjectURL(await response.blob());
      const picture = frame.querySelector("img");
      picture.onload = () => URL.revokeObjectURL(bitmap);
      picture.src = bitmap;
      frame.dataset.t = wanted.t;
      delete frame.dataset.failed;
    } catch (error) {
      frame.dataset.failed = "";
      if (frame.isConnected) say(error.message);
    }
  }
  frame.busy = false;
}
