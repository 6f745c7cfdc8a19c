// What an audit found: a card a finding with its evidence and its fix, then every question and how it was answered.
import { fill, make } from "./dom.js";
import { address } from "./request.js";
import text from "./text.js";

const words = text.audit;

// `apply` takes the indices of findings whose settings are to be set for the source.
export function drawAudit(root, run, audit, apply) {
  const at = (name) => root.querySelector(`.fw-${name}`);
  const open = audit.findings.map((finding, index) => (finding.setting && !finding.applied ? index : -1)).filter((index) => index >= 0);
  at("result").hidden = false;
  at("none").hidden = true;
  at("verdict").textContent = verdict(audit);
  at("verdict").classList.toggle("fw-good", audit.clean);
  at("apply-all").hidden = open.length < 2;
  at("apply-all").onclick = () => apply(open);
  at("cards").replaceChildren(...audit.findings.map((finding, index) => card(finding, index, run, apply)));
  at("checked-title").textContent = `${words.checked} (${audit.checked.length})`;
  fill(at("checked"), words.columns_checked, audit.checked);
  at("unchecked-title").textContent = `${words.unchecked} (${audit.not_checked.length})`;
  fill(at("unchecked"), words.columns_unchecked, audit.not_checked);
  at("unchecked").hidden = !audit.not_checked.length;
}

function verdict({ clean, faults, checked, not_checked: unchecked, seconds }) {
  const counts = words.counts.replace("{checked}", checked.length).replace("{unchecked}", unchecked.length);
  const found = clean ? words.clean : (faults === 1 ? words.one_fault : words.faults).replace("{n}", faults);
  return `${found} · ${counts} · ${seconds} s`;
}

function card(finding, index, run, apply) {
  const host = make("article", `fw-card fw-is-${finding.severity}`);
  host.classList.toggle("fw-applied", finding.applied);
  const head = make("header");
  const sure = make("span", "fw-sure", words.confidence.replace("{n}", Math.round(100 * finding.confidence)));
  head.append(make("span", "fw-severity", words.severities[finding.severity]), make("h4", "", finding.title), make("code", "", finding.where), sure);
  host.append(head, make("p", "", finding.detail));
  if (finding.evidence) host.append(evidence(finding, index, run));
  const fix = make("p", "fw-fix");
  fix.append(make("strong", "", words.fix), ` ${finding.fix}`);
  host.append(fix);
  if (finding.setting) host.append(offer(finding, index, apply));
  return host;
}

function evidence({ evidence: [height, width], title, caption }, index, run) {
  const figure = make("figure");
  const picture = make("img");
  Object.assign(picture, { src: address(`audit/runs/${run}/evidence/${index}.png`, {}), alt: caption || title, width, height, loading: "lazy" });
  figure.append(picture, make("figcaption", "", caption));
  return figure;
}

function offer({ setting, applied }, index, apply) {
  const row = make("div", "fw-row fw-offer");
  const button = make("button", applied ? "" : "fw-primary", applied ? words.applied : words.apply);
  button.disabled = applied;
  button.addEventListener("click", () => { button.disabled = true; apply([index]); });
  row.append(button, make("span", "fw-hint", setting.join(", ")));
  return row;
}
