// An answer about attention on the page: pictures of one frame, and every number as a table.
import { fill, make } from "./dom.js";
import text from "./text.js";

export async function drawAnswer(root, answer) {
  const find = (name) => root.querySelector(`.fw-${name}`);
  await fillOverlays(find("overlays"), answer);
  for (const [name, columns, rows] of [
    ["elsewhere", text.columns_elsewhere, answer.elsewhere],
    ["facts", text.columns_facts, answer.facts],
  ]) {
    find(name).hidden = !rows?.length; // a slow method that was not computed yet has no answer, and no heading of one
    fill(find(name), columns, rows ?? []);
  }
  const groups = answer.groups ?? [];
  find("groups").hidden = find("groups").parentElement.previousElementSibling.hidden = !groups.length;
  fill(find("groups"), text.columns_groups, groups);
  fill(find("heads"), text.columns_attention, answer.heads_table);
  find("what").replaceChildren(...answer.what.map((line) => make("p", "fw-hint", line)));
}

async function fillOverlays(host, { overlays = [] }) {
  host.replaceChildren(...(await Promise.all(overlays.map(figureOf))));
}

async function figureOf({ path, view, t, mass, bar, sheet, size }) {
  const figure = make("figure", "fw-panel");
  const image = new Image(size[1], size[0]);
  image.src = sheet;
  image.alt = `${text[`path_${path}`]}, ${view}, t ${t}`;
  await image.decode();
  const scale = make("div", "fw-bars");
  scale.innerHTML = bar; // made and escaped by the server
  const picture = make("div", "fw-picture");
  picture.append(image);
  const caption = make("figcaption", "", `${view}, t ${t}, ${text[`path_${path}`]}: `);
  caption.append(make("strong", "", mass));
  figure.append(caption, picture, scale, make("p", "fw-hint", text[`path_${path}_long`]));
  return figure;
}
