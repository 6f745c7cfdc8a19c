// The Rerun viewer: one recording at a time, one time with the page in both directions, clicks on tracks become rows.
import { state, on, emit } from "./store.js";
import { goTo } from "./visit.js";
import { address, ask, askJson, persistently } from "./request.js";
import text from "./text.js";

const TIMELINE = "step";
const REST = 120; // ms a time from the viewer must stand still before the page follows
const SETTLE_TRIES = 200;
const LATE = 3000; // ms after which a viewer that has not come to a time of ours stands where somebody else put it

export function mountScene(root, version) {
  const host = root.querySelector(".fw-viewer");
  const note = root.querySelector(".fw-wait");
  const scene = new Scene(host, note, version);
  keepFocus(host);
  // The panels come first: the viewer starts once a frame is on the screen.
  mountSceneAttention(root, scene);
  on("errors", (messages) => { if (messages.length && !state.clip) note.textContent = ""; }); // nothing is going to be loaded
  const legend = root.querySelector(".fw-scene-tracks");
  on("frame", ({ tracks }) => { legend.textContent = tracks?.in_3d ? (tracks.true ? text.scene_tracks : text.scene_tracks_predicted) : ""; });
  on("frame", (frame) => { scene.start().then(() => scene.show(frame)).catch(() => { host.hidden = true; note.textContent = text.viewer_failed; }); });
}

// The flow's start points coloured by where the action looks; what is asked is chosen on the Attention tab.
function mountSceneAttention(root, scene) {
  const box = root.querySelector(".fw-scene-attention");
  const legend = root.querySelector(".fw-legend3d .fw-bars");
  const colour = () => {
    legend.hidden = !box.checked;
    scene.colour(box.checked ? state.question : null);
  };
  on("lists", ({ attention }) => { legend.innerHTML = attention.points_bar; }); // made and escaped by the server
  on("question", () => box.checked && colour(), { fresh: true });
  box.addEventListener("change", colour);
}

class Scene {
  constructor(host, note, version) {
    Object.assign(this, { host, note, loading: note.textContent, version, viewer: null, starting: null });
    Object.assign(this, { clip: null, recording: null, channel: null, sent: new Set(), wanted: null, busy: false });
    Object.assign(this, { soughtAt: -Infinity, sought: null, arrived: false, timer: 0 });
    Object.assign(this, { question: null, coloured: "" });
  }

  // A viewer whose files did not come is started anew with the next frame; one that cannot run here is not.
  start() {
    this.starting ??= this.#start().catch((error) => {
      if (error instanceof TypeError) this.starting = null;
      this.host.replaceChildren();
      throw error;
    });
    return this.starting;
  }

  async #start() {
    const { WebViewer } = await persistently(() => import(`/viewer/${this.version}/viewer.js`));
    const viewer = new WebViewer();
    viewer._on_raw_event((raw) => this.#heard(JSON.parse(raw)));
    const theme = document.body.classList.contains("dark") ? "dark" : "light";
    await viewer.start(null, this.host, { width: "100%", height: "100%", hide_welcome_screen: true, notebook: true, allow_fullscreen: true, theme });
    for (const panel of ["top", "blueprint", "selection", "time"]) viewer.override_panel_state(panel, panel === "time" ? "collapsed" : "hidden");
    this.viewer = viewer;
    this.host.dataset.ready = "true";
    this.host.hidden = false;
  }

  show(frame) {
    this.wanted = { frame, clip: state.clip };
    if (!this.busy) this.#pump();
  }

  // Colours the start points by an answer of the Attention tab; null takes the colours away.
  colour(question) {
    this.question = question;
    if (state.frame) this.show(state.frame);
  }

  // The newest wish wins; a recording is swapped only between two wishes.
  async #pump() {
    this.busy = true;
    try {
      while (this.wanted) {
        const { frame, clip } = this.wanted;
        this.wanted = null;
        if (clip !== this.clip) await this.#open(clip);
        await this.#seek(frame.t);
        this.note.textContent = ""; // what was wrong at another time; what the policy foresees comes when it is computed
        if (frame.origin !== "recorded" && !this.wanted) {
          await this.#add(frame.t, clip);
          await this.#addColours(frame.t, clip);
        }
      }
    } catch (error) {
      this.note.textContent = error.message;
    }
    this.busy = false;
  }

  async #open(clip) {
    const query = { episode: clip.episode.id, checkpoint: clip.checkpoint?.id };
    this.note.textContent = this.loading;
    this.channel?.close();
    this.channel = null;
    this.clip = null; // what the viewer says from here on is about no clip of ours
    await this.viewer.close("all").catch(() => {});
    this.recording = JSON.stringify(await this.#load(query));
    this.channel = this.viewer.open_channel("foresight");
    this.sent = new Set();
    this.coloured = "";
    await this.#settle();
    this.note.textContent = "";
    this.clip = clip;
    this.host.dataset.episode = clip.episode.id;
  }

  // The ids of what was opened. The viewer does not say why it could not.
  async #load(query) {
    const open = async () => (await this.viewer.open(address("scene.rrd", query))).store_ids;
    const stores = await open();
    if (stores.length) return stores;
    await ask("scene.rrd", query); // throws what was wrong; else it was the connection
    return open();
  }

  async #add(t, clip) {
    if (this.sent.has(t)) return;
    const answer = await ask("scene/step.rrd", { episode: clip.episode.id, checkpoint: clip.checkpoint.id, t });
    // The server has begun this recording anew: so do we.
    if (!this.recording.includes(answer.headers.get("X-Recording"))) await this.#open(clip);
    this.channel.send_rrd(new Uint8Array(await answer.arrayBuffer()));
    this.sent.add(t);
    this.host.dataset.predicted = t;
  }

  async #addColours(t, clip) {
    const wish = this.question ? JSON.stringify([t, this.question]) : "";
    if (wish === this.coloured) return;
    const shown = this.question ? null : false;
    const query = { episode: clip.episode.id, checkpoint: clip.checkpoint.id, t, shown, ...this.question };
    const answer = await ask("scene/attention.rrd", query);
    this.channel.send_rrd(new Uint8Array(await answer.arrayBuffer()));
    this.coloured = wish;
    this.host.dataset.attention = this.question ? t : "";
  }

  async #seek(t) {
    Object.assign(this, { sought: t, arrived: false });
    await this.viewer.set_time({ timeline: TIMELINE, sequence: t, play_state: "paused" });
    this.soughtAt = performance.now();
    this.host.dataset.t = t;
    this.#followSoon(); // a viewer that stood there already says nothing
  }

  // A recording that is still loading has no timeline yet, and starts at a time of its own.
  async #settle() {
    for (let tries = 0; tries < SETTLE_TRIES; tries++) {
      const done = await this.#seek(state.t).then(() => true, () => false);
      if (done && (await this.#time()) === this.sought) return;
      await new Promise((resolve) => setTimeout(resolve, REST));
    }
  }

  async #time() {
    const { current_time: now } = (await this.viewer.get_state()).recordings.at(-1) ?? {};
    return now ? Math.floor(Number(now.time)) : null;
  }

  // Called by the viewer, which must not be called back from here.
  #heard(event) {
    if (event.type === "time_update") {
      this.#followSoon();
    } else if (event.type === "selection_change") {
      const picked = event.items.find((item) => item.type === "entity" && item.instance_id !== undefined && item.instance_id !== null);
      if (picked) this.#pick(picked);
    }
  }

  #followSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#follow(), REST);
  }

  // Where the viewer is on its way to a time of ours is nobody's wish; where it goes from there is.
  async #follow() {
    const t = this.busy ? null : await this.#time().catch(() => null);
    if (this.busy) this.#followSoon();
    else if (t === this.sought) this.arrived = true;
    else if (t === null || !state.clip || this.clip !== state.clip) return;
    else if (this.arrived || performance.now() - this.soughtAt > LATE) goTo(t);
    else this.#followSoon();
  }

  async #pick({ entity_path: entity, instance_id: instance }) {
    const clip = state.clip;
    if (!clip?.checkpoint) return;
    const query = { episode: clip.episode.id, checkpoint: clip.checkpoint.id, t: state.t, entity, instance };
    const picked = await askJson("pick", query).catch(() => null);
    if (picked?.row && clip === state.clip) emit("pick", picked);
  }
}

// The viewer takes the keyboard when it starts, even from somebody who is typing. It may have it once it is asked for.
function keepFocus(host) {
  const asked = new AbortController();
  const { signal } = asked;
  let tabbed = false; // the focus moves on before a timeout of no time
  document.addEventListener("focusin", ({ target, relatedTarget }) => {
    if (!host.contains(target)) return;
    if (tabbed) asked.abort();
    else if (relatedTarget) relatedTarget.focus();
    else target.blur();
  }, { signal });
  host.addEventListener("pointerdown", () => asked.abort(), { signal, capture: true });
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Tab") return;
    tabbed = true;
    setTimeout(() => { tabbed = false; });
  }, { signal, capture: true });
}
