"use strict";
// What the page does beyond being read: it reads the same without any of this.
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const locale = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // ---- light and dark
  const themes = ["automatic", "light", "dark"];
  const themeButton = document.getElementById("theme");
  const remembered = {
    get: () => { try { return localStorage.getItem("ds2prof-theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("ds2prof-theme", theme); } catch { /* a file may have no storage */ } },
  };
  const setTheme = (theme) => {
    if (theme === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    themeButton.textContent = `Theme: ${theme}`;
    themeButton.dataset.theme = theme;
  };
  setTheme(themes.includes(remembered.get()) ? remembered.get() : "automatic");
  themeButton.addEventListener("click", () => {
    const next = themes[(themes.indexOf(themeButton.dataset.theme) + 1) % themes.length];
    setTheme(next);
    remembered.set(next);
  });

  // ---- tables: sorting
  const keyOf = (row, column, isNumber) => {
    const cell = row.cells[column];
    if (!isNumber) return cell.textContent.trim();
    const value = cell.dataset.value;
    return value === undefined || value === "" ? null : Number(value);
  };
  const sort = (table, column, isNumber, direction) => {
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row, place) => ({ row, place, key: keyOf(row, column, isNumber) }));
    const sign = direction === "ascending" ? 1 : -1;
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return a.key === b.key ? a.place - b.place : a.key === null ? 1 : -1;
      const order = isNumber ? a.key - b.key : locale.compare(a.key, b.key);
      return order === 0 ? a.place - b.place : sign * order;
    });
    body.append(...keyed.map((each) => each.row));
  };
  const isNumberColumn = (table, column) => {
    const cells = Array.from(table.tBodies[0].rows, (row) => row.cells[column]);
    return cells.every((cell) => cell && cell.dataset.value !== undefined);
  };
  const makeSortable = (table, refresh) => {
    const heads = Array.from(table.tHead.rows[0].cells);
    if (table.tBodies[0].rows.length < 2) return;
    heads.forEach((head, column) => {
      const label = head.querySelector("span");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label.textContent;
      label.replaceChildren(button);
      button.addEventListener("click", () => {
        const isNumber = isNumberColumn(table, column);
        const first = isNumber ? "descending" : "ascending";
        const other = isNumber ? "ascending" : "descending";
        const direction = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction);
        sort(table, column, isNumber, direction);
        refresh();
      });
    });
  };

  // ---- tables: search, filter, folding
  const percent = (ratio) => `${(100 * ratio).toFixed(1)} %`;
  const makeSearchable = (grid, table) => {
    const tools = grid.querySelector("form.tools");
    if (!tools) return () => {};
    tools.hidden = false;
    const search = tools.elements.search;
    const group = tools.elements.group;
    const unfold = tools.elements.unfold;
    const output = tools.querySelector("output");
    const texts = new Map(Array.from(table.tBodies[0].rows, (row) => [row, row.textContent.toLowerCase()]));
    const folded = Number(grid.dataset.folded);
    let isFolded = Boolean(unfold);
    const refresh = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = group ? group.value : "";
      const isAsked = words.length > 0 || wanted !== "";
      let matching = 0;
      let shown = 0;
      let share = 0;
      let hasShare = false;
      for (const row of table.tBodies[0].rows) {
        const text = texts.get(row);
        const matches = words.every((word) => text.includes(word)) && (!wanted || row.dataset.group === wanted);
        if (matches) {
          matching += 1;
          if (row.dataset.share !== undefined) { share += Number(row.dataset.share); hasShare = true; }
        }
        row.hidden = !matches || (isFolded && !isAsked && matching > folded);
        shown += row.hidden ? 0 : 1;
      }
      const of = `${shown.toLocaleString("en")} of ${texts.size.toLocaleString("en")} rows`;
      output.textContent = isAsked && hasShare ? `${of}, ${percent(share)} of the time` : of;
    };
    if (unfold) {
      unfold.addEventListener("click", () => {
        isFolded = !isFolded;
        unfold.setAttribute("aria-expanded", String(!isFolded));
        unfold.textContent = isFolded ? `Show all ${texts.size} rows` : `Show the first ${folded} rows`;
        refresh();
      });
    }
    search.addEventListener("input", refresh);
    if (group) group.addEventListener("change", refresh);
    tools.addEventListener("submit", (event) => event.preventDefault());
    refresh();
    return refresh;
  };
  for (const grid of all(".grid")) {
    const table = grid.querySelector("table");
    makeSortable(table, makeSearchable(grid, table));
  }

  // ---- figures: what marks tell
  const tip = document.getElementById("tip");
  let told = null; // the mark that is pointed at or focused
  const placeTip = () => {
    if (!told) return;
    const box = told.getBoundingClientRect();
    const left = Math.min(Math.max(box.left + box.width / 2 - tip.offsetWidth / 2, 8), innerWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 0 ? above : box.bottom + 8}px`;
  };
  const showTip = (mark) => {
    told = mark;
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    placeTip();
  };
  const hideTip = () => { told = null; tip.hidden = true; };
  for (const figure of all("svg.figure")) {
    const marks = all(".mark", figure);
    marks.forEach((mark, place) => {
      all("title", mark).forEach((title) => title.remove()); // it would be told twice
      mark.setAttribute("tabindex", place ? "-1" : "0"); // one stop for the tabulator key, arrows within
      mark.addEventListener("pointerenter", () => showTip(mark));
      mark.addEventListener("pointerleave", hideTip);
      mark.addEventListener("focus", () => showTip(mark));
      mark.addEventListener("blur", hideTip);
      mark.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (event.key === "Escape") hideTip();
        if (!step) return;
        event.preventDefault();
        const next = marks[(place + step + marks.length) % marks.length];
        marks.forEach((each) => each.setAttribute("tabindex", each === next ? "0" : "-1"));
        next.focus();
      });
    });
  }
  addEventListener("scroll", placeTip, { passive: true, capture: true });

  // ---- definitions, one click away
  const dialog = document.getElementById("definition");
  const definition = document.getElementById("definition-text");
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a.def");
    if (!link || event.ctrlKey || event.metaKey || !dialog.showModal) return;
    const entry = document.getElementById(link.hash.slice(1));
    if (!entry) return;
    event.preventDefault();
    const copy = document.createElement("dl");
    copy.append(...Array.from(entry.children, (child) => child.cloneNode(true)));
    definition.replaceChildren(copy);
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // ---- what is folded: opened for links into it, and for paper
  const openTo = () => {
    let target = null;
    try { target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { return; }
    for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", openTo);
  openTo();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open]):not(.full)");
    opened.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => { opened.forEach((each) => { each.open = false; }); });

  all(".scripted").forEach((each) => { each.hidden = false; });
})();
