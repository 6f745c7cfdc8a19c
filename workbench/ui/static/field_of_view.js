// An episode whose intrinsics nobody recorded: the page asks for the field of view, without which there is no 3D.
import { state, on } from "./store.js";
import { open } from "./visit.js";
import { ask } from "./request.js";
import text from "./text.js";

export function mountFieldOfView(root) {
  const host = root.querySelector(".fw-ask-fov");
  const form = host.querySelector("form");
  const input = host.querySelector("input");
  const say = (message) => { host.querySelector(".fw-fov-problem").textContent = message; };
  on("clip", ({ unknown_intrinsics: views }) => {
    host.hidden = !views.length;
    host.querySelector(".fw-fov-why").textContent = text.fov_why.replace("{views}", views.join(", "));
    say("");
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { clip } = state;
    try {
      await ask("audit/field-of-view", { episode: clip.episode.id, degrees: input.value }, undefined, { method: "POST" });
      await open({ checkpoint: clip.checkpoint?.id, episode: clip.episode.id, t: state.t });
    } catch (error) {
      say(error.message);
    }
  });
}
