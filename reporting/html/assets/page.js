// Behaviour of the report: sortable tables, figures that are drawn when they come into view, and
// panels of molecules. Unpacks the JSON in #data and makes no requests.
"use strict";
(async () => {
  const NARROW = matchMedia("(max-width: 860px)");
  const TOUCH = matchMedia("(pointer: coarse)");
  const SVG = "http://www.w3.org/2000/svg";

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // ---- tables ------------------------------------------------------------------------------

  function sortTable(table, column, direction) {
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.value ?? "";
    const compare = (one, two) => {
      const a = value(one), b = value(two);
      if (a === "" || b === "") return (a === "") - (b === "");
      const x = Number(a), y = Number(b);
      const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
      return direction * order;
    };
    body.append(...[...body.rows].sort(compare));
    [...table.tHead.rows[0].cells].forEach((cell, index) => {
      if (index !== column) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      cell.querySelector("button").addEventListener("click", () => {
        const direction = cell.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        sortTable(table, column, direction);
      });
    });
  }

  // ---- packed data -------------------------------------------------------------------------

  function unpack(text, type) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new type(bytes.buffer);
  }

  // Take the gzip stream in base 64 out of an element.
  function inflate(id) {
    const source = document.getElementById(id);
    const packed = new Blob([unpack(source.textContent, Uint8Array)]);
    source.remove();
    return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  if (!("DecompressionStream" in window)) {
    for (const panels of document.querySelectorAll("figure .panels")) {
      panels.textContent = "This browser is too old to draw figures.";
    }
    return;
  }
  const DATA = JSON.parse(await inflate("data"));

  // ---- figures -----------------------------------------------------------------------------

  const GRID = { gridcolor: "#e7ebef", linecolor: "#9aa5b1", ticks: "outside", tickcolor: "#9aa5b1",
    automargin: true, zeroline: false, ticklabeloverflow: "allow" };

  function fullLayout(layout, height) {
    const full = {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "#1b2733" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { t: 10, r: 10, b: 40, l: 50 }, showlegend: false, hovermode: "closest",
      dragmode: TOUCH.matches ? false : "zoom",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8a96a3", activecolor: "#005a9c" },
      hoverlabel: { bgcolor: "#fff", bordercolor: "#b9c4cf", font: { color: "#1b2733" } },
      ...layout, height,
    };
    for (const name of ["xaxis", "yaxis"]) {
      const axis = (full[name] = { ...GRID, ...layout[name] });
      if (!NARROW.matches) continue;
      if (axis.title) axis.title = { ...axis.title, text: wrap(axis.title.text, " ", 32) };
      if (name === "yaxis" && axis.ticktext) {
        axis.ticktext = axis.ticktext.map((text) => wrap(text, "+", 9));
      }
    }
    return full;
  }

  // Break a label at its spaces or plus signs, so that it fits on a phone.
  function wrap(text, mark, width) {
    const lines = [""];
    text.split(mark).forEach((part, index) => {
      const piece = index ? mark + part : part;
      if ((lines.at(-1) + piece).length > width && lines.at(-1)) lines.push("");
      lines[lines.length - 1] += piece;
    });
    return lines.join("<br>");
  }

  // Buttons are named one by one: Plotly's own choice includes an upload to its cloud.
  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg", filename: "irrepscope" } };

  const SHAPES = {
    circle: "M12 7A5 5 0 1 1 2 7A5 5 0 1 1 12 7Z", square: "M2.5 2.5H11.5V11.5H2.5Z",
    diamond: "M7 1L13 7L7 13L1 7Z", "triangle-up": "M7 1.5L13 12H1Z",
    "triangle-down": "M7 12.5L13 2H1Z",
    cross: "M5 1H9V5H13V9H9V13H5V9H1V5H5Z",
    x: "M1.5 4L4 1.5L7 4.5L10 1.5L12.5 4L9.5 7L12.5 10L10 12.5L7 9.5L4 12.5L1.5 10L4.5 7Z",
    star: "M7 .8L8.8 5.1L13.4 5.4L9.9 8.4L11 12.9L7 10.5L3 12.9L4.1 8.4L.6 5.4L5.2 5.1Z",
    hexagram: "M7 0L9 3.5H13.1L11 7L13.1 10.5H9L7 14L5 10.5H.9L3 7L.9 3.5H5Z",
    pentagon: "M7 1L13 5.4L10.7 12.5H3.3L1 5.4Z", hexagon: "M4 1.8H10L13 7L10 12.2H4L1 7Z",
  };

  function drawLegend(figure, plot, panel) {
    const legend = figure.querySelector(".legend");
    legend.replaceChildren();
    const names = new Map(panel.data
      .filter((trace) => trace.showlegend !== false && trace.type === "scatter")
      .map((trace) => [trace.name, trace.marker]));
    if (names.size < 2) return;
    for (const [name, marker] of names) {
      const glyph = document.createElementNS(SVG, "svg");
      glyph.setAttribute("viewBox", "0 0 14 14");
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", SHAPES[marker.symbol] ?? SHAPES.circle);
      path.setAttribute("fill", marker.color);
      glyph.append(path);
      const button = make("button", { type: "button", "aria-pressed": "true" }, glyph, name);
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", shown);
        const group = panel.data.find((trace) => trace.name === name).legendgroup;
        const rows = panel.data.flatMap((t, index) => (t.legendgroup === group ? [index] : []));
        Plotly.restyle(plot, { visible: shown }, rows);
      });
      legend.append(button);
    }
  }

  function stepScale(labels) {
    const steps = DATA.scale.join(",");
    const bar = make("i", { style: `background:linear-gradient(90deg,${steps})` });
    const ends = make("span", {}, ...labels.map((label) => make("span", {}, label)));
    return make("div", { class: "scale steps" }, bar, ends);
  }

  function showView(figure, view) {
    const panels = figure.querySelector(".panels");
    panels.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.purge(plot));
    panels.replaceChildren();
    figure.querySelectorAll(".scale, .viewnote").forEach((element) => element.remove());
    if (view.note) panels.before(make("p", { class: "viewnote note" }, view.note));
    if (view.legend.length) panels.before(stepScale(view.legend));
    panels.classList.toggle("many", view.panels.length > 1 || Boolean(view.panels[0].title));
    for (const panel of view.panels) {
      const plot = make("div");
      const parts = panel.title ? [make("h4", {}, panel.title), plot] : [plot];
      panels.append(make("div", { class: `span${panel.span}` }, ...parts));
      const config = panel.toolbar && !TOUCH.matches ? CONFIG : { ...CONFIG, displayModeBar: false };
      Plotly.newPlot(plot, panel.data, fullLayout(panel.layout, panel.height), config);
      if (view.panels.length === 1) drawLegend(figure, plot, panel);
    }
  }

  // Plotly takes a second to start, so it starts when the page can already be read.
  let plotly;
  async function loadPlotly() {
    const script = make("script");
    script.textContent = await inflate("plotly");
    document.head.append(script);
  }

  async function drawFigure(figure) {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "true";
    if (!window.Plotly) await (plotly ??= loadPlotly());
    const { views } = DATA.figures[figure.dataset.figure];
    const choice = figure.querySelector(".views");
    const buttons = views.map((view) => make("button", { type: "button" }, view.label));
    const choose = (number) => {
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", index === number));
      showView(figure, views[number]);
    };
    buttons.forEach((button, index) => button.addEventListener("click", () => choose(index)));
    if (views.length > 1) choice.append(...buttons);
    choose(0);
  }

  const figures = [...document.querySelectorAll("figure.plot")];
  for (const figure of figures) {
    // Reserve room for the figure before it is drawn, so that the page does not jump.
    const [view] = DATA.figures[figure.dataset.figure].views;
    figure.querySelector(".panels").style.minHeight = `${view.panels[0].height}px`;
  }

  // ---- molecules ---------------------------------------------------------------------------

  const VIRIDIS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81],
    [233, 214, 40]];
  const RADIUS = 14;

  function viridis(fraction) {
    const at = Math.min(1, Math.max(0, fraction)) * (VIRIDIS.length - 1);
    const low = Math.min(VIRIDIS.length - 2, Math.floor(at));
    const mix = VIRIDIS[low].map((x, k) => Math.round(x + (at - low) * (VIRIDIS[low + 1][k] - x)));
    return `rgb(${mix})`;
  }

  function shown(number) {
    if (!Number.isFinite(number)) return "–";
    const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(number) || 1)));
    const text = number.toLocaleString("en", { maximumFractionDigits: Math.min(6, digits) });
    return text.replace("-", "−");
  }

  const moleculeSets = new Map();
  function moleculesOf(key) {
    if (!moleculeSets.has(key)) {
      const set = DATA.latents.molecules[key];
      moleculeSets.set(key, { ...set, target: unpack(set.target, Float32Array),
        score: unpack(set.score, Float32Array) });
    }
    return moleculeSets.get(key);
  }

  const tip = document.getElementById("tip");

  function fillTip(network, index) {
    const { molecules, run } = network;
    const drawing = DATA.latents.drawings[molecules.drawing[index]] ?? "";
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", "0 0 320 240");
    picture.innerHTML = drawing; // SVG elements from reporting/html/structures.py
    const list = make("dl");
    const target = molecules.target[index], prediction = network.prediction[index];
    const error = prediction - target;
    for (const [name, value] of [["target", target], ["prediction", prediction],
      ["error", error], ["spatial score", molecules.score[index]]]) {
      const unit = name === "spatial score" ? "" : ` ${run.unit}`;
      const sign = name === "error" && value > 0 ? "+" : "";
      list.append(make("dt", {}, name), make("dd", {}, `${sign}${shown(value)}${unit}`));
    }
    const text = make("div", {}, make("b", {}, molecules.smiles[index]), list);
    tip.replaceChildren(...(drawing ? [picture, text] : [text]));
  }

  function placeTip(x, y) {
    tip.hidden = false;
    tip.classList.toggle("docked", NARROW.matches);
    if (NARROW.matches) return;
    const box = tip.getBoundingClientRect();
    const left = x + 18 + box.width > innerWidth ? x - 18 - box.width : x + 18;
    const top = Math.min(Math.max(8, y - box.height / 2), innerHeight - box.height - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${top}px`;
  }

  class Molecules {
    constructor(figure) {
      this.figure = figure;
      this.panels = [];
      this.selected = -1;
      for (const select of figure.querySelectorAll("select")) {
        select.addEventListener("change", () => this.load());
      }
      new ResizeObserver(() => this.draw()).observe(figure.querySelector(".panels"));
    }

    choice(name) {
      return this.figure.querySelector(`select[name=${name}]`).value;
    }

    load() {
      const run = DATA.latents.runs[this.choice("run")];
      const molecules = moleculesOf(run.molecules);
      const prediction = unpack(run.prediction, Float32Array);
      this.network = { run, molecules, prediction };
      this.selected = -1;
      tip.hidden = true;
      this.colour();
      const holder = this.figure.querySelector(".panels");
      holder.replaceChildren();
      this.panels = [];
      for (const [name, block] of Object.entries(run.blocks)) this.addPanel(holder, name, block);
      this.draw();
    }

    colour() {
      const { run, molecules, prediction } = this.network;
      const by = this.choice("color");
      const values = by === "error" ? prediction.map((p, i) => Math.abs(p - molecules.target[i]))
        : molecules[by];
      const sorted = Float32Array.from(values).filter(Number.isFinite).sort();
      const low = sorted[Math.floor(0.02 * (sorted.length - 1))];
      const high = sorted[Math.ceil(0.98 * (sorted.length - 1))];
      this.colors = Array.from(values, (value) =>
        Number.isFinite(value) ? viridis((value - low) / (high - low || 1)) : "#b9c4cf");
      const unit = by === "score" ? "" : ` ${run.unit}`;
      const stops = VIRIDIS.map((rgb) => `rgb(${rgb})`).join(",");
      this.figure.querySelector(".scale").replaceChildren(
        make("span", {}, `${shown(low)}${unit}`),
        make("i", { style: `background:linear-gradient(90deg,${stops})` }),
        make("span", {}, `${shown(high)}${unit}`));
    }

    addPanel(holder, name, block) {
      const title = name === "all" ? "all irreps together" : name;
      const layout = block[this.choice("when")];
      if (!layout) {
        const reason = block.problem || "not laid out";
        holder.append(make("div", {}, make("h4", {}, title), make("div", { class: "empty" },
          reason)));
        return;
      }
      const canvas = make("canvas", { tabindex: "0", role: "img",
        "aria-label": `Molecules in the latent space of ${title}; arrow keys go from one to another` });
      holder.append(make("div", {}, make("h4", {}, title), canvas));
      const panel = { canvas, points: unpack(layout, Uint16Array) };
      this.panels.push(panel);
      const point = (event) => this.point(panel, event);
      canvas.addEventListener("pointermove", point);
      canvas.addEventListener("pointerdown", point);
      canvas.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse") this.select(-1);
      });
      canvas.addEventListener("blur", () => this.select(-1));
      canvas.addEventListener("keydown", (event) => this.key(panel, event));
    }

    place(panel, index) {
      const size = panel.canvas.clientWidth, margin = 10;
      const scale = (size - 2 * margin) / 65535;
      return [margin + scale * panel.points[2 * index],
        size - margin - scale * panel.points[2 * index + 1]];
    }

    draw() {
      for (const panel of this.panels) {
        const { canvas } = panel;
        const size = canvas.clientWidth, ratio = Math.min(3, devicePixelRatio || 1);
        if (!size) continue;
        canvas.width = canvas.height = Math.round(size * ratio);
        const context = canvas.getContext("2d");
        context.scale(ratio, ratio);
        const radius = this.colors.length > 1200 ? 1.8 : this.colors.length > 300 ? 2.4 : 3.4;
        context.globalAlpha = 0.85;
        for (let index = 0; index < this.colors.length; index++) {
          const [x, y] = this.place(panel, index);
          context.fillStyle = this.colors[index];
          context.beginPath();
          context.arc(x, y, radius, 0, 7);
          context.fill();
        }
        if (this.selected < 0) continue;
        const [x, y] = this.place(panel, this.selected);
        context.globalAlpha = 1;
        for (const [width, color] of [[5, "#fff"], [2.5, "#111"]]) {
          context.lineWidth = width;
          context.strokeStyle = color;
          context.beginPath();
          context.arc(x, y, 7, 0, 7);
          context.stroke();
        }
      }
    }

    select(index, x = 0, y = 0) {
      if (index !== this.selected) {
        this.selected = index;
        if (index >= 0) fillTip(this.network, index);
        this.draw();
      }
      if (index < 0) tip.hidden = true;
      else placeTip(x, y);
    }

    point(panel, event) {
      const box = panel.canvas.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      let nearest = -1, least = RADIUS ** 2;
      for (let index = 0; index < this.colors.length; index++) {
        const [px, py] = this.place(panel, index);
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance < least) [least, nearest] = [distance, index];
      }
      this.select(nearest, event.clientX, event.clientY);
    }

    key(panel, event) {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") this.select(-1);
      if (!step) return;
      event.preventDefault();
      const count = this.colors.length;
      const next = (Math.max(this.selected, step > 0 ? -1 : 0) + step + count) % count;
      const box = panel.canvas.getBoundingClientRect();
      const [x, y] = this.place(panel, next);
      this.select(next, box.left + x, box.top + y);
    }
  }

  // ---- start -------------------------------------------------------------------------------

  const views = new Map();
  for (const figure of document.querySelectorAll("figure.umap")) {
    views.set(figure, new Molecules(figure));
  }
  function reveal(element) {
    if (!views.has(element)) drawFigure(element);
    else if (!element.dataset.drawn) {
      element.dataset.drawn = "true";
      views.get(element).load();
    }
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        reveal(entry.target);
      }
    }
  }, { rootMargin: "600px" });
  const all = [...figures, ...views.keys()];
  const watch = () => setTimeout(() => {
    all.forEach((element) => watcher.observe(element));
    if (figures.length) plotly ??= loadPlotly(); // paper cannot wait for it
  }, 50);
  if (document.readyState === "complete") watch();
  else addEventListener("load", watch);

  // On paper everything is unfolded, and figures are as wide as the paper and less high.
  const plots = () => [...document.querySelectorAll(".js-plotly-plot")];
  const folded = [...document.querySelectorAll("details:not([open])")];
  const paper = document.documentElement.classList;
  const PAPER_HEIGHT = 0.72;
  addEventListener("beforeprint", () => {
    all.forEach(reveal);
    folded.forEach((details) => { details.dataset.open = details.open; details.open = true; });
    paper.add("paper");
    for (const plot of plots()) {
      const height = Math.round(PAPER_HEIGHT * plot.layout.height);
      Plotly.relayout(plot, { width: plot.parentElement.clientWidth, height });
    }
    for (const view of views.values()) view.draw();
  });
  addEventListener("afterprint", () => {
    paper.remove("paper");
    folded.forEach((details) => { details.open = details.dataset.open === "true"; });
    for (const plot of plots()) {
      const height = Math.round(plot.layout.height / PAPER_HEIGHT);
      Plotly.relayout(plot, { autosize: true, width: null, height });
    }
    for (const view of views.values()) view.draw();
  });
  addEventListener("scroll", () => { if (!NARROW.matches) tip.hidden = true; }, { passive: true });
})();
