// SPDX-License-Identifier: Apache-2.0
// The HTTP API with the token that the person gave; it lives as long as the tab.

const KEY = "fleet-token";
export const token = () => sessionStorage.getItem(KEY);
export const keep = (value) => sessionStorage.setItem(KEY, value);
export const forget = () => sessionStorage.removeItem(KEY);

export class Refused extends Error {}

async function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${token()}`, ...options.headers };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  if (answer.status === 401) forget();
  throw new Refused([told.error ?? `the server answered ${answer.status}`, told.hint].filter(Boolean).join(". "));
}

export const get = async (path) => (await call(`/api/v1${path}`)).json();
export const post = async (path, body) =>
  (await call(`/api/v1${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) })).json();
export const health = async () => (await fetch("/healthz")).json();
export const library = async () => (await call("/queries")).json();
export const thing = async (tenant, device) => (await call(`/things/${tenant}/${device}`)).json();

const RESULTS = "application/sparql-results+json";

async function results(answer) {
  const told = await answer.json();
  if ("boolean" in told) return { boolean: told.boolean };
  const columns = told.head.vars;
  return { columns, rows: told.results.bindings.map((b) => Object.fromEntries(columns.map((c) => [c, b[c]?.value]))) };
}

// {columns, rows} of a query of the library; the server binds its parameters.
export const named = async (name, parameters) =>
  results(await call(`/queries/${name}?${new URLSearchParams(parameters)}`, { headers: { Accept: RESULTS } }));

// {columns, rows} of a SELECT, {boolean} of an ASK, {text} of a CONSTRUCT.
export async function sparql(query) {
  const accept = `${RESULTS}, text/turtle;q=0.9`;
  const construct = /^\s*(?:(?:#[^\n]*|prefix\s[^\n]*)\n\s*)*(construct|describe)\b/i.test(query);
  const answer = await call("/sparql", {
    method: "POST",
    headers: { "Content-Type": "application/sparql-query", Accept: construct ? "text/turtle" : accept },
    body: query,
  });
  return construct ? { text: await answer.text() } : results(answer);
}
