for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th"), column = heading.cellIndex, body = button.closest("table").tBodies[0];
    const now = heading.getAttribute("aria-sort"), first = column === 0 ? 1 : -1;  // names from A, numbers from the best
    const sign = now === null ? first : now === "descending" ? 1 : -1;
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => column === 0 ? value(a).localeCompare(value(b)) : value(a) - value(b);
    const missing = (row) => value(row) === "" || value(row) === "nan";
    const rows = [...body.rows].sort((a, b) => missing(a) - missing(b) || sign * compare(a, b));
    body.append(...rows);
  });
}
