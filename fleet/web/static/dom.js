// SPDX-License-Identifier: Apache-2.0
// Elements from data. Text is always text: nothing that a device says becomes markup.

export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((c) => c != null).map((c) => (c instanceof Node ? c : String(c))));
  return made;
}

export function table(columns, rows, none = "Nothing yet.") {
  if (!rows.length) return h("p", { class: "soft" }, none);
  const head = h("tr", {}, columns.map((c) => h("th", { scope: "col" }, c.title)));
  const body = rows.map((row) =>
    h("tr", {}, columns.map((c) => {
      const value = c.of(row);
      return h("td", { class: typeof value === "number" ? "number" : null }, typeof value === "number" ? value.toLocaleString("en") : value ?? "");
    })));
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, body)));
}

export const when = (seconds) => (seconds == null ? "" : new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " "));
export const short = (digest) => (digest ? digest.slice(0, 12) : "");
export const json = (value) => h("pre", {}, JSON.stringify(value, null, 1));

const SVG = "http://www.w3.org/2000/svg";
function s(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text != null) made.textContent = text;
  return made;
}

// A line chart of [x, y] pairs with labelled extremes.
export function chart(title, points) {
  const [width, height, left, bottom] = [640, 220, 64, 26];
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const [y0, y1] = [Math.min(...ys, 0), Math.max(...ys)];
  const x = (v) => left + ((v - x0) / (x1 - x0 || 1)) * (width - left - 12);
  const y = (v) => 12 + (1 - (v - y0) / (y1 - y0 || 1)) * (height - bottom - 12);
  const made = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  made.append(s("title", {}, title));
  for (const value of [y0, (y0 + y1) / 2, y1]) {
    made.append(s("line", { class: "axis", x1: left, x2: width - 12, y1: y(value), y2: y(value) }));
    made.append(s("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, Number(value.toPrecision(3))));
  }
  for (const value of x0 === x1 ? [x0] : [x0, x1]) made.append(s("text", { x: x(value), y: height - 6, "text-anchor": value === x1 && x0 !== x1 ? "end" : "start" }, value));
  made.append(s("polyline", { class: "curve", points: points.map((p) => `${x(p[0])},${y(p[1])}`).join(" ") }));
  if (points.length < 80) for (const p of points) made.append(s("circle", { class: "point", r: 2.5, cx: x(p[0]), cy: y(p[1]) }));
  return made;
}
