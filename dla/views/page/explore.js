"use strict";
// Draws the page from the JSON in #data. Every text is set with textContent: nothing in a label or a token is markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytes = (text) => {
    const decoded = atob(text), found = new Uint8Array(decoded.length);
    for (let i = 0; i < decoded.length; i++) found[i] = decoded.charCodeAt(i);
    return found.buffer;
  };
  const f32 = (text) => new Float32Array(bytes(text));
  const f64 = (text) => new Float64Array(bytes(text));
  const i16 = (text) => new Int16Array(bytes(text));
  const size = data.labels.length, places = data.places.length;
  const layers = i16(data.layers), heads = i16(data.heads), means = f32(data.means);
  const rows = data.values.rows, values = f32(data.values.data), width = rows ? rows.length : size;
  const placeOf = rows ? new Map(rows.map((row, i) => [row, i])) : null;
  const sums = Object.fromEntries(Object.entries(data.sums).map(([name, text]) => [name, f64(text)]));
  const ends = data.ends && { low: f32(data.ends.low), high: f32(data.ends.high) };
  const sources = data.sources && { ...data.sources, data: f32(data.sources.data), bias: f32(data.sources.bias),
    at: new Map(data.sources.rows.map((row, i) => [row, i])) };
  const usual = places === 1 || data.groups ? 0 : -1;  // the mean over positions; of groups, the first is all prompts
  const state = { d: 0, p: usual, part: -1, q: "", s: "size", shown: 50 };
  const page = document.getElementById("page");

  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") node.className = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  const signed = (x) => {
    if (Number.isNaN(x)) return "NaN";
    const sign = x < 0 ? "−" : "+", a = Math.abs(x);
    return sign + (a === 0 || a >= 5e-4 ? a.toFixed(a >= 1000 ? 1 : 4) : a.toExponential(1));
  };
  const side = (x) => (x > 0 ? "up" : x < 0 ? "down" : "");
  const mark = (x) => (x > 0 ? "▲" : x < 0 ? "▼" : "");
  const token = (prompt, i) => (data.prompts[prompt] && data.prompts[prompt][i] !== undefined ? data.prompts[prompt][i] : "");
  const quoted = (text) => `'${text}'`;

  // The value of a row in the chosen direction, at the chosen place; the mean over all of them at place -1.
  const valueAt = (i, d, p) => {
    if (p < 0) return means[d * size + i];
    const column = placeOf ? placeOf.get(i) : i;
    return column === undefined ? NaN : values[(d * places + p) * width + column];
  };
  const value = (i) => valueAt(i, state.d, state.p);
  // The weak rows of a large page have only their mean.
  const isHere = (i) => state.p < 0 || !placeOf || placeOf.has(i);
  const sumOf = (name, p = state.p) => {
    const all = sums[name].subarray(state.d * places, (state.d + 1) * places);
    if (p >= 0) return all[p];
    const known = all.filter((x) => !Number.isNaN(x));
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : NaN;
  };
  const worst = (name) => {
    const all = state.p >= 0 ? [sumOf(name)] : [...sums[name].subarray(state.d * places, (state.d + 1) * places)];
    return all.every(Number.isNaN) ? NaN : all.reduce((a, b) => (Math.abs(b) > a ? Math.abs(b) : a), 0);
  };
  let numbers = [], order = [], rank = [], largest = 1, here = size;
  const measure = () => {
    numbers = Array.from({ length: size }, (_, i) => value(i));
    const strength = numbers.map((x) => (Number.isNaN(x) ? -1 : Math.abs(x)));
    order = numbers.map((_, i) => i).sort((a, b) => strength[b] - strength[a] || isHere(b) - isHere(a) || a - b);
    here = order.filter(isHere).length;
    rank = new Array(size).fill(NaN);
    order.slice(0, here).forEach((row, i) => { rank[row] = i + 1; });
    largest = strength.reduce((a, b) => (Number.isFinite(b) && b > a ? b : a), 0) || 1;
  };
  const described = (i) => (isHere(i) ? `${data.labels[i]}, ${signed(numbers[i])} logits, rank ${rank[i]} of ${size}`
    : `${data.labels[i]}, left out at this position`);
  const shade = (node, x, top) => {
    const share = Number.isFinite(x) ? Math.min(1, Math.abs(x) / (top || 1)) : 0;
    node.classList.add("shade");
    node.classList.remove("up", "down", "strong");
    if (side(x)) node.classList.add(side(x));
    if (share > 0.92) node.classList.add("strong");
    node.style.setProperty("--share", share.toFixed(3));
    return node;
  };
  const track = (from, to, low, high, x) => {
    const span = high - low || 1, bar = el("span", { class: `bar ${side(x)}` });
    const at = el("span", { class: "track", "aria-hidden": "true" }, bar);
    at.style.display = "block";
    at.style.setProperty("--zero", `${(100 * (0 - low)) / span}%`);
    bar.style.left = `${(100 * (Math.min(from, to) - low)) / span}%`;
    bar.style.width = `${(100 * Math.abs(to - from)) / span}%`;
    return at;
  };
  const partButton = (i) => el("button", { class: "link", type: "button", "data-part": i, "aria-pressed": state.part === i },
    data.labels[i]);

  // --- what is said in words -----------------------------------------------------------------------------------
  const sumOfRows = () => numbers.reduce((a, b) => (Number.isNaN(b) ? a : a + b), 0);
  // What the total has and no row of a selection; 0 if it is rounding.
  const notSelected = (p, own) => {
    const missing = sumOf("total", p) - own;
    return Math.abs(missing) > Math.max(1e-3, 1e-4 * largest * size ** 0.5) ? missing : 0;
  };
  // The rows that are in the total and not among the numbers, in words, with their sum; null if there are none.
  const remainder = () => {
    const own = sumOfRows(), left = size - here;
    if (!left) {
      const x = notSelected(state.p, own);
      return x ? { name: "rows not selected", x } : null;
    }
    const selected = notSelected(-1, means.subarray(state.d * size, (state.d + 1) * size).reduce((a, b) => a + (b || 0), 0));
    return { name: `${left} rows left out here${selected ? " and rows not selected" : ""}`, x: sumOf("total") - own };
  };
  const placeName = (p) => {
    if (p < 0) return `mean over ${places} positions`;
    if (data.groups) return data.groups[p];
    const [prompt, position] = data.places[p];
    const at = position < 0 ? "" : `position ${position} ${quoted(token(prompt, position))}`;
    return data.prompts.length > 1 ? `prompt ${prompt + 1}, ${at}` : at;
  };
  const verdict = () => {
    const logit = sumOf("logit"), total = sumOf("total"), constant = sumOf("constant"), gap = worst("gap");
    const texts = [`${data.directions[state.d]}: the model's own logit is ${signed(logit)}.`];
    if (data.additive) {
      const rest = remainder(), counted = here < size ? `${here} of ${size}` : size;
      texts.push(`${counted} rows sum to ${signed(sumOfRows())}${rest ? `; the ${rest.name} sum to ${signed(rest.x)}` : ""}.`);
    } else texts.push(`The last row is ${signed(total)}; the rows do not add up, each is the stream at a depth.`);
    texts.push(`The constant, which no row writes, is ${signed(constant)}.`);
    const allowed = worst("tolerance"), explained = Number.isNaN(allowed) ? "" : `; rounding explains up to ${allowed.toExponential(1)}`;
    texts.push(`Rows and constant miss the logit by at most ${gap.toExponential(1)}${explained}.`);
    return texts.join(" ");
  };
  const strongest = () => {
    const few = (sign) => order.filter((i) => sign * numbers[i] > 0).slice(0, 3)
      .map((i) => `${data.labels[i]} ${signed(numbers[i])}`).join(", ") || "none";
    return `Strongest for: ${few(1)}. Strongest against: ${few(-1)}.`;
  };

  // --- the parts of the page -----------------------------------------------------------------------------------
  const parts = {};
  const section = (name, title, ...children) => {
    parts[name] = el("div");
    return el("section", { "aria-labelledby": `h-${name}` }, el("h2", { id: `h-${name}` }, title), ...children, parts[name]);
  };

  const drawControls = () => {
    const box = parts.controls;
    box.replaceChildren();
    if (data.directions.length > 1) {
      const tabs = el("div", { class: "controls", role: "tablist", "aria-label": "Direction" });
      data.directions.forEach((name, d) => tabs.append(el("button", { type: "button", role: "tab", id: `tab-${d}`,
        "aria-selected": d === state.d, "aria-controls": "content", tabindex: d === state.d ? 0 : -1, "data-d": d }, name)));
      tabs.addEventListener("click", (event) => choose(event.target.dataset.d));
      tabs.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        choose((state.d + step + data.directions.length) % data.directions.length);
        document.getElementById(`tab-${state.d}`).focus();
      });
      box.append(tabs);
    }
    if (places > 1) {
      const name = el("output", { for: "place" }, placeName(state.p));
      const slider = el("input", { id: "place", type: "range", min: usual, max: places - 1, step: 1,
        "aria-label": data.groups ? "Group" : "Position", "aria-valuetext": placeName(state.p) });
      slider.value = state.p;
      slider.addEventListener("input", () => {
        state.p = Number(slider.value);
        name.textContent = placeName(state.p);
        slider.setAttribute("aria-valuetext", placeName(state.p));
        redraw(false);
      });
      box.append(el("div", { class: "controls" }, el("label", {}, data.groups ? "Group" : "Position", slider), name));
    }
  };
  const choose = (d) => {
    if (d === undefined) return;
    state.d = Number(d);
    redraw(true);
  };

  const sourcesOf = (i, p) => {
    if (!sources || !sources.at.has(i) || p < 0) return null;
    const row = (state.d * sources.rows.length + sources.at.get(i)) * places + p;
    return { tokens: sources.data.subarray(row * sources.width, (row + 1) * sources.width), bias: sources.bias[row] };
  };
  const rightToLeft = (words) => {
    const text = words.join("");
    const count = (pattern) => (text.match(pattern) || []).length;
    return count(/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/g) > count(/[A-Za-z\u00c0-\u02af]/g);
  };
  const tokensOf = (prompt, numbersOf, label, p) => {
    const words = data.prompts[prompt] || [];
    const box = el("div", { class: "tokens", role: "list", tabindex: 0, "aria-label": label });
    if (rightToLeft(words)) box.dir = "rtl";
    const known = numbersOf ? Array.from(numbersOf).filter(Number.isFinite).map(Math.abs) : [];
    const top = known.reduce((a, b) => Math.max(a, b), 0) || 1;
    words.forEach((word, i) => {
      const here = p >= 0 && data.places[p][1] === i;
      const node = el("span", { class: `token${here ? " here" : ""}`, role: "listitem", dir: "auto" }, word || "∅");
      const x = numbersOf && i < numbersOf.length ? numbersOf[i] : NaN;
      if (numbersOf && !Number.isNaN(x)) {
        shade(node, x, top);
        if (known.length && Math.abs(x) === top) node.classList.add("top");
        node.title = `${i} ${quoted(word)} ${signed(x)}`;
        node.setAttribute("aria-label", `${i} ${word} ${signed(x)}`);
      } else node.title = `${i} ${quoted(word)}`;
      const at = placeIndex.get(`${prompt},${i}`);
      if (places > 1 && at !== undefined) node.dataset.place = at;
      box.append(node, el("wbr"));
      if (word.endsWith("\\n")) box.append(el("br"));
    });
    return box;
  };
  const placeIndex = new Map(data.places.map(([prompt, position], p) => [`${prompt},${position}`, p]));
  let promptShows = null;
  const drawPrompt = () => {
    const box = parts.prompt, shows = `${state.d},${state.p},${sourcesOf(state.part, state.p) ? state.part : ""}`;
    if (shows === promptShows) return;
    promptShows = shows;
    box.replaceChildren();
    const prompts = state.p >= 0 ? [data.places[state.p][0]] : [...new Set(data.places.map(([prompt]) => prompt))].slice(0, 8);
    const found = state.part >= 0 ? sourcesOf(state.part, state.p) : null;
    for (const prompt of prompts) {
      box.append(tokensOf(prompt, found && found.tokens, `The tokens of prompt ${prompt + 1}`, state.p));
    }
    // A long prompt shows the token that matters, and not its first lines.
    const shown = box.querySelector(found ? ".token.top" : ".token.here");
    if (shown) shown.parentNode.scrollTop = shown.offsetTop - shown.parentNode.offsetTop - 60;
    box.append(el("p", { class: "soft" }, found ? `Coloured by what ${data.labels[state.part]} reads of each token.`
      : places > 1 ? "A click on a token chooses its position." : "The underlined token is where the logit is read."));
  };

  const cells = new Map();
  let grid = null;
  const drawMap = () => {
    const box = parts.map;
    const list = [];
    for (let i = 0; i < size; i++) {
      if (data.kindNames[data.kinds[i]] === "head") list.push([i, layers[i], heads[i]]);
    }
    const columns = list.reduce((a, [, , head]) => Math.max(a, head + 1), 0);
    const mlps = [];
    for (let i = 0; i < size; i++) if (data.kindNames[data.kinds[i]] === "mlp_out" && layers[i] >= 0) mlps.push([i, layers[i], columns]);
    const all = [...list, ...mlps], depth = all.reduce((a, [, layer]) => Math.max(a, layer + 1), 0);
    const wide = columns + (mlps.length ? 1 : 0);
    const at = new Map(all.map(([i, layer, column]) => [`${layer},${column}`, i]));
    grid = el("div", { class: `map${depth * wide > 1200 ? " large" : ""}`, role: "grid", "aria-label": "Heads by layer",
      "aria-rowcount": depth + 1, "aria-colcount": wide + 1 });
    const every = wide > 32 ? 4 : 1;  // each number would be wider than its column
    grid.style.gridTemplateColumns = `max-content repeat(${wide}, minmax(var(--cell), 1fr))`;
    if (grid.classList.contains("large")) grid.style.minWidth = `${12 * wide + 40}px`;
    const head = el("div", { role: "row" }, el("span", { role: "columnheader" }, "layer"));
    for (let c = 0; c < wide; c++) head.append(el("span", { role: "columnheader" },
      c >= columns ? "MLP" : c % every ? "" : String(c)));
    grid.append(head);
    for (let layer = 0; layer < depth; layer++) {
      const row = el("div", { role: "row" }, el("span", { role: "rowheader" }, String(layer)));
      for (let c = 0; c < wide; c++) {
        const i = at.get(`${layer},${c}`);
        const cell = el("span", { role: "gridcell", class: i === undefined ? "none" : "" });
        if (i !== undefined) {
          cell.tabIndex = -1;
          cell.dataset.part = i;
          cell.dataset.at = `${layer},${c}`;
          cells.set(i, cell);
        } else cell.setAttribute("aria-label", "none");
        row.append(cell);
      }
      grid.append(row);
    }
    const byPlace = (layer, c) => cells.get(at.get(`${layer},${c}`));
    grid.addEventListener("keydown", (event) => {
      const cell = event.target.closest("[data-at]");
      if (!cell) return;
      const [layer, c] = cell.dataset.at.split(",").map(Number);
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      let next = null;
      if (steps) {
        for (let k = 1; k <= depth + wide && !next; k++) next = byPlace(layer + k * steps[0], c + k * steps[1]);
      } else if (event.key === "Home") next = [...Array(wide).keys()].map((k) => byPlace(layer, k)).find(Boolean);
      else if (event.key === "End") next = [...Array(wide).keys()].map((k) => byPlace(layer, wide - 1 - k)).find(Boolean);
      else if (event.key === "Enter" || event.key === " ") lock(Number(cell.dataset.part));
      else return;
      event.preventDefault();
      if (next) move(next);
    });
    grid.addEventListener("mouseover", (event) => {
      const cell = event.target.closest("[data-part]");
      if (cell) cell.title = described(Number(cell.dataset.part));
    });
    box.replaceChildren(el("div", { class: "scroll" }, grid));
    const first = order.find((i) => cells.has(i));
    if (first !== undefined) cells.get(first).tabIndex = 0;
  };
  const move = (cell) => {
    grid.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    cell.tabIndex = 0;
    cell.focus();
  };
  const paintMap = () => {
    if (!grid) return;
    // On the scale of the heads: an MLP may be ten times as large, and would leave them white.
    const top = [...cells.keys()].filter((i) => data.kindNames[data.kinds[i]] === "head" && Number.isFinite(numbers[i]))
      .reduce((a, i) => Math.max(a, Math.abs(numbers[i])), 0);
    parts.scale.textContent = `Full colour: ${top.toFixed(top < 1 ? 3 : 2)} logits or more, of either sign.`;
    const large = grid.classList.contains("large");
    for (const [i, cell] of cells) {
      const x = numbers[i], share = Number.isFinite(x) ? Math.min(1, Math.abs(x) / (top || 1)) : 0;
      cell.className = `shade ${side(x)}${share > 0.92 ? " strong" : ""}`;
      cell.style.setProperty("--share", share.toFixed(3));
      cell.textContent = share > (large ? 0.5 : 0.15) ? mark(x) : "";
      cell.setAttribute("aria-label", described(i));
    }
    markMap();
  };
  const markMap = () => {
    grid?.querySelector("[aria-selected]")?.removeAttribute("aria-selected");
    cells.get(state.part)?.setAttribute("aria-selected", "true");
  };

  const steps = () => {
    const constant = sumOf("constant"), shown = order.slice(0, Math.min(12, here));
    const list = [{ name: "constant", x: constant, from: 0 }];
    let at = constant;
    for (const i of shown) {
      if (Number.isNaN(numbers[i])) continue;
      list.push({ name: data.labels[i], part: i, x: numbers[i], from: at });
      at += numbers[i];
    }
    if (here > 12) {
      const rest = order.slice(12, here).reduce((a, i) => a + (numbers[i] || 0), 0);
      list.push({ name: `${here - 12} other rows`, x: rest, from: at });
      at += rest;
    }
    const unseen = remainder();
    if (unseen) list.push({ ...unseen, from: at });
    return [...list, { name: "logit", x: sumOf("logit"), from: 0, total: true }];
  };
  const drawSteps = () => {
    if (!data.additive) {
      const low = numbers.reduce((a, b) => Math.min(a, b || 0), 0), high = numbers.reduce((a, b) => Math.max(a, b || 0), 0);
      parts.steps.replaceChildren(el("ol", { class: "steps" }, ...numbers.slice(0, 400).map((x, i) => el("li", {},
        partButton(i), track(0, x, low, high, x), el("span", { class: "number" }, signed(x))))));
      return;
    }
    const list = steps(), edges = list.flatMap(({ from, x }) => [from, from + x]).filter(Number.isFinite);
    const low = Math.min(0, ...edges), high = Math.max(0, ...edges);
    parts.steps.replaceChildren(el("ol", { class: "steps" }, ...list.map(({ name, part, x, from, total }) => el("li", {},
      part === undefined ? el("span", {}, name) : partButton(part),
      track(from, from + x, low, high, total || name === "constant" ? 0 : x),
      el("span", { class: `number ${total ? "" : side(x)}` }, signed(x))))));
  };

  const columns = () => [
    { name: "part", key: (i) => data.labels[i], text: true },
    { name: "kind", key: (i) => data.kindNames[data.kinds[i]], text: true, wide: true },
    { name: "layer", key: (i) => (layers[i] < 0 ? Infinity : layers[i]), show: (i) => (layers[i] < 0 ? "" : layers[i]), wide: true },
    { name: "logits", key: (i) => numbers[i], show: (i) => (isHere(i) ? signed(numbers[i]) : "left out") },
    ...(ends ? [{ name: data.endsName, key: (i) => ends.low[state.p * size + i],
      show: (i) => ["low", "high"].map((end) => signed(ends[end][state.p * size + i])).join(" to "), wide: true }] : []),
    { name: "size", key: (i) => -Math.abs(numbers[i]), wide: true, bar: true },
    { name: "rank", key: (i) => rank[i], show: (i) => (isHere(i) ? rank[i] : "") },
  ];
  const chosen = () => {
    const wanted = state.q.trim().toLowerCase();
    const kept = order.filter((i) => !wanted || data.labels[i].toLowerCase().includes(wanted) ||
      data.kindNames[data.kinds[i]].toLowerCase() === wanted);
    const back = state.s.startsWith("-"), name = back ? state.s.slice(1) : state.s;
    const column = columns().find((each) => each.name === name) || columns().find((each) => each.name === "size");
    const first = (a, b) => {
      const x = column.key(a), y = column.key(b);
      if (column.text) return x < y ? -1 : x > y ? 1 : 0;
      return (Number.isNaN(x) ? Infinity : x) - (Number.isNaN(y) ? Infinity : y) || 0;
    };
    return kept.sort((a, b) => (back ? -1 : 1) * first(a, b) || a - b);
  };
  const drawTable = () => {
    const list = chosen(), shown = list.slice(0, state.shown), name = state.s.replace(/^-/, "");
    const low = numbers.reduce((a, b) => (Number.isFinite(b) ? Math.min(a, b) : a), 0);
    const high = numbers.reduce((a, b) => (Number.isFinite(b) ? Math.max(a, b) : a), 0);
    const head = el("tr", {}, ...columns().map((column) => {
      const sorted = column.name !== name ? "none" : state.s.startsWith("-") ? "descending" : "ascending";
      return el("th", { scope: "col", class: `${column.wide ? "wide" : ""} ${column.text ? "word" : ""}`, "aria-sort": sorted },
        el("button", { type: "button", "data-sort": column.name }, column.name + ({ ascending: " ↑", descending: " ↓" }[sorted] || "")));
    }));
    const body = shown.map((i) => el("tr", { class: i === state.part ? "locked" : "" }, ...columns().map((column, c) => {
      if (!c) return el("th", { scope: "row" }, partButton(i));
      const look = `${column.wide ? "wide" : ""} ${column.text ? "word" : ""}`;
      if (column.bar) return el("td", { class: look }, track(0, numbers[i], low, high, numbers[i]));
      return el("td", { class: look }, String(column.show ? column.show(i) : column.key(i)));
    })));
    const table = el("table", {}, el("caption", {}, `${list.length} of ${size} rows${list.length > shown.length ? `, the first ${shown.length} shown` : ""}`),
      el("thead", {}, head), el("tbody", {}, ...body));
    const more = list.length > shown.length ? [el("button", { type: "button", class: "noprint", onclick: () => {
      state.shown += 500;
      drawTable();
    } }, "Show 500 more")] : [];
    parts.table.replaceChildren(el("div", { class: "scroll" }, table), ...more);
  };

  const promotedTable = (title, list) => el("table", {}, el("caption", {}, title), el("tbody", {}, ...list.map(([word, x]) => el("tr", {},
    el("th", { scope: "row", dir: "auto" }, quoted(word)), el("td", {}, signed(x))))));
  const drawDetails = () => {
    const box = parts.details, i = state.part;
    if (i < 0) {
      box.replaceChildren(el("p", { class: "soft" }, "Choose a part by a click, or with Enter on the map, to see what it reads and writes. Escape lets it go."));
      return;
    }
    const children = [el("p", {}, el("strong", {}, described(i))),
      el("p", {}, el("button", { type: "button", onclick: () => lock(-1) }, "Let go"))];
    const found = sourcesOf(i, state.p);
    if (found) {
      const prompt = data.places[state.p][0];
      const list = Array.from(found.tokens).map((x, s) => [s, x]).filter(([, x]) => x !== 0 && !Number.isNaN(x))
        .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 8);
      children.push(el("h3", {}, "Reads most from"), el("ol", { class: "steps" }, ...list.map(([s, x]) => el("li", {},
        el("span", {}, `${s} `, el("bdi", {}, quoted(token(prompt, s)))), track(0, x, Math.min(0, ...list.map((e) => e[1])), Math.max(0, ...list.map((e) => e[1])), x),
        el("span", { class: `number ${side(x)}` }, signed(x))))));
      if (found.bias) children.push(el("p", { class: "soft" }, `Its value bias, which comes from no token: ${signed(found.bias)}.`));
    } else if (sources && sources.at.has(i)) {
      children.push(el("p", { class: "soft" }, "What it reads is shown at one position: choose one above."));
    } else if (data.kindNames[data.kinds[i]] === "head" && !data.groups) {
      children.push(el("p", { class: "soft" }, "Which tokens it reads was not computed: report(..., sources=64)."));
    }
    const promoted = data.promoted && data.promoted[i];
    if (promoted) children.push(el("h3", {}, places > 1 ? "Tokens that it promotes, on average" : "Tokens that it promotes"), promotedTable("up", promoted.up), promotedTable("down", promoted.down));
    if (!data.groups && places > 1 && (!placeOf || placeOf.has(i))) {
      const prompt = data.places[Math.max(0, state.p)][0];
      const at = new Array((data.prompts[prompt] || []).length).fill(NaN);
      data.places.forEach(([other, position], p) => { if (other === prompt) at[position] = valueAt(i, state.d, p); });
      children.push(el("h3", {}, "Its value at each position"), tokensOf(prompt, at, `${data.labels[i]} at each position`, state.p));
    } else if (placeOf && !placeOf.has(i)) {
      children.push(el("p", { class: "soft" }, "Its value at each position was left out; the mean is shown."));
    }
    const examples = data.examples && data.examples[i];
    if (examples) children.push(el("h3", {}, "Prompts on which it is largest and smallest"), el("table", {}, el("tbody", {},
      ...examples.map(([text, x]) => el("tr", {}, el("th", { scope: "row", dir: "auto" }, text), el("td", {}, signed(x)))))));
    box.replaceChildren(...children);
  };

  // --- files that the reader saves -----------------------------------------------------------------------------
  const save = (name, type, text) => {
    const link = el("a", { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const cell = (x) => {
    const text = typeof x === "string" && /^[=+\-@\t\r\n＝＋－＠]/.test(x) ? `'${x}` : String(x);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = () => ["part,kind,layer,head,logits,rank", ...chosen().filter(isHere).map((i) => [data.labels[i], data.kindNames[data.kinds[i]],
    layers[i] < 0 ? "" : layers[i], heads[i] < 0 ? "" : heads[i], numbers[i], rank[i]].map(cell).join(","))].join("\r\n") + "\r\n";
  const svg = () => {
    const list = data.additive ? steps() : numbers.slice(0, 60).map((x, i) => ({ name: data.labels[i], x, from: 0 }));
    const edges = list.flatMap(({ from, x }) => [from, from + x]).filter(Number.isFinite);
    const low = Math.min(0, ...edges), span = Math.max(0, ...edges) - low || 1, scale = (x) => 150 + (380 * (x - low)) / span;
    const text = (x) => x.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
    const lines = list.map(({ name, x, from, total }, i) => {
      const y = 34 + 20 * i, a = scale(Math.min(from, from + x)), b = scale(Math.max(from, from + x));
      const fill = total || name === "constant" ? "#8a8a8a" : x > 0 ? "#0072b2" : "#d55e00";
      return `<text x="142" y="${y + 11}" text-anchor="end">${text(name)}</text><rect x="${a.toFixed(1)}" y="${y}" width="${Math.max(1, b - a).toFixed(1)}" height="14" fill="${fill}"/>` +
        `<text x="540" y="${y + 11}">${signed(x)}</text>`;
    });
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 ${50 + 20 * list.length}" font-family="sans-serif" font-size="11">` +
      `<rect width="100%" height="100%" fill="#fff"/><text x="10" y="18" font-weight="bold">${text(data.directions[state.d])}</text>${lines.join("")}</svg>\n`;
  };

  // --- state ---------------------------------------------------------------------------------------------------
  const lock = (i) => {
    state.part = i === state.part ? -1 : i;
    if (parts.prompt) drawPrompt();
    markMap();
    for (const button of page.querySelectorAll("button[data-part]")) {
      const now = Number(button.dataset.part) === state.part;
      button.setAttribute("aria-pressed", now);
      button.closest("tr")?.classList.toggle("locked", now);
    }
    drawDetails();
    remember();
  };
  const remember = () => {
    const words = new URLSearchParams();
    if (state.d) words.set("d", state.d);
    if (state.p !== usual) words.set("p", state.p);
    if (state.part >= 0) words.set("part", data.labels[state.part]);
    if (state.q) words.set("q", state.q);
    if (state.s !== "size") words.set("s", state.s);
    const hash = `#${words}`;
    if (hash !== (location.hash || "#")) history.replaceState(null, "", hash);
  };
  const recall = () => {
    const words = new URLSearchParams(location.hash.slice(1));
    const number = (name, low, high, usual) => {
      const x = words.has(name) ? Number(words.get(name)) : usual;
      return Number.isInteger(x) && x >= low && x <= high ? x : usual;
    };
    state.d = number("d", 0, data.directions.length - 1, 0);
    state.p = number("p", Math.min(usual, 0), places - 1, usual);
    state.part = data.labels.indexOf(words.get("part"));
    state.q = words.get("q") || "";
    state.s = words.get("s") || "size";
  };
  const redraw = (controls) => {
    measure();
    if (controls) drawControls();
    parts.verdict.replaceChildren(el("p", {}, verdict()), ...(data.additive ? [el("p", {}, strongest())] : []),
      ...data.notes.map((note) => el("p", { class: "soft" }, note)));
    if (parts.prompt) drawPrompt();
    paintMap();
    drawSteps();
    drawTable();
    drawDetails();
    remember();
  };

  const build = () => {
    const hasMap = data.kinds.filter((k) => data.kindNames[k] === "head").length > 1;
    const wideMap = heads.reduce((a, b) => Math.max(a, b), 0) > 24;  // it has the whole width
    const map = hasMap ? [section("map", "Layers and heads", el("p", { class: "soft" },
      "Layer 0 on top. ▲ blue adds to the logit, ▼ vermilion takes from it. Arrow keys move, Enter chooses. ",
      (parts.scale = el("span"))))] : [];
    const filter = el("input", { type: "search", id: "filter", "aria-label": "Filter by label or kind", placeholder: "L9H6, head, …" });
    filter.value = state.q;
    filter.addEventListener("input", () => {
      state.q = filter.value;
      state.shown = 50;
      drawTable();
      remember();
    });
    parts.controls = el("div");
    const about = el("details", {}, el("summary", {}, "How this was made"), el("dl", {}, ...data.about.flatMap(([name, text]) =>
      [el("dt", {}, name), el("dd", {}, text)])));
    page.replaceChildren(
      el("h1", {}, data.title), el("p", { class: "soft" }, data.subtitle), parts.controls,
      el("div", { id: "content" },
        section("verdict", "In words"),
        ...(data.prompts.length ? [section("prompt", data.prompts.length > 1 ? "Prompts" : "Prompt")] : []),
        ...(wideMap ? map : []),
        el("div", { class: "columns" },
          el("div", {},
            ...(wideMap ? [] : map),
            section("steps", data.additive ? "From the constant to the logit" : "The stream over depth")),
          el("aside", { "aria-labelledby": "h-details", "aria-live": "polite", tabindex: 0 }, el("h2", { id: "h-details" }, "The chosen part"),
            (parts.details = el("div")))),
        section("table", "All rows", el("div", { class: "controls" }, el("label", {}, "Filter", filter),
          el("button", { type: "button", id: "csv", onclick: () => save("attribution.csv", "text/csv", csv()) }, "Save CSV"),
          el("button", { type: "button", id: "svg", onclick: () => save("attribution.svg", "image/svg+xml", svg()) }, "Save SVG")))),
      about);
    measure();
    if (hasMap) drawMap();
    page.addEventListener("click", (event) => {
      const part = event.target.closest("[data-part]"), sort = event.target.closest("[data-sort]");
      const at = event.target.closest("[data-place]");
      if (part) {
        if (part.dataset.at) move(part);
        lock(Number(part.dataset.part));
      } else if (sort) {
        const name = sort.dataset.sort;
        state.s = state.s === name ? `-${name}` : name;
        drawTable();
        remember();
        document.querySelector(`[data-sort="${name}"]`).focus();
      } else if (at) {
        state.p = Number(at.dataset.place);
        redraw(true);
      }
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && state.part >= 0) lock(-1);
    });
    window.addEventListener("hashchange", () => {
      recall();
      filter.value = state.q;
      redraw(true);
    });
    redraw(true);
  };
  recall();
  build();
})();
