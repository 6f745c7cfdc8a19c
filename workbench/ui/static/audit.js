// The Audit tab: examine the episode that is open, show what was found, set for its source what repairs it, undo that.
// The run's name is kept here and nowhere else; the server ends a run that nobody asks after.
import { state, on } from "./store.js";
import { open } from "./visit.js";
import { ask, askJson, sendJson } from "./request.js";
import { make, visible } from "./dom.js";
import { drawAudit } from "./audit_cards.js";
import text from "./text.js";

const PERIOD_MS = 500;
const words = text.audit;

export function mountAudit(root) {
  const at = (name) => root.querySelector(`.fw-${name}`);
  let run = null; // under way
  let shown = null; // whose result is on the page
  let patient = null; // id of the episode the result is of

  const say = (message) => { at("problem").textContent = message; at("problem").hidden = !message; };
  const post = (path, query) => ask(path, query, undefined, { method: "POST" });

  const examine = async () => {
    if (!state.clip) return;
    say("");
    try {
      if (run) await sendJson("DELETE", `audit/runs/${run}`);
      const episode = state.clip.episode.id;
      run = (await (await post("audit/runs", { episode })).json()).run;
      forget();
      patient = episode;
      at("progress").removeAttribute("value");
      at("what").textContent = words.waiting;
      at("running").hidden = false;
      at("none").hidden = true;
      await follow(run);
    } catch (error) {
      run = null;
      at("running").hidden = true;
      say(error.message);
    }
  };

  const follow = async (mine) => {
    while (run === mine) {
      const { state: stands, share, what, message, seconds } = await askJson(`audit/runs/${mine}`);
      if (run !== mine) return;
      if (stands === "running") at("progress").value = share;
      at("what").textContent = `${stands === "waiting" ? words.waiting : what} · ${Math.round(seconds)} s`;
      if (stands !== "waiting" && stands !== "running") {
        run = null;
        at("running").hidden = true;
        if (stands === "finished") await show(mine);
        else { at("none").hidden = false; say(stands === "cancelled" ? words.cancelled : message); }
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
    }
  };

  const show = async (name) => {
    shown = name;
    const audit = await askJson(`audit/runs/${name}/result`);
    drawAudit(root, name, audit, (indices) => change(async () => {
      for (const index of indices) await post(`audit/runs/${name}/apply/${index}`, { scope: at("scope").value });
    }));
    root.dataset.shown = name;
  };

  const forget = () => {
    shown = null;
    at("result").hidden = true;
    delete root.dataset.shown;
  };

  // Changes what is set, then opens the clip anew and shows everything as it is now.
  const change = async (work) => {
    say("");
    let problem = "";
    try {
      await work();
    } catch (error) {
      problem = error.message;
    }
    const { clip } = state;
    if (clip) await open({ checkpoint: clip.checkpoint?.id, episode: clip.episode.id, t: state.t });
    try {
      if (shown) await show(shown);
    } catch (error) {
      forget();
      problem ||= error.message;
    }
    await refresh();
    if (problem) say(problem);
  };

  // What is set for the source of the open episode, and for others.
  const refresh = async () => {
    if (!visible(root)) return;
    const episode = state.clip?.episode.id;
    at("examine").disabled = !episode;
    try {
      if (episode) drawSource(at, await askJson("audit/source", { episode }));
      const { settings } = await askJson("audit/settings");
      drawOthers(at, settings, (id) => change(() => sendJson("DELETE", `audit/settings/${id}`)));
    } catch (error) {
      say(error.message);
    }
  };

  at("examine").addEventListener("click", examine);
  at("undo").addEventListener("click", () => change(() => post("audit/undo", { episode: state.clip.episode.id })));
  at("cancel").addEventListener("click", () => run && sendJson("DELETE", `audit/runs/${run}`).catch((error) => say(error.message)));
  addEventListener("pagehide", () => run && fetch(`/api/audit/runs/${run}`, { method: "DELETE", keepalive: true }));
  on("clip", (clip) => {
    if (clip.episode.id !== patient) {
      forget();
      at("none").hidden = Boolean(run);
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
