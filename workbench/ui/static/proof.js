// The Proof tab: start a proof, a comparison of masks or knock-outs, follow the run, draw what it found.
import { address, askJson, sendJson } from "./request.js";
import { fill, make, nameInFull, visible } from "./dom.js";
import { drawKnockouts } from "./knockouts.js";
import { oneRun } from "./one_run.js";
import { state } from "./store.js";
import text from "./text.js";

const PERIOD_MS = 700;

export function mountProof(root) {
  const at = (name) => root.querySelector(`.fw-${name}`);
  const say = (message) => { at("problem").textContent = message; at("problem").hidden = !message; };
  const run = oneRun("proof/runs", PERIOD_MS);

  const begin = async (wish) => {
    say("");
    try {
      const ended = await run.follow(() => start(at, wish), (now) => progress(at, now));
      if (!ended) return;
      at("running").hidden = true;
      if (ended.state === "finished") await show(root, at, ended.name);
      else say(ended.state === "cancelled" ? text.proof_cancelled : ended.message);
    } catch (error) {
      at("running").hidden = true;
      say(error.message);
    }
  };

  at("prove").addEventListener("click", () => begin({ kind: "prove", subject: at("subject").value, level: at("level").value, everything: at("everything").checked, spec: at("spec").value }));
  at("diff").addEventListener("click", () => begin({ kind: "diff", subject: at("subject").value, spec: at("spec").value, against: at("against").value }));
  at("knockout").addEventListener("click", () => begin({ kind: "knockout", subject: at("trained-subject").value, episode: at("on").value, other: at("other").value, against: at("trained").value }));
  at("cancel").addEventListener("click", () => run.cancel().catch((error) => say(error.message)));
  at("proved").addEventListener("click", (event) => choose(at("proved"), event));

  const refresh = () => visible(root) && askJson("proof/choices").then((choices) => offerChoices(at, choices), (error) => say(error.message));
  new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && refresh()).observe(root);
}

async function start(at, wish) {
  const { run } = await sendJson("POST", "proof/runs", wish);
  at("files").hidden = true;
  at("what").textContent = text.proof_starting;
  at("progress").removeAttribute("value");
  at("running").hidden = false;
  return run;
}

function progress(at, { done, total, what, seconds }) {
  if (total) at("progress").value = done / total;
  at("what").textContent = `${what || text.proof_starting} · ${Math.round(seconds)} s`;
}

async function show(root, at, name) {
  const result = await askJson(`proof/runs/${name}/result`);
  root.dataset.shown = result.kind;
  at("proved").hidden = result.kind === "knockout";
  at("knocked").hidden = result.kind !== "knockout";
  offerFiles(at, name, result.kind);
  if (result.kind === "prove") at("proved").innerHTML = result.markup; // made and escaped by the server
  if (result.kind === "diff") at("proved").replaceChildren(...differences(result));
  if (result.kind === "knockout") await drawKnockouts(at("knocked"), result);
}

function offerFiles(at, name, kind) {
  at("files").hidden = kind === "diff";
  at("html").hidden = kind !== "prove";
  at("json").href = address(`proof/runs/${name}/files/${kind === "prove" ? "proof" : "knockout"}.json`, {});
  at("html").href = address(`proof/runs/${name}/files/proof.html`, {});
  for (const link of [at("json"), at("html")]) link.download = "";
}

// Fills the lists and keeps what was chosen.
function offerChoices(at, { presets, checkpoints, episodes }) {
  const masks = [...presets.map((name) => [`preset:${name}`, `${text.preset} ${name}`]), ...checkpoints.map(({ id, name }) => [`checkpoint:${id}`, `${text.checkpoint} ${name}`])];
  const trained = masks.slice(presets.length);
  const open = state.clip?.episode; // of thousands of episodes the first are listed, and the one that is open
  const more = open && !episodes.some(({ id }) => id === open.id) ? [[open.id, open.title]] : [];
  const named = [...more, ...episodes.map(({ id, name }) => [id, name])];
  for (const [name, options, keep, start] of [["subject", masks, 0, trained[0]], ["against", masks, 0], ["trained-subject", trained, 0], ["trained", trained, 1], ["on", named, 0], ["other", named, 1]]) {
    const list = at(name);
    const chosen = list.dataset.filled ? list.value : start?.[0];
    list.replaceChildren(...[...list.options].slice(0, keep), ...options.map(([value, label]) => new Option(label, value)));
    list.dataset.filled = true;
    if (chosen && [...list.options].some(({ value }) => value === chosen)) list.value = chosen;
    nameInFull(list);
  }
  at("knockout").disabled = !trained.length || !named.length;
}

// A cell of the matrix shows its details; the address of the page stays what it is.
function choose(host, event) {
  const cell = event.target.closest("a.pf-cell");
  if (!cell) return;
  event.preventDefault();
  for (const other of host.querySelectorAll(".pf-shown")) other.classList.remove("pf-shown");
  for (const other of host.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  cell.setAttribute("aria-current", "true");
  const detail = host.querySelector(cell.getAttribute("href"));
  detail.classList.add("pf-shown");
  detail.scrollIntoView({ block: "nearest" });
}

function differences({ left, right, layouts, differences: cells }) {
  const title = make("h3", "", cells.length ? `${left} | ${right}: ${cells.length} ${text.proof_differ}` : `${left} | ${right}: ${text.proof_same}`);
  const sizes = make("p", "fw-hint", layouts.map(({ tokens, frames }) => `${tokens} tokens, ${frames} frames`).join(" | "));
  const table = make("table", "fw-table fw-diff-table");
  fill(table, text.columns_diff, cells.map((cell) => [cell.attender, cell.attended, cell.relation, cell.left, cell.right, cell.detail]));
  return cells.length ? [title, sizes, table] : [title, sizes];
}
