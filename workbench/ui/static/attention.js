// The Attention tab: where the action looks, by the chosen method. Fast methods follow the time, slow ones wait for a click.
import { state, on, report } from "./store.js";
import { askJson } from "./request.js";
import { visible } from "./dom.js";
import { drawAnswer } from "./attention_answer.js";
import { mountChoice } from "./attention_choice.js";
import { mountAttentionTime } from "./attention_time.js";
import text from "./text.js";

const POLL = 400; // ms between two looks at the progress of a slow method
const REST = 120; // ms

export function mountAttention(root) {
  const find = (name) => root.querySelector(`.fw-${name}`);
  const choice = mountChoice(root);
  const answer = answerOf(root, find, choice);
  const slow = slowMethod(find, choice, answer.draw);
  let timer = 0;
  const refresh = () => {
    clearTimeout(timer);
    timer = setTimeout(() => answer.draw().then(() => report("attention", ""), (error) => report("attention", error.message)), REST);
  };

  find("run").addEventListener("click", slow.compute);
  find("cancel").addEventListener("click", slow.cancel);
  on("question", () => { slow.cancel(); refresh(); });
  on("clip", (clip) => {
    slow.cancel();
    answer.forget();
    find("no-policy").hidden = Boolean(clip.checkpoint); // it stands for the rest of the tab
  });
  on("time", slow.cancel);
  on("frame", (frame) => { if (frame.origin !== "recorded") refresh(); });
  new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && refresh()).observe(root);
  mountAttentionTime(root);
}

const asked = (choice) => ({ episode: state.clip.episode.id, checkpoint: state.clip.checkpoint.id, t: state.t, ...choice.question() });

// The answer on the page; one that comes when the visitor has gone on is dropped.
function answerOf(root, find, choice) {
  let shown = "";
  const wished = () => ({ ...asked(choice), age: choice.age() });
  const draw = async (run = false, signal = undefined) => {
    const { clip } = state;
    if (!clip?.checkpoint || !visible(root)) return;
    const query = wished();
    const wish = JSON.stringify(query);
    if (wish === shown && !run) return;
    const now = await askJson("attention", { ...query, run: run || null }, signal);
    if (clip !== state.clip || JSON.stringify(wished()) !== wish) return;
    choice.offer(now);
    await drawAnswer(root, now);
    find("run").hidden = !now.pending;
    find("status").textContent = now.pending ? text.slow_hint : "";
    shown = wish;
    Object.assign(find("attention").dataset, { t: query.t, method: query.method, pending: now.pending });
  };
  return { draw, forget: () => { shown = ""; } };
}

// One request computes; small ones beside it ask how far it is. Leaving it cancels it on the server.
function slowMethod(find, choice, draw) {
  let running = null; // AbortController
  const poll = async (mine, query) => {
    const { done, total } = await askJson("attention/progress", query).catch(() => ({ total: 0 }));
    if (running !== mine || !total) return;
    find("progress").value = done / total;
    find("status").textContent = `${done} / ${total} ${text.passes}`;
  };
  const compute = async () => {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    const query = asked(choice);
    find("run").hidden = true;
    find("progress").hidden = find("cancel").hidden = false;
    find("progress").value = 0;
    find("status").textContent = text.computing;
    const polling = setInterval(() => poll(mine, query), POLL);
    await draw(true, mine.signal).then(() => report("attention", ""), (error) => {
      if (error.name !== "AbortError") report("attention", error.message);
    });
    clearInterval(polling);
    if (running !== mine) return;
    running = null;
    const pending = find("attention").dataset.pending === "true";
    find("progress").hidden = find("cancel").hidden = true;
    find("run").hidden = !pending;
    find("status").textContent = pending ? text.slow_hint : "";
  };
  return { compute, cancel: () => running?.abort() };
}
