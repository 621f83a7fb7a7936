"use strict";
// Asks the node it came from, every two seconds, and shows what it says.
(() => {
  const { number, seconds } = forms;
  const { html } = plots;
  const { put, notice } = parts;
  const PERIOD_MS = 2000, LONGEST_MS = 30000, PATIENCE_MS = 8000;
  const MINUTES = 15, QUESTIONS = 20, ROUNDS_BETWEEN = 2, GAP_MS = 45000;
  const byId = (id) => document.getElementById(id);

  const seen = { pools: null, pool: null, points: new Map(), changes: new Map(), answers: {}, nodes: [], questions: [], moreQuestions: false, refusal: null, node: null, version: null };
  const link = { timer: 0, round: 0, failures: 0, failedAt: 0, nextAt: 0, answeredAt: 0, reason: "", paused: false, fresh: true, polling: false, again: false, aside: false };
  let drawn = null, cursor = null;
  // In memory alone: another tab, or this one loaded anew, asks again.
  let key = "";

  // ---- polling -------------------------------------------------------------------------------
  class Refused extends Error {}

  async function get(path) {
    const headers = { Accept: "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
    const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) byId("login").hidden = false;
    const body = await answer.json();
    if (!answer.ok) throw Object.assign(new Refused(body.detail || `status ${answer.status}`), { body });
    return body;
  }
  async function send(path, body) {
    const headers = { Accept: "application/json", "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Refused((await answer.json()).detail || `status ${answer.status}`);
  }
  // One part of the page that cannot be had does not keep the others away.
  const settle = (path) => get(path).then((value) => ({ value }), (error) => ({ error }));

  async function poll() {
    if (link.polling) { link.again = true; return; }
    clearTimeout(link.timer);
    link.polling = true;
    try {
      const { pools } = await get("/v1/pools");
      await askForPool(pools);
      Object.assign(link, { failures: 0, answeredAt: Date.now(), round: link.round + 1 });
    } catch (error) {
      link.failedAt ||= Date.now();
      link.failures += 1;
      link.reason = error instanceof Refused ? error.message : "it does not answer";
    }
    link.polling = false;
    if (!link.failures) link.failedAt = 0;
    show();
    if (link.again) { link.again = false; return poll(); }
    schedule();
  }

  function schedule() {
    clearTimeout(link.timer);
    if (link.paused || document.hidden) return showStatus();
    const pause = link.failures ? Math.min(PERIOD_MS * 2 ** (link.failures - 1), LONGEST_MS) : PERIOD_MS;
    link.nextAt = Date.now() + pause;
    link.timer = setTimeout(poll, pause);
    showStatus();
  }

  async function askForPool(pools) {
    // What was missed cannot be filled up by the last minute.
    if (link.failures || Date.now() - link.answeredAt > GAP_MS) link.fresh = true;
    const pool = choose(pools);
    if (link.fresh || link.round % ROUNDS_BETWEEN === 0) askAside(pool);
    const history = pool == null ? null : await settle(parts.path(pool, "/history?minutes=" + (link.fresh ? MINUTES : 1)));
    if (wanted(pools) !== pool) { link.again = true; return; }
    seen.pools = pools;
    if (history) seen.answers.history = history;
    take(history);
  }

  // What changes less, or asks the store, which may be slow or away: the charts do not wait for it.
  async function askAside(pool) {
    if (link.aside) return;
    link.aside = true;
    const of = (rest) => parts.path(pool, rest), paths = { nodes: "/v1/nodes", ready: "/readyz", schedules: "/v1/schedules?limit=50", waiting: `/v1/tasks?state=waiting&limit=${QUESTIONS + 1}` };
    if (pool != null) Object.assign(paths, { agents: of("/agents"), decisions: of("/decisions?limit=30"), tasks: "/v1/tasks?limit=20&pool=" + encodeURIComponent(pool) });
    await Promise.all(Object.entries(paths).map(async ([name, path]) => {
      const answer = await settle(path);
      if (seen.pool === pool || ["nodes", "ready", "schedules", "waiting"].includes(name)) seen.answers[name] = answer;
    }));
    await askForQuestions();
    link.aside = false;
    takeNodes();
    show();
    if (seen.pool !== pool) askAside(seen.pool);
  }

  // A list has no questions, so each task that waits is read by itself.
  async function askForQuestions() {
    const page = seen.answers.waiting && seen.answers.waiting.value, tasks = page ? page.tasks : [];
    const read = await Promise.all(tasks.slice(0, QUESTIONS).map((task) => settle("/v1/tasks/" + task.id)));
    seen.questions = read.map((answer) => answer.value).filter((task) => task && task.state === "waiting");
    seen.moreQuestions = tasks.length > QUESTIONS;
  }
  async function answerQuestion(task, request, answer) {
    try {
      await send(`/v1/tasks/${task.id}:answer`, { request: request.id, answer });
      seen.questions = seen.questions.filter((known) => known.id !== task.id);
      seen.refusal = null;
    } catch (error) {
      seen.refusal = error instanceof Refused ? error.message : "no answer came";
    }
    show();
  }

  // ---- what is kept -------------------------------------------------------------------------
  function wanted(pools) {
    // Names of pools are plain, so one that is not well encoded is none.
    const named = (/^#pool=([\w.~%-]+)$/.exec(location.hash) || [])[1];
    const known = pools.find((pool) => encodeURIComponent(pool.name) === named) || pools[0];
    return known ? known.name : null;
  }
  function choose(pools) {
    const name = wanted(pools);
    if (name !== seen.pool) forget(name);
    return name;
  }
  function forget(pool) {
    seen.pool = pool;
    seen.points.clear();
    seen.changes.clear();
    for (const name of ["history", "agents", "decisions", "tasks"]) delete seen.answers[name];
    // Nothing of the pool before stands below the name of this one.
    for (const name of ["plots", "agents", "decisions", "tasks"]) byId(name).replaceChildren();
    drawn = null;
    link.fresh = true;
    cursor = null;
  }
  function take(answer) {
    if (!answer) return;
    if (!answer.value) { link.fresh = true; return; }
    const history = answer.value;
    if (link.fresh) { seen.points.clear(); seen.changes.clear(); }
    link.fresh = false;
    const from = Date.parse(history.at) - (MINUTES * 60 + history.slot_s) * 1000;
    for (const point of history.points) seen.points.set(point.at, point);
    for (const change of history.changes) seen.changes.set(change.seq, change);
    for (const [at] of seen.points) if (Date.parse(at) < from) seen.points.delete(at);
    for (const [seq, change] of seen.changes) if (Date.parse(change.at) < from) seen.changes.delete(seq);
  }
  function takeNodes() {
    const answer = seen.answers.nodes;
    if (!answer || !answer.value) return;
    seen.nodes = answer.value.nodes;
    const here = seen.nodes.find((node) => node.this), id = here ? here.id + here.started_at : null;
    // Another node, or the same one after a restart, has a memory of its own.
    const isOther = seen.node && id && seen.node !== id;
    seen.version ||= here && here.version;
    seen.node = id || seen.node;
    if (isOther) { forget(seen.pool); poll(); }
  }

  // ---- showing ------------------------------------------------------------------------------
  const now = () => {
    const history = seen.answers.history && seen.answers.history.value;
    return history ? Date.parse(history.at) + Math.max(0, link.failures ? 0 : Date.now() - link.answeredAt) : Date.now();
  };
  const problem = (what, answer) => answer && answer.error ? [notice("warn", `${what} cannot be shown just now: ${answer.error instanceof Refused ? answer.error.message : "no answer came"}`)] : [];

  // What cannot be drawn must not keep the page from looking again.
  function show() {
    try { render(); } catch (error) { reportError(error); }
  }
  function render() {
    byId("main").classList.toggle("stale", link.failures > 0);
    renderNode();
    if (!seen.pools) return;
    parts.pools(byId("pools"), seen.pools, seen.pool);
    const pool = seen.pools.find((pool) => pool.name === seen.pool);
    byId("pool").hidden = !pool;
    if (pool) renderPool(pool);
    renderQuestions();
    renderSchedules();
    byId("nodes-card").hidden = seen.nodes.length < 2;
    if (seen.nodes.length > 1) parts.nodes(byId("nodes"), seen.nodes);
  }

  function renderNode() {
    const { ready } = seen.answers, here = seen.nodes.find((node) => node.this);
    if (here) {
      const role = seen.nodes.length < 2 ? "the only node" : `one of ${seen.nodes.length} nodes; it ${here.leads ? "plans for all" : "follows"}`;
      byId("about").textContent = `${location.host} · version ${here.version} · ${role} · up ${seconds(Math.max(1, Math.round((now() - Date.parse(here.started_at)) / 1000)))}`;
    }
    const out = [];
    if (ready && ready.error instanceof Refused) out.push(notice("bad", `The node takes no new tasks: ${(ready.error.body.reasons || [ready.error.message]).join("; ")}`));
    if (here && seen.version !== here.version) out.push(notice("warn", `The node runs version ${here.version} now, this page is of ${seen.version}: load it again.`));
    if (seen.nodes.length > 1 && here && !here.leads) out.push(notice("", "This node follows: sizes are the leader's; charts show what this node has seen of all, waits and agents are its own, and decisions are those that it would make if it led."));
    put(byId("notices"), ...out);
  }

  function renderPool(pool) {
    const several = seen.nodes.length > 1, { history, agents, decisions, tasks } = seen.answers, at = now();
    put(byId("pool-title"), pool.name, " ", html("small", {}, html("a", { href: parts.path(pool.name), "data-key": "pool-json", "aria-label": "JSON of the pool" }, "JSON")));
    byId("pool-about").textContent = parts.about(pool);
    put(byId("pool-notices"), ...parts.notices(pool, at), ...problem("The charts", history), ...problem("The agents", agents), ...problem("The decisions", decisions), ...problem("The tasks", tasks));
    parts.tiles(byId("tiles"), pool, several);
    if (history && history.value) renderPlots(pool, history.value, several);
    if (decisions && decisions.value) parts.decisions(byId("decisions"), pool.name, decisions.value.decisions);
    if (agents && agents.value) parts.agents(byId("agents"), byId("agents-note"), agents.value.agents, at, several);
    if (tasks && tasks.value) parts.tasks(byId("tasks"), pool.name, tasks.value.tasks, at);
  }

  function renderQuestions() {
    byId("questions-card").hidden = !seen.questions.length;
    byId("questions-note").textContent = (seen.moreQuestions ? `the newest ${QUESTIONS} of more; ` : "") + "tasks that wait for an answer, in all pools";
    parts.questions(byId("questions"), seen.questions, now(), answerQuestion, seen.refusal);
  }

  function renderSchedules() {
    const answer = seen.answers.schedules, page = answer && answer.value;
    byId("schedules-card").hidden = !page || !page.schedules.length;
    if (page) parts.schedules(byId("schedules"), byId("schedules-note"), page, now());
  }

  function renderPlots(pool, history, several) {
    const points = [...seen.points.values()].sort((a, b) => a.at < b.at ? -1 : 1);
    const changes = [...seen.changes.values()].sort((a, b) => a.seq - b.seq);
    const since = history.since && Date.parse(history.since);
    const forecast = pool.decision && pool.decision.forecast;
    byId("plots-note").textContent = [`the last ${MINUTES} minutes, ${number(history.slot_s)} s a step`,
      forecast ? `shaded to the right: what is expected for the next ${seconds(forecast.horizon_s)}` : `the rule ${pool.policy} does not forecast`,
      several && "waits: of tasks that began on this node"].filter(Boolean).join("; ");
    drawn = plots.draw(byId("plots"), { points, changes, now: Date.parse(history.at), since, slotS: history.slot_s, minutes: MINUTES, pool, put });
    showCursor();
  }

  // ---- how the connection is ----------------------------------------------------------------
  function showStatus() {
    const words = byId("live"), left = Math.max(0, Math.ceil((link.nextAt - Date.now()) / 1000));
    const [text, kind] = link.paused ? ["paused; figures are as they were at " + (link.answeredAt ? parts.time(link.answeredAt) : "–"), ""]
      : link.failures ? [`no answer for ${seconds(Math.round((Date.now() - (link.answeredAt || link.failedAt)) / 1000) || 1)} (${link.reason}); ${link.polling ? "trying now" : `next try in ${left} s`}`, "off"]
      : link.answeredAt ? ["live, every 2 s", "on"] : ["connecting", ""];
    // A screen reader announces changes, not of each second.
    words.setAttribute("aria-live", link.failures > 1 ? "off" : "polite");
    if (words.textContent !== text) words.textContent = text;
    words.className = kind;
  }

  // ---- one cursor for all charts ------------------------------------------------------------
  const pair = (name, value) => html("div", {}, html("span", { class: "soft" }, name), html("span", {}, value));
  function moment(i) {
    const p = drawn.shown[i], w = p.wait_s, n = (v) => v == null ? "–" : number(v), at = Date.parse(p.at), end = at + drawn.slotS * 1000;
    const band = p.expected_per_s == null ? [] : [pair("expected/s", `${n(p.expected_per_s)} (${n(p.low_per_s)}–${n(p.high_per_s)})`)];
    const when = end > drawn.now + drawn.slotS * 1000 ? "expected" : parts.ago(p.at, drawn.now);
    const was = p.busy == null ? [] : [pair("arrived/s", n(p.rate_per_s)), pair("wanted", n(p.desired)), pair("busy, ready, starting", `${n(p.busy)}, ${n(p.ready)}, ${n(p.starting)}`),
      pair("waiting, at most", n(p.greatest_depth)), pair("began, late", `${n(p.started)}, ${n(p.late)}`), ...(w ? [pair("wait p50, p95, p99", [w.p50, w.p95, w.p99].map(seconds).join(", "))] : [])];
    const changes = drawn.changes.filter((c) => Date.parse(c.at) >= at && Date.parse(c.at) < end);
    return [html("b", {}, `${parts.time(p.at)} · ${when}`), ...was, ...band, ...changes.slice(-3).map((c) => html("p", {}, `${c.before} → ${c.desired}: ${parts.words(parts.reasons, c.reason)}. ${c.detail}`))];
  }
  function showCursor() {
    const tip = byId("tip"), lines = byId("plots").querySelectorAll(".cursor");
    const i = cursor && drawn ? drawn.shown.findIndex((p) => p.at === cursor.at) : -1;
    tip.hidden = i < 0;
    for (const line of lines) {
      line.setAttribute("visibility", i < 0 ? "hidden" : "visible");
      if (i >= 0) for (const end of ["x1", "x2"]) line.setAttribute(end, drawn.scale.x(drawn.data.t[i]));
    }
    if (i < 0) return;
    tip.replaceChildren(...moment(i));
    const box = cursor.chart && byId("plots").querySelector(`[data-key="${cursor.chart}"]`)?.getBoundingClientRect();
    const [x, y] = cursor.chart && box ? [box.left + drawn.scale.x(drawn.data.t[i]) * box.width / drawn.scale.width, box.top] : [cursor.x, cursor.y];
    const { offsetWidth: w, offsetHeight: h } = tip;
    tip.style.left = Math.max(8, x + 16 + w > innerWidth ? x - w - 16 : x + 16) + "px";
    tip.style.top = Math.max(8, Math.min(y + 16, innerHeight - h - 8)) + "px";
  }
  function nearest(px) {
    const off = (i) => Math.abs(drawn.scale.x(drawn.data.t[i]) - px);
    return drawn.data.t.reduce((best, _, i) => best < 0 || off(i) < off(best) ? i : best, -1);
  }
  function onPointer(event) {
    const chart = event.target.closest("svg[data-key]");
    if (!chart || !drawn || !drawn.shown.length) { cursor = null; return showCursor(); }
    const box = chart.getBoundingClientRect(), px = (event.clientX - box.left) * drawn.scale.width / box.width;
    const i = px < plots.LEFT - 8 ? -1 : nearest(px);
    cursor = i < 0 ? null : { at: drawn.shown[i].at, x: event.clientX, y: event.clientY };
    showCursor();
  }
  function onKey(event) {
    const chart = event.target.closest("svg[data-key]"), step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12, Home: -1e9, End: 1e9 }[event.key];
    if (event.key === "Escape") { cursor = null; return showCursor(); }
    if (!chart || step == null || !drawn || !drawn.shown.length) return;
    event.preventDefault();
    const known = cursor ? drawn.shown.findIndex((p) => p.at === cursor.at) : -1;
    const from = known >= 0 ? known : nearest(drawn.scale.x(0)) + (step < 0 ? 1 : -1);
    const i = Math.max(0, Math.min(drawn.shown.length - 1, from + step));
    cursor = { at: drawn.shown[i].at, chart: chart.dataset.key };
    showCursor();
  }

  // ---- the page -----------------------------------------------------------------------------
  const box = byId("plots");
  box.addEventListener("pointermove", onPointer);
  box.addEventListener("pointerdown", onPointer);
  box.addEventListener("pointerleave", () => { cursor = null; showCursor(); });
  box.addEventListener("keydown", onKey);
  // A chart that is drawn anew loses the focus and has it back at once.
  box.addEventListener("focusout", () => setTimeout(() => {
    if (cursor && cursor.chart && !box.contains(document.activeElement)) { cursor = null; showCursor(); }
  }));
  addEventListener("hashchange", () => { link.failures = 0; poll(); });
  addEventListener("resize", show);
  document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(link.timer); else if (!link.paused) poll(); });
  byId("pause").addEventListener("click", () => {
    link.paused = !link.paused;
    byId("pause").setAttribute("aria-pressed", String(link.paused));
    byId("pause").textContent = link.paused ? "Continue" : "Pause this page";
    if (link.paused) { clearTimeout(link.timer); showStatus(); } else poll();
  });
  byId("login").addEventListener("submit", (event) => {
    event.preventDefault();
    key = byId("key").value.trim();
    byId("key").value = "";
    byId("login").hidden = true;
    link.failures = 0;
    poll();
  });
  setInterval(showStatus, 1000);
  document.title = `Forerunner · ${location.host}`;
  poll();
})();
