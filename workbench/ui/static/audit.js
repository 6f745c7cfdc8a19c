// The Audit tab: examine the episode that is open, show what was found, set for its source what repairs it, undo that.
// The server ends a run that nobody asks after.
import { state, on } from "./store.js";
import { open } from "./visit.js";
import { ask, askJson, sendJson } from "./request.js";
import { make, nameInFull, visible } from "./dom.js";
import { drawAudit } from "./audit_cards.js";
import { oneRun } from "./one_run.js";
import text from "./text.js";

const PERIOD_MS = 500;
const words = text.audit;

export function mountAudit(root) {
  const at = (name) => root.querySelector(`.fw-${name}`);
  const say = (message) => { at("problem").textContent = message; at("problem").hidden = !message; };
  const run = oneRun("audit/runs", PERIOD_MS);

  // Changes what is set, then opens the clip anew and shows everything as it is now.
  const change = async (work) => {
    say("");
    const problem = await work().then(() => "", (error) => error.message);
    const { clip } = state;
    if (clip) await open({ checkpoint: clip.checkpoint?.id, episode: clip.episode.id, t: state.t });
    const stale = result.name && await result.show(result.name).then(() => "", (error) => error.message);
    if (stale) result.forget();
    await refresh();
    if (problem || stale) say(problem || stale);
  };
  const result = resultOf(root, at, change);
  const refresh = () => visible(root) && drawSettings(at, change).catch((error) => say(error.message));

  at("examine").addEventListener("click", () => examine(at, run, result, say));
  at("undo").addEventListener("click", () => change(() => post("audit/undo", { episode: state.clip.episode.id })));
  at("cancel").addEventListener("click", () => run.cancel().catch((error) => say(error.message)));
  addEventListener("pagehide", run.leave);
  on("clip", (clip) => {
    if (clip.episode.id !== result.patient) {
      result.forget();
      at("none").hidden = run.underWay();
    }
    refresh();
  });
  let seen = false;
  new IntersectionObserver((entries) => {
    const now = entries.at(-1).isIntersecting;
    if (now && !seen) refresh();
    seen = now;
  }).observe(root);
}

const post = (path, query) => ask(path, query, undefined, { method: "POST" });

// The result on the page: the run it is of, and the episode that was examined.
function resultOf(root, at, change) {
  const result = { name: null, patient: null };
  result.show = async (name) => {
    result.name = name;
    const audit = await askJson(`audit/runs/${name}/result`);
    drawAudit(root, name, audit, (indices) => change(async () => {
      for (const index of indices) await post(`audit/runs/${name}/apply/${index}`, { scope: at("scope").value });
    }));
    root.dataset.shown = name;
  };
  result.forget = () => {
    result.name = null;
    at("result").hidden = true;
    delete root.dataset.shown;
  };
  return result;
}

async function examine(at, run, result, say) {
  if (!state.clip) return;
  const episode = state.clip.episode.id;
  say("");
  const begin = async () => {
    const { run: name } = await (await post("audit/runs", { episode })).json();
    result.forget();
    result.patient = episode;
    at("progress").removeAttribute("value");
    at("what").textContent = words.waiting;
    at("running").hidden = false;
    at("none").hidden = true;
    return name;
  };
  const told = ({ state: stands, share, what, seconds }) => {
    if (stands === "running") at("progress").value = share;
    at("what").textContent = `${stands === "waiting" ? words.waiting : what} · ${Math.round(seconds)} s`;
  };
  try {
    const ended = await run.follow(begin, told);
    if (!ended) return;
    at("running").hidden = true;
    if (ended.state === "finished") return await result.show(ended.name);
    at("none").hidden = false;
    say(ended.state === "cancelled" ? words.cancelled : ended.message);
  } catch (error) {
    at("running").hidden = true;
    say(error.message);
  }
}

// What is set for the source of the open episode, and for others.
async function drawSettings(at, change) {
  const episode = state.clip?.episode.id;
  at("examine").disabled = !episode;
  if (episode) drawSource(at, await askJson("audit/source", { episode }));
  const { settings } = await askJson("audit/settings");
  drawOthers(at, settings, (id) => change(() => sendJson("DELETE", `audit/settings/${id}`)));
}

function drawSource(at, { title, problem, for: whom, steps, scopes }) {
  at("audited").textContent = title;
  at("nothing-set").hidden = Boolean(steps.length || problem);
  at("steps").replaceChildren(...steps.map(({ clauses, why }) => {
    const item = make("li", "", clauses.join(", "));
    for (const reason of why) item.append(make("p", "fw-hint", reason));
    return item;
  }));
  at("set-for").textContent = problem || (whom ? words.set_for.replace("{name}", whom) : "");
  at("set-for").hidden = !at("set-for").textContent;
  at("undo").hidden = !steps.length;
  const chosen = at("scope").value;
  at("scope").replaceChildren(...scopes.map(([value, label]) => new Option(label, value)));
  if (scopes.some(([value]) => value === chosen)) at("scope").value = chosen;
  nameInFull(at("scope"));
}

function drawOthers(at, settings, remove) {
  at("others-title").hidden = !settings.length;
  at("others").replaceChildren(...settings.map(({ id, for: whom, clauses }) => {
    const item = make("li", "");
    const button = make("button", "", words.remove);
    button.ariaLabel = `${words.remove} ${whom}`;
    button.addEventListener("click", () => remove(id));
    item.append(make("strong", "", whom), make("span", "", clauses.join(", ") || words.undone), button);
    return item;
  }));
}
