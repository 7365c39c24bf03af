/* The page's own drawing beside the alignment figure: status boxes, the list of hits, small habits of the browser.

   Every text that came from a person or a file is set by textContent; no string here is parsed as HTML.
   Leaves out: the alignment figure (alignment.js) and the token map (Plotly, drawn by Gradio). */
window.XmPage = (() => {
  "use strict";
  const DARKEST_SHARE = 0.2;

  /** Make an element with a class, a text and attributes. */
  const make = (tag, className = "", text = null, attributes = {}) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  /** Show a notice: a line, a bar of progress, and a list of what the corpus reader noted. */
  const status = (element, value) => {
    const { kind = "idle", text = "", notes = [], fraction = null } = value || {};
    element.className = `xm-status xm-${kind}`;
    element.setAttribute("role", kind === "error" ? "alert" : "status");
    element.replaceChildren();
    element.hidden = !text && !notes.length;
    if (text) element.append(make("p", "", text));
    if (fraction !== null) {
      const bar = make("progress", "", null, { max: "1", "aria-label": text });
      bar.value = fraction;
      element.append(bar);
    }
    if (notes.length) {
      const details = make("details");
      details.open = notes.length <= 5;
      const list = make("ul");
      list.append(...notes.map((note) => make("li", "", note)));
      details.append(make("summary", "", `${notes.length} ${notes.length === 1 ? "note" : "notes"} on the file`), list);
      element.append(details);
    }
  };

  /** Say in a status box that a request is on its way; the answer takes its place. */
  const waiting = (elemId, text) => say(elemId, { kind: "busy", text, notes: [], fraction: null });

  /** Give a status box a value from the browser (its `say` is set where it is made, in guard.py). */
  const say = (elemId, value) => {
    for (const element of document.querySelectorAll(`#${elemId}, #${elemId} *`)) {
      if (element.say) element.say(value);
    }
  };

  /** Draw the alignment figure, or nothing while there is none. */
  const figure = (element, payload) => {
    if (payload && window.XmAlignment) window.XmAlignment.mount(element, payload);
  };

  /** Write an adapter and how it was chosen. */
  const chip = (adapter) => {
    const element = make("span", "xm-chip");
    element.append(make("b", "", adapter.name), ` ${adapter.code} · ${adapter.source}`);
    if (adapter.detail) element.append(make("span", "xm-detail", ` ${adapter.detail}`));
    return element;
  };

  /** Tint a word by its share of the score, as the alignment figure does (DARKEST_SHARE in alignment.js). */
  const tinted = (text, share) => {
    const element = make("span", "xm-tint", text);
    element.style.setProperty("--tint", Math.min(Math.sqrt(Math.max(share, 0) / DARKEST_SHARE), 1).toFixed(3));
    return element;
  };

  /** Draw one hit; `open` is called with its passage id. */
  const hitItem = (hit, words, open) => {
    const item = make("li", "xm-hit");
    const head = make("div", "xm-hit-head");
    const score = make("span", "xm-score", hit.score.toFixed(3), { title: words.score });
    const button = make("button", "xm-open", words.open, {
      type: "button",
      "aria-label": words.open_label.replace("{rank}", hit.rank),
    });
    head.append(make("span", "xm-rank", String(hit.rank)), score);
    if (!hit.exact) head.append(make("span", "xm-approximate", words.approximate));
    head.append(chip(hit.adapter), make("span", "xm-id", hit.passage_id), button);
    const text = make("p", "xm-passage", null, { dir: "auto" });
    for (const piece of hit.pieces) {
      const share = hit.score > 0 ? piece.credit / hit.score : 0;
      if (share < 0.001) {
        text.append(piece.text);
        continue;
      }
      const word = tinted(piece.text, share);
      word.title = `+${piece.credit.toFixed(3)} · ${(100 * share).toFixed(1)} %`;
      text.append(word);
    }
    item.append(head, text);
    item.addEventListener("click", (event) => {
      const selection = window.getSelection();
      const selecting = !selection.isCollapsed && item.contains(selection.anchorNode);
      if (event.target === button || !selecting) open(hit.passage_id);
    });
    return item;
  };

  /** Draw the list of hits. */
  const results = (element, value, open) => {
    element.replaceChildren();
    if (!value) return;
    const head = make("div", "xm-results-head");
    head.append(chip(value.query.adapter), make("span", "xm-timings", value.timings));
    const legend = make("span", "xm-legend", value.words.legend);
    for (const [share, label] of [[0, "0 %"], [0.01, "1 %"], [0.05, "5 %"], [DARKEST_SHARE, value.words.most]]) {
      legend.append(tinted(label, share));
    }
    head.append(legend);
    const list = make("ol", "xm-hits");
    list.append(...value.hits.map((hit) => hitItem(hit, value.words, open)));
    element.append(head, list);
    prepareMap();
  };

  /** Load the map's drawing library (4.6 MB) in an idle moment after the first search: then the map is there at once. */
  const prepareMap = () => {
    const path = window.XmPage.mapLibrary;
    window.XmPage.mapLibrary = "";
    if (!path) return;
    const idle = window.requestIdleCallback || ((task) => setTimeout(task, 200));
    // If it fails, Gradio fetches the library itself when the map is opened.
    setTimeout(() => idle(() => import(path).catch(() => {})), 2500);
  };

  /** After a hit was opened: bring its figure into view and put the keyboard there. */
  const toFigure = () => {
    const target = document.querySelector("#explain-figure .xm-figure");
    if (!target) return;
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "start", behavior: "auto" });
  };

  /** Refuse a file over the limit before it travels; the server checks again. */
  const limitUploads = (maxBytes, message) => {
    const refuse = (event) => {
      const box = event.target.closest && event.target.closest("#search-upload");
      const files = box && ((event.dataTransfer && event.dataTransfer.files) || event.target.files);
      const large = [...(files || [])].find((file) => file.size > maxBytes);
      if (!large) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (event.target.value) event.target.value = "";
      const megabytes = (bytes) => (bytes / 1e6).toFixed(1).replace(/\.0$/, "");
      const text = message
        .replace("{name}", large.name)
        .replace("{size}", megabytes(large.size))
        .replace("{limit}", megabytes(maxBytes));
      say("search-corpus-status", { kind: "error", text, notes: [], fraction: null });
    };
    for (const name of ["change", "drop"]) document.addEventListener(name, refuse, { capture: true });
  };

  return { status, waiting, figure, results, toFigure, limitUploads, mapLibrary: "" };
})();
