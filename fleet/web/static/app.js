// SPDX-License-Identifier: Apache-2.0
// Views by the fragment of the address; each one is a function that returns an element.

import { chart, h, json, short, table, when } from "./dom.js";
import * as api from "./api.js";

const LIVE_MS = 2000;
const view = document.getElementById("view");
const problem = document.getElementById("problem");

const deviceLink = (name) => h("a", { href: `#/devices/${encodeURIComponent(name)}` }, name);
const stateOf = (d) => (d.state !== "active" ? d.state : d.online ? "online" : "offline");

async function overview() {
  const [devices, models, rollouts] = await Promise.all([api.get("/devices?limit=10000"), api.get("/models"), api.get("/rollouts")]);
  const busy = await updating(rollouts);
  const mark = (d) => (busy.has(d.device) ? "updating" : stateOf(d));
  const counts = Map.groupBy(devices, mark);
  const tile = (title, number, href) => h("a", { class: "tile", href }, h("b", {}, number.toLocaleString("en")), h("span", {}, title));
  const kinds = ["online", "updating", "offline", "registered", "revoked"];
  return h("section", {},
    h("h1", {}, "Overview"),
    h("div", { class: "tiles" },
      tile("devices", devices.length, "#/devices"),
      tile("online", devices.filter((d) => d.online).length, "#/devices"),
      tile("releases", models.length, "#/models"),
      tile("rollouts running", rollouts.filter((r) => r.state === "running").length, "#/rollouts")),
    h("h2", {}, "Devices by state"),
    h("div", { class: "legend" }, kinds.map((k) => h("span", {}, h("i", { class: k }), `${k} ${(counts.get(k) ?? []).length}`))),
    h("div", { class: "map", id: "map" }, devices.map((d) =>
      h("a", { class: `${mark(d)}${devices.length > 800 ? " many" : ""}`, href: `#/devices/${d.device}`, title: `${d.device}: ${mark(d)}`, "aria-label": `${d.device}: ${mark(d)}` }))),
    devices.length ? null : h("p", { class: "soft" }, "No devices yet: fleet device add NAME."));
}

async function updating(rollouts) {
  const open = ["offered", "downloading", "verifying", "self_testing", "trial"];
  const found = new Set();
  for (const r of rollouts.filter((x) => x.state === "running")) {
    for (const state of open.filter((s) => r.states[s])) {
      for (const a of await api.get(`/rollouts/${r.rollout}/devices?state=${state}&limit=10000`)) found.add(a.device);
    }
  }
  return found;
}

async function devices() {
  const wanted = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const where = wanted.getAll("where"), after = wanted.get("after") ?? "";
  const query = new URLSearchParams([...where.map((w) => ["where", w]), ["after", after], ["limit", "200"]]);
  const rows = await api.get(`/devices?${query}`);
  const form = h("form", { class: "row", onsubmit: (e) => {
      e.preventDefault();
      const terms = new FormData(e.target).get("where").split(/\s+/).filter(Boolean);
      location.hash = `#/devices?${new URLSearchParams(terms.map((t) => ["where", t]))}`;
    } },
    h("label", {}, "Conditions ", h("input", { name: "where", size: 40, value: where.join(" "), placeholder: "class=cortex-m4 online=true" })),
    h("button", {}, "Filter"));
  const more = rows.length === 200 ? h("a", { href: `#/devices?${new URLSearchParams([...where.map((w) => ["where", w]), ["after", rows.at(-1).device]])}` }, "Next page") : null;
  return h("section", {}, h("h1", {}, "Devices"), form, table([
    { title: "device", of: (d) => deviceLink(d.device) },
    { title: "state", of: (d) => stateOf(d) },
    { title: "class", of: (d) => d.class },
    { title: "firmware", of: (d) => d.firmware },
    { title: "model", of: (d) => short(d.model) },
    { title: "last seen", of: (d) => when(d.last_seen) },
  ], rows, "No device fulfils these conditions."), h("p", {}, more));
}

async function device(name) {
  const shown = await api.get(`/devices/${name}`);
  const [twin, reports, thing, history] = await Promise.all([
    api.get(`/devices/${name}/twin`),
    api.get(`/telemetry?device=${name}&limit=10`),
    api.thing(shown.tenant ?? "default", name).catch(() => null),
    api.named("provenance", { device: name }).catch(() => ({ columns: [], rows: [] })),
  ]);
  return h("section", {},
    h("h1", {}, name), h("p", { class: "soft" }, `${stateOf(shown)}, ${shown.class ?? "class unknown"}`),
    h("div", { class: "two" },
      h("div", {}, h("h2", {}, "Twin: desired"), json(twin.desired)),
      h("div", {}, h("h2", {}, "Twin: reported"), json(twin.reported))),
    h("h2", {}, "Deployments"), results(history),
    h("h2", {}, "Newest reports"), reports.length ? json(reports) : h("p", { class: "soft" }, "None yet."),
    h("h2", {}, "Registry"), json(shown),
    thing ? h("details", {}, h("summary", {}, "W3C Thing Description"), json(thing)) : null);
}

async function models() {
  const [rows, fits] = await Promise.all([api.get("/models"), api.sparql(`
    SELECT ?profile ?hardware ?ram ?flash (GROUP_CONCAT(?id; separator=" ") AS ?ids) WHERE {
      ?profile a tml:Profile ; schema:name ?hardware ; tml:ramBytes ?ram ; tml:flashBytes ?flash .
      OPTIONAL { ?profile tml:fits [ schema:identifier ?id ] }
    } GROUP BY ?profile ?hardware ?ram ?flash ORDER BY ?hardware ?ram`)]);
  const fitting = fits.rows.map((p) => ({ ...p, ids: new Set(p.ids.split(" ")) }));
  const kib = (bytes) => `${Math.round(bytes / 1024)} KiB`;
  return h("section", {}, h("h1", {}, "Models"),
    table([
      { title: "release", of: (m) => `${m.name}@${m.version}` },
      { title: "sequence", of: (m) => m.sequence },
      { title: "bytes", of: (m) => m.size },
      { title: "classes", of: (m) => (m.classes ?? []).join(", ") },
      { title: "SHA-256", of: (m) => short(m.digest) },
      { title: "published", of: (m) => `${when(m.created_at)} by ${m.created_by}` },
    ], rows, "No releases yet: fleet model publish FOLDER."),
    h("h2", {}, "Fit matrix"),
    h("p", { class: "soft" }, "Instruction set, flash, RAM and sensors of each profile of devices against each release."),
    fitting.length && rows.length ? table([
      { title: "release", of: (m) => `${m.name}@${m.version}` },
      ...fitting.map((p) => ({ title: `${p.hardware} ${kib(p.ram)} RAM ${kib(p.flash)} flash`, of: (m) => {
        const ok = p.ids.has(m.digest);
        return h("span", { class: "fit" }, h("i", { class: ok ? "fits" : "misfit" }), ok ? " fits" : " no");
      } })),
    ], rows) : h("p", { class: "soft" }, "It appears when a device has said hello."));
}

async function rollouts() {
  const rows = await api.get("/rollouts");
  const details = await Promise.all(rows.slice(0, 20).map((r) => api.get(`/rollouts/${r.rollout}`)));
  return h("section", {}, h("h1", {}, "Rollouts"), details.length ? details.map(funnel) : h("p", { class: "soft" }, "None yet: fleet rollout create RELEASE."));
}

const ORDER = ["confirmed", "trial", "self_testing", "verifying", "downloading", "offered", "waiting", "superseded", "cancelled", "rolled_back", "timed_out", "rejected", "failed"];
const NEXT = { ready: ["start", "cancel"], awaiting_approval: ["approve", "deny"], running: ["pause", "cancel"], paused: ["resume", "cancel"] };

function funnel(r) {
  const act = (command) => h("button", { onclick: async () => { await attempt(() => api.post(`/rollouts/${r.rollout}/${command}`)); render(); } }, command);
  const bar = (counts) => h("div", { class: "bar", role: "img", "aria-label": JSON.stringify(counts) },
    ORDER.filter((s) => counts[s]).map((s) => h("span", { class: s, style: null, title: `${s}: ${counts[s]}`, "data-grow": counts[s] })));
  const made = h("article", { class: "rollout", "data-rollout": r.rollout },
    h("h2", {}, `#${r.rollout} ${r.release}: ${r.state}`),
    h("p", { class: "soft" }, `${r.action}, ${r.devices} devices, wave ${r.wave} of ${r.waves}${r.why ? `; ${r.why}` : ""}`),
    (r.by_wave ?? []).map((counts, i) => h("div", { class: "wave" }, h("span", {}, `wave ${i + 1}`), bar(counts), h("span", { class: "soft" }, Object.values(counts).reduce((a, b) => a + b, 0)))),
    h("div", { class: "legend" }, ORDER.filter((s) => r.states[s]).map((s) => h("span", {}, h("i", { class: s }), `${s.replace("_", " ")} ${r.states[s]}`))),
    Object.keys(r.reasons ?? {}).length ? h("p", { class: "soft" }, `Reasons: ${Object.entries(r.reasons).map(([k, v]) => `${k} ${v}`).join(", ")}`) : null,
    h("div", { class: "row" }, (NEXT[r.state] ?? []).map(act)));
  for (const part of made.querySelectorAll("[data-grow]")) part.style.flexGrow = part.dataset.grow;
  return made;
}

async function federated() {
  const found = await api.sparql(`SELECT ?run ?strategy (MAX(?number) AS ?last) WHERE {
    ?r a tml:FederatedRound ; tml:run ?run ; tml:strategy ?strategy ; tml:number ?number } GROUP BY ?run ?strategy ORDER BY DESC(?run)`);
  const parts = await Promise.all(found.rows.slice(0, 12).map(async (run) => {
    const { rows } = await api.named("federated-rounds", { run: run.run });
    const series = Map.groupBy(rows.filter((r) => r.metric), (r) => r.metric);
    return h("article", {}, h("h2", {}, `${run.run}: ${run.strategy}, ${Number(run.last) + 1} rounds`),
      [...series].map(([metric, points]) => h("div", {}, h("p", { class: "soft" }, metric), chart(`${metric} by round`, points.map((p) => [Number(p.number), Number(p.value)])))));
  }));
  return h("section", {}, h("h1", {}, "Federated rounds"), parts.length ? parts : h("p", { class: "soft" }, "No runs yet: fleet train PLAN.toml."));
}

let asked = "SELECT ?device ?model WHERE {\n  ?d td:title ?device ; tml:runs/schema:name ?model .\n}\nORDER BY ?device\nLIMIT 50\n";

async function sparqlView() {
  const library = await api.library();
  const out = h("div", { id: "answer" });
  const text = h("textarea", { "aria-label": "SPARQL query", spellcheck: "false", oninput: () => { asked = text.value; } });
  text.value = asked;
  const ask = async () => {
    const begun = performance.now();
    out.replaceChildren(h("p", { class: "soft" }, "Asking…"));
    const told = await attempt(() => api.sparql(text.value));
    out.replaceChildren(...(told ? [h("p", { class: "soft" }, `${told.rows ? `${told.rows.length} rows, ` : ""}${Math.round(performance.now() - begun)} ms`), results(told)] : []));
  };
  const choose = h("select", { "aria-label": "Query library", onchange: () => {
      const query = library.find((q) => q.name === choose.value);
      if (query) { text.value = asked = query.text; }
    } }, h("option", { value: "" }, "Query library…"), library.map((q) => h("option", { value: q.name, title: q.title }, q.name)));
  return h("section", {}, h("h1", {}, "SPARQL"),
    h("p", { class: "soft" }, "The prefixes of the ontology are known. A parameter of a library query is a variable: replace ?device by \"NAME\"."),
    h("div", { class: "row" }, choose), text,
    h("div", { class: "row" }, h("button", { class: "primary", id: "ask", onclick: ask }, "Ask")), out);
}

function results(told) {
  if ("boolean" in told) return h("p", {}, told.boolean ? "yes" : "no");
  if ("text" in told) return h("pre", {}, told.text);
  return table(told.columns.map((c) => ({ title: c, of: (row) => row[c] })), told.rows, "No rows.");
}

function signIn() {
  return h("form", { class: "row", onsubmit: (e) => { e.preventDefault(); api.keep(new FormData(e.target).get("token").trim()); render(); } },
    h("label", {}, "API token ", h("input", { name: "token", type: "password", size: 48, required: true, autocomplete: "off" })),
    h("button", { class: "primary" }, "Sign in"), h("p", { class: "soft" }, "It is in the file keys/api.secret of the fleet's home."));
}

async function attempt(work) {
  try {
    const made = await work();
    problem.hidden = true;
    return made;
  } catch (error) {
    problem.textContent = error instanceof api.Refused ? error.message : `The server cannot be reached: ${error.message}`;
    problem.hidden = false;
    return null;
  }
}

const ROUTES = [
  [/^\/$/, overview, true], [/^\/devices$/, devices, false], [/^\/devices\/([^/?]+)$/, device, true], [/^\/models$/, models, false],
  [/^\/rollouts$/, rollouts, true], [/^\/federated$/, federated, true], [/^\/sparql$/, sparqlView, false],
];
let turn = 0;

async function render(quiet = false) {
  const mine = ++turn;
  document.getElementById("leave").hidden = !api.token();
  if (!api.token()) { view.replaceChildren(signIn()); return; }
  const path = (location.hash.slice(1) || "/").split("?")[0];
  const found = ROUTES.find(([pattern]) => pattern.test(path));
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash.slice(1);
    if (here === path || (here !== "/" && path.startsWith(here))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!found) { view.replaceChildren(h("p", {}, "There is no such page.")); return; }
  if (!quiet) view.setAttribute("aria-busy", "true");
  const made = await attempt(() => found[1](...path.match(found[0]).slice(1).map(decodeURIComponent)));
  if (mine !== turn) return;
  view.removeAttribute("aria-busy");
  if (made) view.replaceChildren(made);
  else if (!api.token()) view.replaceChildren(signIn());
  if (found[2]) setTimeout(() => { if (mine === turn && !document.hidden) render(true); }, LIVE_MS);
}

async function beat() {
  const told = await api.health().catch(() => null);
  document.getElementById("health").textContent = told == null ? "unreachable" : told.ok ? "healthy" : `failing: ${Object.entries(told.roles).filter(([, ok]) => !ok).map(([role]) => role).join(", ")}`;
}

document.getElementById("leave").addEventListener("click", () => { api.forget(); render(); });
window.addEventListener("hashchange", () => { problem.hidden = true; render(); view.focus(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) render(true); });
render();
beat();
setInterval(beat, 5000);
