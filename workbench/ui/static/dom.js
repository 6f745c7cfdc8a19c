// Small helpers to build elements. Text is always set as text, never as markup.
export function make(tag, className = "", content = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== "") element.textContent = content;
  return element;
}

export function rowOf(cells, tag = "td") {
  const row = make("tr");
  for (const cell of cells) row.append(make(tag, "", cell ?? "–"));
  return row;
}

// Fills a table with a header and rows of plain cells; returns the row elements.
export function fill(table, columns, rows) {
  const head = make("thead");
  head.append(rowOf(columns, "th"));
  const body = make("tbody");
  const made = rows.map((cells) => rowOf(cells));
  body.append(...made);
  table.replaceChildren(head, body);
  return made;
}

export const visible = (element) => element.isConnected && element.offsetParent !== null;

// A long name is cut in its box: the list's tooltip has all of it.
export function nameInFull(select) {
  select.onchange = () => { select.title = select.selectedOptions[0]?.label ?? ""; };
  select.onchange();
}
