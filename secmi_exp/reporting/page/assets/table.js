// Tables of class "sortable": each heading becomes a button that sorts by its column; what has no value stays last.
"use strict";
(() => {
  const compareText = new Intl.Collator(undefined, { numeric: true }).compare;

  function value(row, column, isNumber) {
    const cell = row.cells[column];
    if (!isNumber) return cell.textContent.trim() || null;
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  }

  function sort(table, column, heading, direction) {
    const isNumber = heading.classList.contains("number");
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [value(row, column, isNumber), row]);
    rows.sort(([one], [other]) => {
      if (one === null || other === null) return (one === null) - (other === null);
      return sign * (isNumber ? one - other : compareText(one, other));
    });
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction);
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const first = heading.classList.contains("number") ? "descending" : "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        sort(table, column, heading, heading.getAttribute("aria-sort") === first ? second : first);
      });
    });
  }
})();
