// Where the action looks, by the chosen method: pictures of one frame, and every number as a table.
import { state, on, emit, report } from "./store.js";
import { askJson } from "./request.js";
import { fill, make, visible } from "./dom.js";
import { mountAttentionTime } from "./attention_time.js";
import text from "./text.js";

const POLL = 400; // ms between two looks at the progress of a slow method

export function mountAttention(root) {
  const find = (name) => root.querySelector(`.fw-${name}`);
  const choice = { method: find("method"), query: find("query"), target: find("target"), layer: find("layer"), head: find("head"), age: find("age") };
  const tab = find("attention");
  let shown = "";
  let timer = 0;
  let running = null; // AbortController of a slow method

  const method = () => state.lists.attention.methods.find(({ id }) => id === choice.method.value);
  const question = () => ({
    method: choice.method.value,
    query: choice.query.value,
    target: method().targeted ? choice.target.value : null,
    layer: method().selects ? choice.layer.value || null : null,
    head: method().selects ? choice.head.value || null : null,
  });
  const here = () => ({ episode: state.clip.episode.id, checkpoint: state.clip.checkpoint.id, t: state.t });

  const refresh = () => {
    clearTimeout(timer);
    timer = setTimeout(() => draw().then(() => report("attention", ""), (error) => report("attention", error.message)), 120);
  };
  const draw = async (run = false, signal = undefined) => {
    const { clip, t } = state;
    if (!clip?.checkpoint || !visible(root)) return;
    const asked = { ...here(), ...question(), age: choice.age.value };
    const wish = JSON.stringify(asked);
    if (wish === shown && !run) return;
    const now = await askJson("attention", { ...asked, run: run || null }, signal);
    if (clip !== state.clip || t !== state.t || JSON.stringify({ ...here(), ...question(), age: choice.age.value }) !== wish) return;
    offer(choice, now);
    await fillOverlays(find("overlays"), now);
    fillTables(root, now);
    find("what").replaceChildren(...now.what.map((line) => make("p", "fw-hint", line)));
    find("run").hidden = !now.pending;
    find("status").textContent = now.pending ? text.slow_hint : "";
    shown = wish;
    Object.assign(tab.dataset, { t, method: asked.method, pending: now.pending });
  };

  // One request computes; small ones beside it ask how far it is. Leaving it cancels it on the server.
  const compute = async () => {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    const [bar, asked] = [find("progress"), { ...here(), ...question() }];
    find("run").hidden = true;
    bar.hidden = find("cancel").hidden = false;
    bar.value = 0;
    find("status").textContent = text.computing;
    const poll = setInterval(async () => {
      const { done, total } = await askJson("attention/progress", asked).catch(() => ({ total: 0 }));
      if (running !== mine || !total) return;
      bar.value = done / total;
      find("status").textContent = `${done} / ${total} ${text.passes}`;
    }, POLL);
    try {
      await draw(true, mine.signal);
      report("attention", "");
    } catch (error) {
      if (error.name !== "AbortError") report("attention", error.message);
    }
    clearInterval(poll);
    if (running !== mine) return;
    running = null;
    bar.hidden = find("cancel").hidden = true;
    find("run").hidden = tab.dataset.pending !== "true";
    find("status").textContent = tab.dataset.pending === "true" ? text.slow_hint : "";
  };

  const changed = () => {
    running?.abort();
    const { selects, targeted, queries } = method();
    const kept = choice.query.value;
    choice.query.replaceChildren(...queries.map((name) => new Option(text.queries[name], name)));
    if (queries.includes(kept)) choice.query.value = kept;
    choice.query.parentElement.hidden = queries.length < 2;
    choice.target.parentElement.hidden = !targeted;
    choice.layer.parentElement.hidden = choice.head.parentElement.hidden = !selects;
    state.question = question();
    emit("question", state.question);
    refresh();
  };

  on("lists", ({ attention }) => {
    if (choice.method.options.length) return;
    choice.method.replaceChildren(...attention.methods.map(({ id, title }) => new Option(title, id)));
    choice.target.replaceChildren(...attention.targets.map(({ id, title }) => new Option(title, id)));
    for (const select of [choice.layer, choice.head]) select.replaceChildren(new Option(text.all, ""));
    choice.age.replaceChildren(new Option(text.newest, "0"));
    changed();
  });
  for (const select of Object.values(choice)) select.addEventListener("change", changed);
  find("run").addEventListener("click", compute);
  find("cancel").addEventListener("click", () => running?.abort());
  on("clip", () => { running?.abort(); shown = ""; });
  on("time", () => running?.abort());
  on("frame", (frame) => { if (frame.origin !== "recorded") refresh(); });
  new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && refresh()).observe(root);
  mountAttentionTime(root);
}

// Layers, heads, frames and queries there are, as this policy and this time have them.
function offer(choice, { layers, heads, frames, queries, t }) {
  for (const [select, count] of [[choice.layer, layers], [choice.head, heads]]) {
    if (select.options.length === count + 1) continue;
    select.replaceChildren(new Option(text.all, ""), ...Array.from({ length: count }, (_, index) => new Option(index + 1, index)));
  }
  const kept = choice.age.value;
  choice.age.replaceChildren(...frames.map(({ age, t: step }) => new Option(age ? `t ${step} (${step - t})` : `t ${step} (${text.newest})`, age)));
  choice.age.value = frames.some(({ age }) => String(age) === kept) ? kept : "0";
  for (const option of choice.query.options) option.disabled = !queries.includes(option.value);
}

async function fillOverlays(host, { overlays = [] }) {
  const figures = await Promise.all(
    overlays.map(async ({ path, view, t, mass, bar, sheet, size }) => {
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
    }),
  );
  host.replaceChildren(...figures);
}

function fillTables(root, { elsewhere = [], facts = [], groups = [], heads_table: heads }) {
  for (const [name, columns, rows] of [["elsewhere", text.columns_elsewhere, elsewhere], ["facts", text.columns_facts, facts]]) {
    const table = root.querySelector(`.fw-${name}`);
    table.hidden = !rows.length; // a slow method that was not computed yet has no answer, and no heading of one
    fill(table, columns, rows);
  }
  const weighed = root.querySelector(".fw-groups");
  weighed.hidden = weighed.parentElement.previousElementSibling.hidden = !groups.length;
  fill(weighed, text.columns_groups, groups);
  fill(root.querySelector(".fw-heads"), text.columns_attention, heads);
}
