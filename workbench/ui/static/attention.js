// Where the action query looks: over time, and at this time over the image, by layer, head and token group.
import { state, on, report } from "./store.js";
import { askJson } from "./request.js";
import { goTo } from "./visit.js";
import { fill, make, visible } from "./dom.js";
import { drawPlot, moveCursor, stepUnder } from "./plot.js";
import text from "./text.js";

export function mountAttention(root) {
  let shown = "";
  let timer = 0;
  const refresh = () => {
    clearTimeout(timer);
    timer = setTimeout(() => draw().then(() => report("attention", ""), (error) => report("attention", error.message)), 150);
  };

  const draw = async () => {
    const { clip, t } = state;
    if (!clip?.checkpoint || !visible(root)) return;
    const query = { episode: clip.episode.id, checkpoint: clip.checkpoint.id };
    const wish = `${query.checkpoint}/${query.episode}/${t}`;
    if (wish !== shown) {
      const now = await askJson("attention", { ...query, t });
      if (clip !== state.clip || t !== state.t) return;
      await fillOverlays(root.querySelector(".fw-overlays"), now);
      fillWeights(root, now);
      shown = wish;
      root.dataset.t = t;
    }
    const over = await askJson("timeline", { ...query, drawn: "attention" });
    if (clip !== state.clip) return;
    const options = { steps: clip.steps, empty: text.timeline_empty };
    await drawPlot(root.querySelector(".fw-lift"), over.figure, { ...options, margin: { l: 92 } });
    await drawPlot(root.querySelector(".fw-mass"), over.shares, { ...options, margin: { l: 92, r: 96 } });
    for (const plot of root.querySelectorAll(".fw-plot")) moveCursor(plot, state.t);
  };

  for (const plot of root.querySelectorAll(".fw-plot"))
    plot.addEventListener("click", (event) => {
      const t = stepUnder(plot, event.clientX);
      if (t !== null) goTo(t);
    });
  on("frame", (frame) => { if (frame.origin !== "recorded") refresh(); });
  new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && refresh()).observe(root);
}

async function fillOverlays(host, now) {
  const figures = await Promise.all(
    now.overlays.map(async ({ path, view, mass, bar, sheet, size }) => {
      const figure = make("figure", "fw-panel");
      const image = new Image(size[1], size[0]);
      image.src = sheet;
      image.alt = `${text[`path_${path}`]}, ${view}, t ${now.t}`;
      await image.decode();
      const scale = make("div", "fw-bars");
      scale.innerHTML = bar; // made and escaped by the server
      const picture = make("div", "fw-picture");
      picture.append(image);
      const caption = make("figcaption", "", `${view}, ${text[`path_${path}`]}`);
      const explained = make("p", "fw-hint", `${text[`path_${path}_long`]}. ${text[`mass_${path}`]}: ${mass} ${text.of_attention}.`);
      figure.append(caption, picture, explained, scale);
      return figure;
    }),
  );
  host.replaceChildren(...figures);
}

function fillWeights(root, { to_flow: layers, uniform, groups, to_group: shares }) {
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const rows = layers.flatMap((heads, layer) => heads.map((share, head) => [layer + 1, head + 1, percent(share), percent(uniform), `${(share / uniform).toFixed(2)} ×`]));
  fill(root.querySelector(".fw-heads"), text.columns_attention, rows);
  fill(root.querySelector(".fw-groups"), [text.layer, ...groups], shares.map((row, layer) => [layer + 1, ...row.map(percent)]));
}
