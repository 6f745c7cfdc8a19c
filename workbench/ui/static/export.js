// Files to take home, made by the server from what is predicted; the browser saves them, an error is a line on the page.
import { state, report } from "./store.js";
import { ask } from "./request.js";
import text from "./text.js";

export function mountExport(root) {
  const menu = root.querySelector(".fw-export");
  const label = menu.querySelector("summary");
  const name = label.textContent;
  for (const [kind, title] of text.exports) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title;
    button.dataset.kind = kind;
    button.addEventListener("click", async () => {
      menu.open = false;
      label.textContent = text.exporting;
      await save(kind).then(() => report("export", ""), (error) => report("export", error.message));
      label.textContent = name;
    });
    menu.querySelector(".fw-menu").append(button);
  }
  menu.addEventListener("keydown", (event) => { if (event.key === "Escape") { menu.open = false; label.focus(); } });
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
}

async function save(kind) {
  const { clip, t, view } = state;
  if (!clip?.checkpoint) throw new Error(text.export_needs_policy);
  const query = { episode: clip.episode.id, checkpoint: clip.checkpoint.id, t, view };
  const answer = await ask(`export/${kind}`, query);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  const at = kind.endsWith(".ply") ? `-t${t}` : "";
  link.download = `${clip.episode.title}${at}-${kind}`.replaceAll(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
