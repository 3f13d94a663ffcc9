// Adds to a page that reads without it: tables that sort by a column, and values under the pointer.
"use strict";

for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const falling = header.getAttribute("aria-sort") !== "descending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const value = (row) => {
        const text = row.cells[column].textContent.trim().replaceAll(",", "");
        const number = parseFloat(text);
        return text === "inf" ? Infinity : Number.isNaN(number) || /^\d{4}-\d/.test(text) ? text : number;
      };
      const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
      const rows = [...body.rows].sort((a, b) => order(value(a), value(b)));
      body.append(...(falling ? rows.reverse() : rows));
    });
  });
}

for (const drawing of document.querySelectorAll("svg[data-axes]")) {
  const curves = [...drawing.querySelectorAll('g[class^="s"]')].filter((group) =>
    ["path", "title"].every((part) => group.querySelector(`:scope > ${part}`)));
  if (!curves.length) continue;
  const numbers = (name) => drawing.dataset[name].split(" ").map(Number);
  const [left, top, right, bottom] = numbers("axes");
  const [first, last, lowest, highest] = numbers("range");
  const log = drawing.dataset.scale === "log";
  const along = (share, from, to) => (log ? from * (to / from) ** share : from + share * (to - from));
  const shown = (rate) => `${(100 * rate).toPrecision(3)}%`;
  const output = drawing.parentElement.querySelector("output");
  const usual = output.textContent;
  const line = drawing.appendChild(document.createElementNS(drawing.namespaceURI, "path"));
  line.setAttribute("class", "pointer");

  // The height of a curve at x: its points are in the drawing as "M x y L x y".
  const height = (path, x) => {
    const found = path.getAttribute("d").match(/-?[\d.]+/g).map(Number);
    for (let i = 2; i < found.length; i += 2) {
      const [x0, y0, x1, y1] = found.slice(i - 2, i + 2);
      if (x0 <= x && x <= x1) return x1 > x0 ? y0 + ((y1 - y0) * (x - x0)) / (x1 - x0) : Math.min(y0, y1);
    }
    return undefined;
  };

  drawing.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    if (at.x < left || at.x > right) return;
    line.setAttribute("d", `M ${at.x} ${top} V ${bottom}`);
    const values = [];
    for (const curve of curves.filter((each) => getComputedStyle(each).display !== "none")) {
      const y = height(curve.querySelector(":scope > path"), at.x);
      const name = curve.querySelector("title").textContent;
      if (y !== undefined) values.push([along((bottom - y) / (bottom - top), lowest, highest), name]);
    }
    values.sort((a, b) => b[0] - a[0]);
    const rate = along((at.x - left) / (right - left), first, last);
    output.textContent = `FPR ${shown(rate)}: ${values.map(([tpr, name]) => `${name} ${shown(tpr)}`).join("; ")}`;
  });
  drawing.addEventListener("pointerleave", () => {
    line.removeAttribute("d");
    output.textContent = usual;
  });
}
