// A run on the server, one a window, under a name that is kept here and nowhere else: asked after until it ends.
import { address, askJson, sendJson } from "./request.js";

const GOING = ["waiting", "running"];

export function oneRun(path, periodMs) {
  let run = null;
  let turn = 0; // how often one was begun: of two that begin at once only the last goes on

  // Ends the run before, starts one by `begin` (which gives its name) and tells each of its states. The last state with
  // the run's name, or null where another run has taken its place.
  const follow = async (begin, told) => {
    const before = run;
    run = null;
    if (before) await sendJson("DELETE", `${path}/${before}`);
    const begun = ++turn;
    const mine = await begin();
    if (begun !== turn) {
      await sendJson("DELETE", `${path}/${mine}`);
      return null;
    }
    run = mine;
    try {
      for (;;) {
        const now = await askJson(`${path}/${mine}`);
        if (run !== mine) return null;
        told(now);
        if (!GOING.includes(now.state)) return { ...now, name: mine };
        await new Promise((resolve) => setTimeout(resolve, periodMs));
        if (run !== mine) return null;
      }
    } catch (error) {
      if (run !== mine) return null;
      throw error;
    } finally {
      if (run === mine) run = null;
    }
  };

  return {
    follow,
    underWay: () => run !== null,
    cancel: async () => run && sendJson("DELETE", `${path}/${run}`),
    leave: () => run && fetch(address(`${path}/${run}`, {}), { method: "DELETE", keepalive: true }), // the page goes
  };
}
