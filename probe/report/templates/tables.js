"use strict";
// Sorting and searching of tables; without scripts they are whole and readable.
const numberOf = (text) => {
  const found = text.replaceAll(",", "").match(/^[+-]?\d+(\.\d+)?/);
  return found ? Number(found[0]) : null;
};
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [row.cells[column].textContent.trim(), row]);
      const keyed = rows.map(([text, row]) => [numberOf(text), text, row]);
      keyed.sort(([a, textA], [b, textB]) => {
        if (a !== null && b !== null) return down ? b - a : a - b;
        if (a !== null || b !== null) return a !== null ? -1 : 1;
        return down ? textB.localeCompare(textA) : textA.localeCompare(textB);
      });
      keyed.forEach(([, , row]) => body.append(row));
    });
  });
}
// A hint above each region that is wider than its frame: a phone shows no scroll bars.
const hint = () => {
  for (const region of document.querySelectorAll(".scroll, pre")) {
    region.previousElementSibling.hidden = region.scrollWidth <= region.clientWidth + 1;
  }
};
hint();
window.addEventListener("resize", hint);
for (const folded of document.querySelectorAll("details")) folded.addEventListener("toggle", hint);
for (const input of document.querySelectorAll("input[type=search]")) {
  const body = document.getElementById(input.dataset.for).tBodies[0];
  const count = input.closest("p").querySelector(".count");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${body.rows.length} rows`;
  });
}
