// What is asked of the attention: method, query, target, layer, head and frame. Each change is emitted as "question".
import { state, on, emit } from "./store.js";
import text from "./text.js";

export function mountChoice(root) {
  const names = ["method", "query", "target", "layer", "head", "age"];
  const choice = Object.fromEntries(names.map((name) => [name, root.querySelector(`.fw-${name}`)]));
  const method = () => state.lists.attention.methods.find(({ id }) => id === choice.method.value);
  const question = () => ({
    method: choice.method.value,
    query: choice.query.value,
    target: method().targeted ? choice.target.value : null,
    layer: method().selects ? choice.layer.value || null : null,
    head: method().selects ? choice.head.value || null : null,
  });
  const changed = () => {
    suit(choice, method());
    state.question = question();
    emit("question", state.question);
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
  return { question, age: () => choice.age.value, offer: (now) => offer(choice, now) };
}

// Shows the lists that count for a method, with the queries it can be asked of.
function suit(choice, { selects, targeted, queries }) {
  const kept = choice.query.value;
  choice.query.replaceChildren(...queries.map((name) => new Option(text.queries[name], name)));
  if (queries.includes(kept)) choice.query.value = kept;
  choice.query.parentElement.hidden = queries.length < 2;
  choice.target.parentElement.hidden = !targeted;
  choice.layer.parentElement.hidden = choice.head.parentElement.hidden = !selects;
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
