/* The alignment figure of XM Lens: the same in the page, in a notebook and in an exported file.

   window.XmAlignment.mount(element, payload) draws, .unmount(element) removes; xm/figures/alignment.py makes the payload
   and says what is in it. Dispatches a bubbling "xm-pin" on the element. Every string goes in by textContent.
   Leaves out: scores (they arrive computed; here they are only added up, rounded and laid out) and any request. */
(function () {
  "use strict";

  const LOW = -0.2, HIGH = 1;             // ends of the one colour scale, cosine
  const DARKEST_SHARE = 0.2;              // a passage word with this much of the score, or more, has the darkest tint
  const NARROW = 600;                     // pixels: below it, the list is shown before the heatmap
  const MIN_CELL = 27, MAX_CELL = 44;     // pixels: ".83" fits the narrowest
  const LABEL_CHARS = 40, TEXT_CHARS = 200, UNSEEN_CHARS = 300;
  const TOLERANCE = 1e-5;                 // between the score that came and the sum of its rows
  const KINDS = ["content", "marker", "mask"];
  const PLURAL = { content: "words", marker: "markers", mask: "masks" };
  const SCRIPT_OF = { zh_CN: "zh-Hans", zh_TW: "zh-Hant" };
  // The browser knows the English names of languages; these are the ones that xm.languages words otherwise.
  const NAME_OF = { zh_CN: "Chinese (simplified)", zh_TW: "Chinese (traditional)", bn_IN: "Bengali", tl_XX: "Tagalog" };
  const figures = new WeakMap();
  const remembered = { mode: "words" };   // a reader who asked for tokens keeps them in the next alignment

  // ---- elements and words ----------------------------------------------------------------------------------------

  /** Make an element; children are nodes or strings, and strings become text, never markup. */
  function el(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  }

  function attributes(node, values) {
    for (const [name, value] of Object.entries(values)) if (value !== null) node.setAttribute(name, value);
    return node;
  }

  /** Show control characters as their pictures, and keep overrides from reordering what follows. */
  function printable(text) {
    return text
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, (char) => String.fromCharCode(0x2400 + char.charCodeAt(0)))
      .replace(/\u007f/g, "\u2421").replace(/[\u202d\u202e]/g, "\ufffd");
  }

  function short(text, limit = LABEL_CHARS) {
    const chars = text.length > limit ? Array.from(text) : null;
    const cut = chars && chars.length > limit
      ? `${chars.slice(0, limit).join("")}… (${chars.length.toLocaleString("en")} characters)` : text;
    return printable(cut);
  }

  /** A person's or a file's words inside our own sentence: isolated, so that their direction stays theirs. */
  function quoted(text) {
    return el("span", "", "“", el("bdi", "", short(text)), "”");
  }

  /** Digits inside a right-to-left grid keep their own order. */
  function digits(text) {
    return attributes(el("span", "", text), { dir: "ltr" });
  }

  function languageTag(code) {
    return SCRIPT_OF[code] || code.split("_")[0];
  }

  function languageName(code) {
    if (NAME_OF[code]) return NAME_OF[code];
    try {
      return new Intl.DisplayNames(["en"], { type: "language" }).of(languageTag(code));
    } catch (error) {
      if (error instanceof RangeError || error instanceof TypeError) return code;
      throw error;
    }
  }

  const minus = (text) => text.replace("-", "−");
  const cosine = (value) => minus(value.toFixed(2));
  const inCell = (value) => cosine(value).replace(/^(−?)0\./, "$1.");
  const amountText = (thousandths) => minus((thousandths / 1000).toFixed(3));
  const shareText = (tenths) => (tenths === null ? "–" : `${minus((tenths / 10).toFixed(1))} %`);
  const rowsText = (count) => (count === 1 ? "1 row" : `${count} rows`);

  // ---- numbers ---------------------------------------------------------------------------------------------------

  function decodeFloats(base64) {
    const binary = atob(base64), bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i += 1) bytes[i] = binary.charCodeAt(i);
    return new Float32Array(bytes.buffer);
  }

  /** Round values to integers that add up to `total`, each up or down by less than one (largest remainder). */
  function spread(total, values) {
    const whole = values.map(Math.floor);
    const order = values.map((value, index) => index).sort((a, b) => (values[b] - whole[b]) - (values[a] - whole[a]));
    let missing = total - whole.reduce((sum, value) => sum + value, 0);
    for (let i = 0; missing > 0; i = (i + 1) % order.length, missing -= 1) whole[order[i]] += 1;
    for (let i = order.length - 1; missing < 0; i = (i || order.length) - 1, missing += 1) whole[order[i]] -= 1;
    return whole;
  }

  const sumOf = (values, ids) => ids.reduce((sum, id) => sum + values[id], 0);

  /** Round a side's values so that kinds add up to the total, words to their kind and tokens to their word. */
  function ledger(side, values, total, scale) {
    const book = { kind: {}, word: [], token: [] };
    const kinds = KINDS.filter((kind) => side.kinds.includes(kind));
    const wordsOf = kinds.map((kind) => side.words.flatMap((ids, w) => (side.kinds[ids[0]] === kind ? [w] : [])));
    const wordValue = (word) => scale * sumOf(values, side.words[word]);
    const kindValues = wordsOf.map((words) => words.reduce((sum, word) => sum + wordValue(word), 0));
    spread(total, kindValues).forEach((kindTotal, k) => {
      book.kind[kinds[k]] = kindTotal;
      spread(kindTotal, wordsOf[k].map(wordValue)).forEach((wordTotal, w) => {
        const word = wordsOf[k][w], ids = side.words[word];
        book.word[word] = wordTotal;
        spread(wordTotal, ids.map((id) => scale * values[id])).forEach((part, i) => { book.token[ids[i]] = part; });
      });
    });
    return book;
  }

  /** Read the payload once: decoded cells, characters, credits of passage tokens, and every number as displayed. */
  function read(payload) {
    const data = { ...payload, cells: decodeFloats(payload.similarity.float32), nPassage: payload.similarity.shape[1] };
    const { query, passage, contribution, best, score } = payload;
    for (const side of [query, passage]) data[side === query ? "queryChars" : "passageChars"] = Array.from(side.text);
    const credit = new Array(data.nPassage).fill(0), won = new Array(data.nPassage).fill(0);
    best.forEach((winner, row) => { credit[winner] += contribution[row]; won[winner] += 1; });
    const total = Math.round(score * 1000), perTenth = score > 0 ? 1000 / score : null;
    const nothing = { kind: {}, word: [], token: [] };
    return Object.assign(data, {
      credit, won, total,
      amount: ledger(query, contribution, total, 1000),
      share: perTenth ? ledger(query, contribution, 1000, perTenth) : nothing,
      creditAmount: ledger(passage, credit, total, 1000),
      creditShare: perTenth ? ledger(passage, credit, 1000, perTenth) : nothing,
    });
  }

  function tokenText(side, chars, id) {
    const [start, end] = side.offsets[id];
    return end > start ? chars.slice(start, end).join("") : side.tokens[id];
  }

  /** The characters [start, end) of a unit; null for markers, masks and a lone space, which have none. */
  function spanOf(side, ids) {
    const spans = ids.map((id) => side.offsets[id]).filter(([start]) => start >= 0);
    return spans.length ? [spans[0][0], Math.max(...spans.map(([, end]) => end))] : null;
  }

  function wordText(side, chars, ids) {
    const span = spanOf(side, ids);
    return span ? chars.slice(...span).join("") : side.tokens[ids[0]];
  }

  /** One text's words, or its tokens: each with its label, its token ids and its place in the ledgers. */
  function unitsOf(side, chars, mode) {
    const wordUnits = side.words.map((ids, word) => (
      { ids, kind: side.kinds[ids[0]], text: wordText(side, chars, ids), label: wordText(side, chars, ids), word }));
    if (mode === "words") return wordUnits;
    return wordUnits.flatMap((unit) => unit.ids.map((id, i) => {
      const text = tokenText(side, chars, id);
      return { ids: [id], kind: unit.kind, text, label: i ? `·${text}` : text, token: id };
    }));
  }

  const entry = (book, unit) => {
    const value = unit.group ? book.kind[unit.kind] : unit.token === undefined ? book.word[unit.word] : book.token[unit.token];
    return value === undefined ? null : value;
  };

  function columnsOf(data, mode) {
    return unitsOf(data.passage, data.passageChars, mode).map((unit) => ({
      ...unit,
      won: sumOf(data.won, unit.ids),
      value: sumOf(data.credit, unit.ids),
      amount: entry(data.creditAmount, unit),
      share: entry(data.creditShare, unit),
    }));
  }

  /** Content rows, then a row per group of special tokens, followed by its tokens where it is open. */
  function rowsOf(data, mode, open, columns) {
    const units = unitsOf(data.query, data.queryChars, mode);
    const rows = units.filter((unit) => unit.kind === "content");
    for (const kind of ["marker", "mask"]) {
      const members = unitsOf(data.query, data.queryChars, "tokens").filter((unit) => unit.kind === kind);
      if (!members.length) continue;
      const name = `${PLURAL[kind]} (${members.length})`;
      rows.push({ ids: members.flatMap((unit) => unit.ids), kind, text: PLURAL[kind], label: name, group: true });
      const numbered = members.map((unit, i) => ({ ...unit, label: `${unit.text} ${i + 1}`, member: true }));
      if (open.has(kind)) rows.push(...(kind === "mask" ? numbered : members.map((unit) => ({ ...unit, member: true }))));
    }
    const columnOf = [];
    columns.forEach((column, c) => column.ids.forEach((id) => { columnOf[id] = c; }));
    return rows.map((row) => ({ ...row, ...outcome(data, row, columns, columnOf) }));
  }

  function highest(data, queryIds, passageIds) {
    let top = -Infinity;
    for (const q of queryIds) for (const p of passageIds) top = Math.max(top, data.cells[q * data.nPassage + p]);
    return top;
  }

  /** What a row came to: its cells, the columns its tokens chose, and the column that gave it most. */
  function outcome(data, row, columns, columnOf) {
    const cells = columns.map((column) => highest(data, row.ids, column.ids));
    const gains = new Map();
    for (const id of row.ids) {
      const column = columnOf[data.best[id]];
      gains.set(column, (gains.get(column) || 0) + data.contribution[id]);
    }
    const chosen = [...gains.keys()].sort((a, b) => gains.get(b) - gains.get(a) || a - b);
    return {
      cells, chosen, best: chosen[0], value: sumOf(data.contribution, row.ids),
      amount: entry(data.amount, row), share: entry(data.share, row),
    };
  }

  // ---- colours ---------------------------------------------------------------------------------------------------

  function isDark(host) {
    if (host.closest(".dark")) return true;
    if (host.closest(".light, .gradio-container")) return false;
    return window.matchMedia("(prefers-color-scheme: dark)").matches;
  }

  /** Read the colour scale from the stylesheet, where the legend takes it from too; outside a page there is none yet. */
  function colourScale(root) {
    const written = getComputedStyle(root).getPropertyValue("--xm-scale") || "#ffffff, #000000";
    const stops = written.split(",").map((stop) => stop.trim())
      .map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    return (value) => {
      const place = Math.min(Math.max((value - LOW) / (HIGH - LOW), 0), 1) * (stops.length - 1);
      const low = Math.min(Math.floor(place), stops.length - 2);
      return stops[low].map((channel, i) => Math.round(channel + (place - low) * (stops[low + 1][i] - channel)));
    };
  }

  /** Black or white, whichever stands out more (WCAG 2 relative luminance): never below 4.58 to 1. */
  function inkOn(rgb) {
    const [r, g, b] = rgb.map((channel) => channel / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
  }

  function paintCell(figure, node, value) {
    const rgb = figure.colour(value);
    node.style.backgroundColor = `rgb(${rgb.join(",")})`;
    node.style.color = inkOn(rgb);
  }

  /** One canvas pixel a cell, stretched by the stylesheet: sharp at every zoom and painted at once. */
  function paint(figure) {
    const { rows, columns, canvas } = figure;
    canvas.width = columns.length;
    canvas.height = rows.length;
    const picture = new ImageData(columns.length, rows.length);
    rows.forEach((row, r) => row.cells.forEach((value, c) => {
      picture.data.set([...figure.colour(value), 255], 4 * (r * columns.length + c));
    }));
    canvas.getContext("2d").putImageData(picture, 0, 0);
    figure.painted.forEach(({ node, value }) => paintCell(figure, node, value));
  }

  function applyTheme(figure) {
    figure.root.dataset.theme = isDark(figure.host) ? "dark" : "light";
    figure.colour = colourScale(figure.root);
    figure.themed = figure.root.isConnected;
    if (figure.canvas) paint(figure);
  }

  // ---- header ----------------------------------------------------------------------------------------------------

  function chip(name, side) {
    const { code, source, margin, runner_up: runnerUp } = side.adapter;
    const over = source === "detected" ? `, margin ${margin.toFixed(2)}${runnerUp ? ` over ${runnerUp}` : ""}` : "";
    return el("span", "chip", el("span", "chip-side", name), el("strong", "", languageName(code)), " ",
      el("code", "", code), el("span", "chip-source", `${source}${over}`));
  }

  function header(data) {
    const chips = el("div", "chips", chip("query", data.query), el("span", "arrow", "→"), chip("passage", data.passage));
    const badge = el("span", `badge ${data.exact ? "exact" : "approximate"}`, data.exact ? "exact" : "approximate");
    badge.title = data.exact ? "full MaxSim on full vectors" : "read from a compressed index";
    const facts = el("div", "facts", badge, ...[data.model, data.passage_id].filter(Boolean).map((fact) => el("bdi", "", short(fact))));
    return el("div", "top", el("div", "line", chips, facts), equation(data), proof(data));
  }

  /** The score and its parts as they are displayed: the digits on screen add up. */
  function equation(data) {
    const kinds = KINDS.filter((kind) => data.amount.kind[kind] !== undefined);
    const line = el("p", "equation", el("span", "score-word", "score "), el("strong", "score", amountText(data.total)), el("span", "sign", " = "));
    kinds.forEach((kind, i) => {
      if (i) line.append(el("span", "sign", " + "));
      line.append(el("span", `part ${kind}`, el("strong", "", amountText(data.amount.kind[kind])), ` ${PLURAL[kind]}`));
    });
    const strip = attributes(el("div", "strip"), { "aria-hidden": "true" });
    for (const kind of kinds) {
      const piece = el("span", kind);
      piece.style.flexGrow = Math.max(data.amount.kind[kind], 0);
      strip.append(piece);
    }
    return el("div", "sum", line, strip);
  }

  function proof(data) {
    const sum = data.contribution.reduce((total, value) => total + value, 0);
    const difference = Math.abs(sum - data.score);
    const rounded = Math.round(sum * 1000);
    const mark = difference <= TOLERANCE ? "✓" : "✗";
    const digits = difference.toExponential(1).replace("e+", "e");
    return el("p", "proof", `sum of ${rowsText(data.contribution.length)} = ${amountText(rounded)} ${mark} (difference ${digits})`);
  }

  // ---- texts -----------------------------------------------------------------------------------------------------

  function textBlock(figure, name, side, chars, units) {
    const words = attributes(el("p", `text ${name}-text`), { dir: side.dir, lang: languageTag(side.adapter.code) });
    const covered = chars.length - (side.n_unseen || 0);
    let position = 0;
    for (const unit of units) {
      const span = spanOf(side, unit.ids);
      if (!span) continue;
      const start = Math.max(position, span[0]), end = Math.max(start, span[1]);
      if (start > position) words.append(short(chars.slice(position, start).join(""), TEXT_CHARS));
      if (end > start) words.append(textWord(figure, name, unit, chars.slice(start, end).join("")));
      position = end;
    }
    const end = Math.max(covered, position);
    words.append(short(chars.slice(position, end).join(""), TEXT_CHARS));
    if (side.n_unseen) words.append(unseen(chars.slice(end), side.n_unseen));
    return words;
  }

  function unseen(rest, nUnseen) {
    const shown = printable(rest.slice(0, UNSEEN_CHARS).join(""));
    return el("span", "unseen", shown, rest.length > UNSEEN_CHARS ? "… " : " ",
      el("span", "unseen-note", `${nUnseen.toLocaleString("en")} characters unseen`));
  }

  /** A word of a running text; in the passage it is tinted by its share of the score and says how many rows it won. */
  function textWord(figure, name, unit, text) {
    const node = el("span", "word", short(text, TEXT_CHARS));
    if (name === "passage") {
      const share = figure.data.score > 0 ? Math.max(unit.value / figure.data.score, 0) : 0;
      node.style.setProperty("--tint", Math.min(Math.sqrt(share / DARKEST_SHARE), 1).toFixed(3));
      if (unit.won) {
        node.classList.add("won");
        node.append(attributes(el("sup", "", String(unit.won)), { "aria-label": ` (won ${rowsText(unit.won)})`, role: "img" }));
      }
    }
    return register(figure, node, name, unit);
  }

  function texts(figure) {
    const { data } = figure;
    const queryUnits = unitsOf(data.query, data.queryChars, figure.mode);
    const query = el("section", "block", el("h3", "", "Query"), textBlock(figure, "query", data.query, data.queryChars, queryUnits));
    const passage = textBlock(figure, "passage", data.passage, data.passageChars, figure.allColumns);
    const extra = figure.allColumns.filter((column) => !spanOf(data.passage, column.ids));
    const line = el("p", "specials", "markers ", ...extra.flatMap((unit) => [textWord(figure, "passage", unit, unit.text), " "]));
    const key = el("span", "tint-key", "share of the score",
      ...[["0", "0 %"], ["0.224", "1 %"], ["0.5", "5 %"], ["1", "20 % or more"]].map(([tint, label]) => {
        const swatch = el("span", "swatch", label);
        swatch.style.setProperty("--tint", tint);
        return swatch;
      }), " ", el("sup", "", "n"), " won n rows");
    return [query, el("section", "block", el("div", "line", el("h3", "", "Passage"), key), passage, extra.length ? line : "")];
  }

  // ---- heatmap ---------------------------------------------------------------------------------------------------

  /** A row's part of the score as a length; a group's would dwarf the words', so it is a share in digits. */
  function bar(figure, row) {
    if (row.group) return el("span", "bar share", digits(shareText(row.share)));
    const fill = el("span", `fill ${row.kind}`);
    fill.style.inlineSize = `${(100 * Math.max(row.value, 0) / figure.largest).toFixed(2)}%`;
    return el("span", "bar", fill);
  }

  function rowHead(figure, row, r) {
    const label = attributes(el("bdi", "label", short(row.label)), { lang: row.kind === "content" ? languageTag(figure.data.query.adapter.code) : null });
    label.title = short(row.label, TEXT_CHARS);
    const head = el("div", `head ${row.kind}${row.group ? " group" : ""}${row.member ? " member" : ""}`,
      label, bar(figure, row), el("span", "amount", digits(amountText(row.amount))));
    const best = figure.columns[row.best];
    attributes(head, {
      role: "rowheader", tabindex: "-1", "aria-colindex": "1", "aria-expanded": row.group ? String(figure.open.has(row.kind)) : null,
      "aria-label": `${short(row.label)}: ${amountText(row.amount)}, ${shareText(row.share)} of the score, most from ${short(best.label)}`,
    });
    figure.places.set(head, { r, c: -1 });
    return register(figure, head, "query", row);
  }

  function columnHead(figure, column, c) {
    const tag = languageTag(figure.data.passage.adapter.code);
    const upright = /^(zh|ja|ko)/.test(tag) || figure.data.passage.dir === "rtl";
    const label = attributes(el("span", upright ? "label upright" : "label", short(column.label)), { dir: "auto", lang: tag });
    const head = el("div", `column ${column.kind}${column.won ? " won" : ""}`, label);
    head.title = short(column.label, TEXT_CHARS);
    const credit = column.won ? `won ${rowsText(column.won)}, ${amountText(column.amount)}` : "won no row";
    attributes(head, { role: "columnheader", tabindex: "-1", "aria-colindex": String(c + 2), "aria-label": `${short(column.label)}: ${credit}` });
    figure.places.set(head, { r: -1, c });
    return register(figure, head, "passage", column);
  }

  function winner(figure, row, c) {
    const node = attributes(el("span", "winner", digits(inCell(row.cells[c]))), { "aria-hidden": "true" });
    node.style.setProperty("--c", c);
    figure.painted.push({ node, value: row.cells[c] });
    return node;
  }

  /** Rows and columns are elements, the cells one small canvas; the cell in focus becomes an element of its own. */
  function heatmap(figure) {
    const { rows, columns, data } = figure;
    const towards = data.passage.dir === "rtl" ? "← passage" : "passage →";
    const corner = el("div", "corner", el("span", "", "query ↓"), el("span", "", "sum of best"), el("span", "", digits(towards)));
    attributes(corner, { role: "columnheader", "aria-colindex": "1", "aria-label": "query and the sum of its best cells" });
    const names = attributes(el("div", "names", corner, ...columns.map((column, c) => columnHead(figure, column, c))), { role: "row", "aria-rowindex": "1" });
    figure.rowNodes = rows.map((row, r) => {
      const cells = el("div", "cells", ...row.chosen.map((c) => winner(figure, row, c)));
      const node = el("div", `row${row.group ? " group" : ""}`, rowHead(figure, row, r), cells);
      return attributes(node, { role: "row", "aria-rowindex": String(r + 2) });
    });
    figure.columnNodes = [...names.children].slice(1);
    figure.canvas = attributes(el("canvas"), { "aria-hidden": "true" });
    figure.columnMark = attributes(el("div", "column-mark"), { "aria-hidden": "true", hidden: "" });
    figure.probe = attributes(el("span", "probe"), { "aria-hidden": "true" });
    const body = attributes(el("div", "body", figure.canvas, attributes(el("div", "lines"), { "aria-hidden": "true" }), figure.columnMark, ...figure.rowNodes), { role: "rowgroup" });
    const grid = attributes(el("div", "grid", attributes(el("div", "names-group", names), { role: "rowgroup" }), body), {
      role: "grid", dir: data.passage.dir, "aria-label": "Similarity of every query word with every passage word",
      "aria-rowcount": String(rows.length + 1), "aria-colcount": String(columns.length + 1),
    });
    grid.style.setProperty("--n-columns", columns.length);
    grid.style.setProperty("--n-rows", rows.length);
    figure.grid = grid;
    return attributes(el("div", "scroll", grid), { dir: data.passage.dir });
  }

  function listView(figure) {
    const items = figure.rows.map((row) => {
      const best = figure.columns[row.best];
      const arrow = row.group ? [] : [el("span", "arrow", " → "), el("bdi", "", short(best.label))];
      const button = el("button", `item ${row.kind}${row.group ? " group" : ""}${row.member ? " member" : ""}`,
        el("span", "pair", el("bdi", "label", short(row.label)), ...arrow), el("span", "amount", amountText(row.amount)), bar(figure, row));
      attributes(button, { type: "button", "aria-expanded": row.group ? String(figure.open.has(row.kind)) : null });
      return el("li", "", register(figure, button, "query", row));
    });
    figure.items = items.map((item) => item.firstChild).filter((item) => !figure.groups.has(item));
    return el("ol", "list", ...items);
  }

  function legend() {
    const ticks = [-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1].map((value) => el("span", "", minus(String(value))));
    return el("div", "legend", el("span", "legend-name", "cosine similarity"), el("div", "ramp-box", el("div", "ramp"), el("div", "ticks", ...ticks)));
  }

  function switchOf(label, className, choices, chosen, onChoose) {
    const buttons = choices.map(([value, text]) => {
      const button = attributes(el("button", "", text), { type: "button", "aria-pressed": String(value === chosen) });
      button.addEventListener("click", () => onChoose(value));
      return button;
    });
    return attributes(el("div", `switch ${className}`, ...buttons), { role: "group", "aria-label": label });
  }

  function caption(mode) {
    const cell = mode === "words"
      ? "A cell is the highest cosine similarity between a token of the query word and a token of the passage word."
      : "A cell is the cosine similarity of two tokens; a dot marks a token that continues a word.";
    return el("p", "caption", `${cell} Every query token takes its best passage token, outlined; a bar adds up what the tokens of its row took. `
      + "Displayed parts are rounded up or down so that they add up.");
  }

  // ---- notes and table -------------------------------------------------------------------------------------------

  function notes(data) {
    const items = data.notes.map((note) => el("li", "", printable(note)));
    return items.length ? el("section", "notes", el("h3", "", "Worth knowing"), el("ul", "", ...items)) : "";
  }

  function table(figure) {
    const { data } = figure;
    const head = el("tr", "", ...["token", "kind", "best passage token", "similarity", "share of the score"].map(
      (name) => attributes(el("th", "", name), { scope: "col" })));
    const body = data.best.map((winnerId, id) => el("tr", "",
      attributes(el("th", "", el("bdi", "", short(data.query.tokens[id]))), { scope: "row" }), el("td", "", data.query.kinds[id]),
      el("td", "", el("bdi", "", short(data.passage.tokens[winnerId]))), el("td", "number", amountText(data.amount.token[id])),
      el("td", "number", shareText(data.score > 0 ? data.share.token[id] : null))));
    const total = el("tr", "", attributes(el("th", "", "total"), { scope: "row" }), el("td"), el("td"),
      el("td", "number", amountText(data.total)), el("td", "number", data.score > 0 ? "100.0 %" : "–"));
    const details = el("details", "twin", el("summary", "", "The same as a table"), el("div", "table-scroll",
      attributes(el("table", "", el("thead", "", head), el("tbody", "", ...body), el("tfoot", "", total)), { "aria-label": "Query tokens, their best passage tokens and similarities" })));
    details.querySelector(".table-scroll").tabIndex = 0;
    return details;
  }

  /** Say the picture in words: the query words that count most, each with its best passage word. */
  function altText(data) {
    const columns = columnsOf(data, "words");
    const rows = rowsOf(data, "words", new Set(), columns).filter((row) => row.kind === "content");
    const pairs = rows.sort((a, b) => b.value - a.value).slice(0, 6)
      .map((row) => `${short(row.label)} → ${short(columns[row.best].label)} ${cosine(row.cells[row.best])}`);
    return `Alignment of the query “${short(data.query.text, TEXT_CHARS)}” with a passage: score ${amountText(data.total)}. ${pairs.join("; ")}.`;
  }

  // ---- reading and pinning ---------------------------------------------------------------------------------------
  // A selection is {q, p}: query token ids or null, passage token ids or null. It outlives a change of words or tokens.

  function register(figure, node, side, unit) {
    figure.marks.push({ node, side, ids: unit.ids });
    figure.selections.set(node, side === "query" ? { q: unit.ids, p: null } : { q: null, p: unit.ids });
    if (unit.group) figure.groups.set(node, unit.kind);
    return node;
  }

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const covers = (unit, ids) => ids !== null && ids.every((id) => unit.ids.includes(id));
  const find = (units, ids) => units.find((unit) => covers(unit, ids)) || (ids && units.find((unit) => unit.ids.includes(ids[0]))) || null;
  const findRow = (figure, ids) => figure.rows.find((row) => !row.group && covers(row, ids)) || find(figure.rows, ids);

  function rowSentence(figure, row) {
    const { data } = figure;
    if (row.group) {
      const most = row.chosen.slice(0, 3).flatMap((c, i) => [i ? ", " : "", quoted(figure.columns[c].label)]);
      return [el("bdi", "", row.label), `: ${amountText(row.amount)}, ${shareText(row.share)} of the score; most from `, ...most];
    }
    const column = figure.columns[row.best];
    const here = row.ids.filter((id) => column.ids.includes(data.best[id])).length;
    const several = row.ids.length > 1 ? ` (${here} of its ${row.ids.length} tokens chose it; ${amountText(row.amount)} in all)` : "";
    return [quoted(row.text), " → ", quoted(column.text), ` ${cosine(row.cells[row.best])}, ${shareText(row.share)} of the score${several}`];
  }

  function columnSentence(figure, column) {
    if (!column.won) return [quoted(column.text), " won no row"];
    const rows = figure.rows.filter((row) => !row.member && row.ids.some((id) => column.ids.includes(figure.data.best[id])));
    const names = rows.slice(0, 6).flatMap((row, i) => [i ? ", " : "", row.group ? row.text : quoted(row.text)]);
    return [quoted(column.text), ` won ${rowsText(column.won)}: `, ...names, rows.length > 6 ? " …" : "",
      `. ${amountText(column.amount)}, ${shareText(column.share)} of the score`];
  }

  function cellSentence(figure, row, column) {
    const c = figure.columns.findIndex((each) => same(each.ids, column.ids));
    if (c < 0) return columnSentence(figure, column);
    if (c === row.best) return rowSentence(figure, row);
    const value = cosine(row.cells[c]);
    const name = row.group ? el("bdi", "", row.label) : quoted(row.text);
    if (row.chosen.includes(c)) {
      const nChose = row.ids.filter((id) => column.ids.includes(figure.data.best[id])).length;
      return [name, " → ", quoted(column.text), ` ${value}, chosen by ${nChose} of its ${row.ids.length} tokens`];
    }
    return [name, " × ", quoted(column.text), ` ${value}, less than `, quoted(figure.columns[row.best].text), ` ${cosine(row.cells[row.best])}`];
  }

  function sentence(figure, selection) {
    const row = selection.q && findRow(figure, selection.q), column = selection.p && find(figure.allColumns, selection.p);
    if (row && column) return cellSentence(figure, row, column);
    return row ? rowSentence(figure, row) : column ? columnSentence(figure, column) : [];
  }

  /** What a selection lights: the chosen themselves, else what they won or were won by. */
  function lit(figure, selection) {
    const { best } = figure.data;
    const q = selection.q || best.flatMap((winnerId, id) => (selection.p.includes(winnerId) ? [id] : []));
    const p = selection.p || selection.q.map((id) => best[id]);
    return { query: new Set(q), passage: new Set(p) };
  }

  /** Light a selection, or, without one, what is pinned. */
  function preview(figure, selection) {
    const shown = selection || figure.pinned;
    const light = shown ? lit(figure, shown) : null;
    for (const { node, side, ids } of figure.marks) {
      node.classList.toggle("lit", Boolean(light) && ids.some((id) => light[side].has(id)));
    }
    markPinned(figure);
    const column = shown && shown.p ? figure.columns.find((each) => covers(each, shown.p)) : null;
    figure.columnMark.hidden = !column;
    if (column) figure.columnMark.style.setProperty("--c", figure.columns.indexOf(column));
    const hint = "Point at a word to see its match. Click or Enter pins it, Esc releases it, arrows move.";
    const tail = shown && same(shown, figure.pinned) ? [el("span", "pin-mark", "pinned · Esc releases")] : [];
    figure.detail.replaceChildren(...(shown ? [el("span", "", ...sentence(figure, shown)), ...tail] : [el("span", "hint", hint)]));
  }

  const glide = () => (window.matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");

  /** Scroll the heatmap, and not the page, to the pinned column or to the one that gave the pinned row most. */
  function bringIntoView(figure) {
    const row = figure.pinned.q && findRow(figure, figure.pinned.q);
    const c = figure.pinned.p ? figure.columns.findIndex((column) => covers(column, figure.pinned.p)) : row.best;
    if (c < 0) return;
    const box = figure.columnNodes[c].getBoundingClientRect(), view = figure.scroll.getBoundingClientRect();
    const head = figure.rowNodes[0].firstChild.getBoundingClientRect(), mirrored = figure.data.passage.dir === "rtl";
    const low = mirrored ? view.left : head.right, high = mirrored ? head.left : view.right;
    const left = box.left < low ? box.left - low - 8 : box.right > high ? box.right - high + 8 : 0;
    if (left) figure.scroll.scrollBy({ left, behavior: glide() });
  }

  /** Say what is pinned to those who do not see the outline. */
  function markPinned(figure) {
    figure.root.classList.toggle("pinned", Boolean(figure.pinned));
    const state = (node) => String(Boolean(figure.pinned) && same(figure.pinned, figure.selections.get(node)));
    if (figure.current) figure.current.setAttribute("aria-selected", state(figure.current));
    for (const item of figure.items) item.setAttribute("aria-pressed", state(item));
  }

  function pin(figure, selection) {
    figure.pinned = selection && !same(selection, figure.pinned) ? selection : null;
    preview(figure, null);
    if (figure.pinned) bringIntoView(figure);
    figure.status.textContent = figure.pinned ? `Pinned: ${figure.detail.firstChild.textContent}` : "Released";
    figure.host.dispatchEvent(new CustomEvent("xm-pin", { bubbles: true, composed: true, detail: pinDetail(figure) }));
  }

  function pinDetail(figure) {
    const { pinned, data } = figure;
    if (!pinned) return { query_word: null, query_tokens: [], passage_token: null };
    const row = pinned.q && findRow(figure, pinned.q);
    const queryTokens = [...lit(figure, pinned).query];
    const candidates = pinned.p || pinned.q.map((id) => data.best[id]);
    const strongest = (id) => highest(data, queryTokens, [id]);
    const passageToken = candidates.reduce((a, b) => (strongest(b) > strongest(a) ? b : a));
    return { query_word: row ? row.text : null, query_tokens: queryTokens, passage_token: passageToken };
  }

  // ---- events ----------------------------------------------------------------------------------------------------

  /** The cell below the pointer, from where it is inside its row. */
  function cellAt(figure, event) {
    const cells = event.target.closest(".cells");
    if (!cells) return null;
    const box = cells.getBoundingClientRect();
    const along = figure.data.passage.dir === "rtl" ? box.right - event.clientX : event.clientX - box.left;
    const c = Math.floor(along / box.width * figure.columns.length);
    return c < 0 || c >= figure.columns.length ? null : { r: figure.rowNodes.indexOf(cells.parentNode), c };
  }

  const selectionAt = (figure, { r, c }) => ({ q: r < 0 ? null : figure.rows[r].ids, p: c < 0 ? null : figure.columns[c].ids });

  function target(figure, event) {
    for (let node = event.target; node && node !== figure.root; node = node.parentNode) {
      if (figure.selections.has(node)) return node;
    }
    return null;
  }

  function onPointer(figure, event) {
    const place = cellAt(figure, event), node = place ? null : target(figure, event);
    if (place) placeCell(figure, figure.probe, place);
    else figure.probe.remove();
    preview(figure, place ? selectionAt(figure, place) : node ? figure.selections.get(node) : null);
  }

  function placeCell(figure, node, { r, c }) {
    const value = figure.rows[r].cells[c];
    node.replaceChildren(digits(inCell(value)));
    node.style.setProperty("--c", c);
    paintCell(figure, node, value);
    figure.rowNodes[r].lastChild.append(node);
  }

  function onClick(figure, event) {
    const place = cellAt(figure, event);
    if (place) {
      focusPlace(figure, place);
      pin(figure, selectionAt(figure, place));
      return;
    }
    const node = target(figure, event);
    if (node) act(figure, node);
  }

  function act(figure, node) {
    if (figure.places.has(node)) focusPlace(figure, figure.places.get(node));
    if (figure.groups.has(node)) toggleGroup(figure, figure.groups.get(node), node.matches(".item"));
    else pin(figure, figure.selections.get(node));
  }

  function toggleGroup(figure, kind, inList) {
    if (!figure.open.delete(kind)) figure.open.add(kind);
    draw(figure);
    const r = figure.rows.findIndex((row) => row.group && row.kind === kind);
    if (inList) figure.root.querySelectorAll(".item")[r].focus();
    else focusPlace(figure, { r, c: -1 });
  }

  /** Give the grid's one tab stop to a place: a row's name, a column's name, or a cell made for it. */
  function focusPlace(figure, { r, c }) {
    const before = figure.current;
    if (before === document.activeElement && same(figure.places.get(before), { r, c })) return;
    const node = r < 0 ? figure.columnNodes[c] : c < 0 ? figure.rowNodes[r].firstChild : cursorAt(figure, r, c);
    node.tabIndex = 0;
    figure.current = node;
    if (before && before !== node) before.tabIndex = -1;
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "nearest", inline: "nearest", behavior: glide() });
    if (before && before !== node && before.matches(".cursor")) before.remove();
  }

  function cursorAt(figure, r, c) {
    const row = figure.rows[r], chosen = row.chosen.includes(c) ? ", chosen" : "";
    const node = attributes(el("span", "cursor"), {
      role: "gridcell", "aria-colindex": String(c + 2),
      "aria-label": `${short(row.label)}, ${short(figure.columns[c].label)}: ${cosine(row.cells[c])}${chosen}`,
    });
    placeCell(figure, node, { r, c });
    figure.places.set(node, { r, c });
    figure.selections.set(node, selectionAt(figure, { r, c }));
    return node;
  }

  const within = (value, low, high) => Math.min(Math.max(value, low), high);

  function onKey(figure, event) {
    if (event.key === "Escape" && figure.pinned) {
      event.stopPropagation();
      pin(figure, null);
      return;
    }
    const place = figure.places.get(event.target);
    if (!place) return;
    const along = figure.data.passage.dir === "rtl" ? -1 : 1, lastColumn = figure.columns.length - 1;
    const moves = {
      ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -along], ArrowRight: [0, along],
      Home: [0, -Infinity], End: [0, Infinity],
    };
    if (moves[event.key]) {
      const [down, right] = moves[event.key];
      const r = within(place.r + down, place.c < 0 ? 0 : -1, figure.rows.length - 1);
      focusPlace(figure, { r, c: within(place.c + right, r < 0 ? 0 : -1, lastColumn) });
    } else if (event.key === "Enter" || event.key === " ") {
      act(figure, event.target);
    } else return;
    event.preventDefault();
  }

  function listen(figure) {
    const { root } = figure;
    root.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") onPointer(figure, event); });
    root.addEventListener("pointerleave", () => { figure.probe.remove(); preview(figure, null); });
    root.addEventListener("focusin", (event) => {
      if (event.target.matches(":focus-visible") && figure.selections.has(event.target)) preview(figure, figure.selections.get(event.target));
    });
    root.addEventListener("focusout", () => preview(figure, null));
    root.addEventListener("click", (event) => onClick(figure, event));
    root.addEventListener("keydown", (event) => onKey(figure, event));
  }

  // ---- the figure ------------------------------------------------------------------------------------------------

  /** Choose the widest cells that fit, and the list where little fits. All is measured before anything is set. */
  function resize(figure) {
    const width = figure.root.clientWidth, corner = figure.grid.querySelector(".corner");
    figure.width = width;
    figure.root.classList.toggle("narrow", width > 0 && width < NARROW);
    figure.scroll.style.removeProperty("--longest");
    const longest = Math.max(...figure.rowNodes.map((row) => row.firstChild.firstChild.scrollWidth)) + 2;
    const widest = corner.firstChild.offsetWidth, label = within(longest, Math.min(40, widest), widest);
    const room = figure.scroll.clientWidth - (corner.offsetWidth - widest + label);
    if (!widest) return;
    const cell = within(Math.floor(room / figure.columns.length), MIN_CELL, MAX_CELL);
    figure.scroll.style.setProperty("--longest", `${label}px`);
    figure.grid.style.setProperty("--cell", `${cell}px`);
  }

  function choose(figure, name, value, className) {
    figure[name] = value;
    if (name === "mode") remembered.mode = value;
    draw(figure);
    figure.root.querySelector(`.switch.${className} [aria-pressed="true"]`).focus();
  }

  /** Build everything below the header anew: for another mode, view or open group. */
  function draw(figure) {
    const { data } = figure;
    Object.assign(figure, { marks: [], painted: [], selections: new Map(), places: new Map(), groups: new Map(), current: null });
    figure.allColumns = columnsOf(data, figure.mode);
    figure.columns = figure.shown === "all" ? figure.allColumns : figure.allColumns.filter((column) => column.won);
    figure.rows = rowsOf(data, figure.mode, figure.open, figure.columns);
    figure.largest = Math.max(...figure.rows.filter((row) => !row.group).map((row) => row.value), 1e-9);
    figure.detail = el("p", "detail");
    const modes = switchOf("Rows and columns", "modes", [["words", "Words"], ["tokens", "Tokens"]], figure.mode, (mode) => choose(figure, "mode", mode, "modes"));
    const nWon = figure.allColumns.filter((column) => column.won).length;
    const shown = switchOf("Passage columns", "shown", [["all", `All ${figure.allColumns.length} columns`], ["won", `The ${nWon} that won`]], figure.shown, (which) => choose(figure, "shown", which, "shown"));
    const views = switchOf("View", "views", [["list", "List"], ["heatmap", "Heatmap"]], figure.view, (view) => choose(figure, "view", view, "views"));
    figure.scroll = heatmap(figure);
    figure.root.dataset.view = figure.view;
    figure.parts.replaceChildren(...texts(figure), el("section", "block picture",
      el("div", "line", el("div", "switches", views, modes, shown), legend()), figure.detail, figure.scroll, listView(figure), caption(figure.mode)));
    figure.current = figure.rowNodes[0].firstChild;
    figure.current.tabIndex = 0;
    paint(figure);
    resize(figure);
    preview(figure, null);
  }

  function mount(host, payload) {
    unmount(host);
    const data = read(payload);
    const root = attributes(el("figure", "xm-alignment"), { "aria-label": altText(data), lang: "en", dir: "ltr" });
    const figure = { host, root, data, mode: remembered.mode, shown: "all", view: "list", open: new Set(), pinned: null, parts: el("div", "parts") };
    figure.status = attributes(el("div", "unseen-status"), { role: "status" });
    host.replaceChildren(root);
    applyTheme(figure);
    root.append(header(data), figure.parts, notes(data), table(figure), figure.status);
    draw(figure);
    listen(figure);
    watchHost(figure);
    figures.set(host, figure);
  }

  function watchHost(figure) {
    const retheme = () => applyTheme(figure);
    const media = window.matchMedia("(prefers-color-scheme: dark)");
    const sizes = new ResizeObserver(() => {
      if (!figure.themed) retheme();
      if (figure.root.clientWidth !== figure.width) resize(figure);
    });
    const classes = new MutationObserver(retheme);
    media.addEventListener("change", retheme);
    sizes.observe(figure.root);
    for (const node of [document.documentElement, document.body]) classes.observe(node, { attributes: true, attributeFilter: ["class"] });
    figure.stop = () => { media.removeEventListener("change", retheme); sizes.disconnect(); classes.disconnect(); };
  }

  function unmount(host) {
    const figure = figures.get(host);
    if (!figure) return;
    figure.stop();
    figure.root.remove();
    figures.delete(host);
  }

  window.XmAlignment = { mount, unmount };
})();
