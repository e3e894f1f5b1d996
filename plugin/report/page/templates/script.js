"use strict";
// a table is sorted by the column whose heading is pressed, and the other way round when it is pressed again
function compare(a, b) {
  const x = a.dataset.value ?? a.textContent, y = b.dataset.value ?? b.textContent;
  const number = Number(x) - Number(y);
  return Number.isNaN(number) ? x.localeCompare(y, undefined, { numeric: true }) : number;
}
function sort(table, column, heading) {
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((a, b) => (down ? -1 : 1) * compare(a.cells[column], b.cells[column]));
  table.tBodies[0].append(...rows);
}
for (const table of document.querySelectorAll("table")) {
  Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => sort(table, column, heading));
  });
}
// a scene's program is run once it is asked for: most readers never do
for (const scene of document.querySelectorAll("details.scene")) {
  scene.addEventListener("toggle", () => {
    const stage = scene.querySelector(".stage");
    if (!scene.open || stage.childElementCount) return;
    if (!window.Plotly) {
      const program = document.createElement("script");
      program.textContent = scene.querySelector(".plotly").textContent;
      document.head.append(program);
    }
    const figure = JSON.parse(scene.querySelector(".figure").textContent);
    figure.layout.font = { color: getComputedStyle(document.body).color };
    window.Plotly.newPlot(stage, figure.data, figure.layout, { displaylogo: false, responsive: true });
  });
}
