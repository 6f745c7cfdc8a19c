// A long list, fetched page by page as its rows are wanted. Answers to an older question are dropped.
const PAGE = 100;

export function pagesOf({ ask, arrived, failed }) {
  let pages = new Map(); // number -> rows, or null while they are asked for
  let round = 0;

  const fetchPage = async (number) => {
    if (pages.has(number)) return;
    const mine = round;
    pages.set(number, null);
    try {
      const answer = await ask(number * PAGE, PAGE);
      if (mine !== round) return;
      pages.set(number, answer.rows);
      list.found = answer.found;
      arrived(answer);
    } catch (error) {
      if (mine !== round) return;
      pages.delete(number);
      failed(error.message);
    }
  };

  const list = {
    found: 0,
    row: (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE],
    want: (first, last) => { for (let number = Math.floor(first / PAGE); number * PAGE < last; number += 1) fetchPage(number); },
    // Asks anew, first for the page of a row; the first page has the choices and the problems.
    reload: async (index) => {
      round += 1;
      pages = new Map();
      await fetchPage(Math.floor(index / PAGE));
      if (index >= PAGE) fetchPage(0);
    },
  };
  return list;
}
