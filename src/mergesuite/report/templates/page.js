"use strict";
(() => {
  const all = (css, root = document) => [...root.querySelectorAll(css)];
  const make = (tag, properties = {}, children = []) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Filters: a row is shown if every choice fits; what is folded opens while something is chosen.
  const form = document.querySelector(".filters");
  const rows = all(".claims tbody tr");
  const filter = () => {
    const asked = Object.fromEntries(new FormData(form));
    const words = asked.text.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = ["paper", "verdict", "protocol", "family", "place"].every(
        (name) => !asked[name] || row.dataset[name] === asked[name]);
      const said = row.textContent.toLowerCase();
      row.hidden = !(fits && words.every((word) => said.includes(word)));
      shown += !row.hidden;
    }
    const rest = document.querySelector("#not-run");
    const chosen = words.length || Object.values(asked).some(Boolean);
    if (rest) rest.open = chosen && all("tbody tr", rest).some((row) => !row.hidden);
    form.querySelector("output").textContent = `${shown} of ${rows.length} claims`;
  };
  if (form) {
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter));
    filter();
  }

  // Sorting: by the number that a cell carries, else by its text; nothing comes last.
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? text(cell).toLowerCase() : cell.dataset.sort;
  };
  const sort = (table, column, descending) => {
    const sign = descending ? -1 : 1;
    const order = (a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const difference = Number(x) - Number(y);
      return sign * (Number.isNaN(difference) ? x.localeCompare(y) : difference);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  };
  for (const table of all(".claims")) {
    all("thead th", table).forEach((head, column) => {
      const button = make("button", { type: "button", textContent: head.textContent });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, column, descending);
      });
    });
  }

  // Copying: a table as it is shown, in the order and with the rows that are on the screen.
  function text(cell) {
    const element = cell.querySelector("summary") || cell;
    return element.textContent.replace(/\s+/g, " ").trim();
  }
  const latex = JSON.parse(document.querySelector("#latex").textContent);
  const write = {
    CSV: (lines) => lines.map((cells) => cells.map((cell) =>
      /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell).join(",")).join("\n") + "\n",
    Markdown: (lines) => lines.flatMap((cells, i) => {
      const line = cells.map((cell) => cell.replace(/[\\|`]/g, "\\$&").replaceAll("&", "&amp;").replaceAll("<", "&lt;"));
      return [line, ...(i ? [] : [cells.map(() => "---")])];
    }).map((cells) => `| ${cells.join(" | ")} |`).join("\n") + "\n",
    LaTeX: (lines) => {
      const line = (cells) => "  " + cells.map((cell) =>
        `{${[...cell].map((letter) => latex[letter] ?? letter).join("")}}`).join(" & ") + " \\\\";
      return ["% \\usepackage{booktabs}", `\\begin{tabular}{${"l".repeat(lines[0].length)}}`,
        "  \\toprule", line(lines[0]), "  \\midrule", ...lines.slice(1).map(line),
        "  \\bottomrule", "\\end{tabular}", ""].join("\n");
    },
  };
  const suffix = { CSV: "csv", Markdown: "md", LaTeX: "tex" };
  const read = (table) => all("tr", table).filter((row) => !row.hidden).map((row) => [...row.cells].map(text));
  const copy = async (said, button) => {
    try {
      await navigator.clipboard.writeText(said);
    } catch {
      const area = make("textarea", { value: said });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1200);
  };
  const save = (said, name) => {
    const link = make("a", { href: URL.createObjectURL(new Blob([said], { type: "text/plain" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const tools = (names, said, name) => make("details", { className: "tools" }, [
    make("summary", { textContent: "Copy or save" }),
    ...["Copy", "Save"].map((act) => make("div", {}, [act, ...names.map((kind) => {
      const button = make("button", { type: "button", textContent: kind });
      button.setAttribute("aria-label", `${act} as ${kind}`);
      button.addEventListener("click", () =>
        act === "Copy" ? copy(said(kind), button) : save(said(kind), `${name}.${suffix[kind] ?? "bib"}`));
      return button;
    })])),
  ]);
  for (const table of all("main table")) {
    const name = (table.id || "table").replaceAll("/", "-");
    (table.closest(".scroll") || table).after(tools(Object.keys(write), (kind) => write[kind](read(table)), name));
  }
  for (const block of all("pre.bibtex")) block.after(tools(["BibTeX"], () => block.textContent, "mergesuite"));

  // Whatever is folded opens for who asks for something in it, and for print.
  const reveal = () => {
    // Ids hold letters, digits, - _ and /, which no browser writes otherwise.
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let up = target; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
    const own = target.querySelector(":scope > th > details");
    if (own) own.open = true;
    if (target.hidden && form) form.reset();
    setTimeout(() => target.scrollIntoView({ block: target.tagName === "TR" ? "center" : "start" }));
  };
  window.addEventListener("hashchange", reveal);
  if (location.hash) reveal();
  for (const plot of all(".plot")) {
    plot.classList.add("can-jump");
    plot.addEventListener("click", (event) => {
      const row = event.target.closest("g[data-target]");
      if (row) { location.hash = row.dataset.target; reveal(); }
    });
  }
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = all("details:not([open]):not(.tools)");
    opened.forEach((each) => { each.open = true; });
  });
  window.addEventListener("afterprint", () => opened.forEach((each) => { each.open = false; }));
})();
