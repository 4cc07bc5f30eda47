// Draws each <figure data-chart> from the table that stands in it, with uPlot. What is drawn, named and told comes out
// of that table, so that the picture cannot say anything else than the page does. Nothing is put into the global scope.
(() => {
  "use strict";

  const DAY_S = 86_400;
  const BUCKET_S = { day: DAY_S, week: 7 * DAY_S, month: 30 * DAY_S };
  // Those of uPlot from a day on: its own months and years are 30 and 365 days, and are drawn on the first of each.
  const STEPS_S = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 30, 60, 90, 120, 180, 365, 730, 1825, 3650].map((n) => n * DAY_S);
  const DASHES = [[], [9, 5], [2, 4], [12, 4, 2, 4], [5, 3], [1, 2]];
  const WHOLE_NUMBERS = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();
  const ZOOM_STEP = 2;
  const COMPACT_FROM = 100_000;
  const TOLD_GAP_PX = 12;

  const charts = new Map();

  function readTable(figure) {
    const table = figure.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
    const number = (cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value));
    const told = table.querySelector("[data-value]")?.dataset.value ?? "";
    return {
      names,
      decimals: (told.split(".")[1] ?? "").length,
      xs: rows.map((row) => Date.parse(row.cells[0].dataset.x) / 1000),
      labels: rows.map((row) => row.cells[0].textContent.trim()),
      values: names.map((_, at) => rows.map((row) => number(row.cells[at + 1]))),
      texts: names.map((_, at) => rows.map((row) => row.cells[at + 1].textContent.trim())),
    };
  }

  // What is above zero is piled up, and what is below is piled down; areas are summed up as they are.
  function piled(columns, bars) {
    const length = columns.length ? columns[0].length : 0;
    const up = new Array(length).fill(0);
    const down = new Array(length).fill(0);
    return columns.map((column) =>
      column.map((value, at) => {
        const pile = bars && value < 0 ? down : up;
        pile[at] += value ?? 0;
        return value === null ? null : pile[at];
      }),
    );
  }

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.box = figure.querySelector(".chart-box");
      this.stage = this.box.querySelector(".chart-plot");
      this.told = this.box.querySelector(".chart-told");
      this.keys = [...this.box.querySelectorAll(".chart-key")];
      this.tools = [...this.box.querySelectorAll("[data-chart-do]")];
      this.window = null;
      this.at = null;
      this.dragging = false;
      this.late = false;
      this.box.hidden = false;
      this.take();
      this.listen();
      this.draw();
      new ResizeObserver(() => this.resize()).observe(this.stage);
    }

    // --- the table ---

    take() {
      const { chart, interval, locale, currency } = this.figure.dataset;
      Object.assign(this, { kind: chart, interval, locale, currency, table: readTable(this.figure) });
      this.stage.setAttribute("aria-valuemax", String(this.table.xs.length - 1));
    }

    // The page brought the figure anew: it keeps the box that is drawn in, and so the focus and what is pressed.
    move(figure) {
      const before = this.table.xs;
      const open = this.figure.querySelector("details").open;
      const focused = this.box.contains(document.activeElement) ? document.activeElement : this.focused;
      figure.querySelector(".chart-box").replaceWith(this.box);
      figure.querySelector("details").open ||= open;
      this.figure = figure;
      this.take();
      if (before[0] !== this.table.xs[0]) this.window = null;
      if (focused && this.box.contains(focused)) focused.focus({ preventScroll: true });
      this.focused = null;
      if (this.dragging) this.late = true;
      else this.draw();
    }

    // --- what is seen ---

    get whole() {
      const { xs } = this.table;
      // A bar, or a day that is alone, has a width.
      const margin = this.kind === "bars" || xs.length === 1 ? BUCKET_S[this.interval] / 2 : 0;
      return { min: xs[0] - margin, max: xs[xs.length - 1] + margin };
    }

    get seen() {
      return this.window ?? this.whole;
    }

    look(min, max) {
      const whole = this.whole;
      const span = Math.min(Math.max(max - min, 2 * BUCKET_S[this.interval]), whole.max - whole.min);
      const from = Math.min(Math.max(min, whole.min), whole.max - span);
      this.window = span >= whole.max - whole.min ? null : { min: from, max: from + span };
      this.plot?.setScale("x", this.seen);
      this.mark();
    }

    zoom(factor) {
      const { min, max } = this.seen;
      const half = ((max - min) * factor) / 2;
      const told = this.at === null ? NaN : this.table.xs[this.at];
      const middle = told >= min && told <= max ? told : (min + max) / 2;
      this.look(middle - half, middle + half);
    }

    pan(direction) {
      const { min, max } = this.seen;
      const way = (direction * (max - min)) / 2;
      this.look(min + way, max + way);
    }

    // For the buttons that do nothing now, and for whoever looks at the page from outside.
    mark() {
      const { min, max } = this.seen;
      const whole = this.whole;
      const idle = {
        in: max - min <= 2 * BUCKET_S[this.interval],
        out: this.window === null,
        reset: this.window === null,
        earlier: min <= whole.min,
        later: max >= whole.max,
      };
      for (const tool of this.tools) tool.setAttribute("aria-disabled", String(idle[tool.dataset.chartDo]));
      const day = (x) => new Date(x * 1000).toISOString().slice(0, 10);
      Object.assign(this.figure.dataset, { seenFrom: day(min), seenTo: day(max) });
    }

    // --- what people do ---

    listen() {
      const doing = {
        in: () => this.zoom(1 / ZOOM_STEP),
        out: () => this.zoom(ZOOM_STEP),
        earlier: () => this.pan(-1),
        later: () => this.pan(1),
        reset: () => this.look(-Infinity, Infinity),
      };
      for (const tool of this.tools) tool.addEventListener("click", () => doing[tool.dataset.chartDo]());
      for (const key of this.keys) key.addEventListener("click", () => this.toggle(key));
      this.stage.addEventListener("keydown", (event) => this.onKey(event));
      this.stage.addEventListener("focus", () => {
        if (this.stage.matches(":focus-visible")) this.point(this.at ?? this.table.xs.length - 1);
      });
      this.stage.addEventListener("blur", () => this.hush());
      this.stage.addEventListener("mousedown", () => (this.dragging = true));
      addEventListener("mouseup", () => {
        this.dragging = false;
        if (this.late) this.draw();
      });
    }

    toggle(key) {
      key.setAttribute("aria-pressed", String(key.getAttribute("aria-pressed") !== "true"));
      this.draw();
    }

    onKey(event) {
      const last = this.table.xs.length - 1;
      const at = this.at ?? last;
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -last, End: last };
      const to = event.key in steps ? at + steps[event.key] : undefined;
      if (event.key === "Escape") this.hush();
      if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.point(Math.min(Math.max(to, 0), last));
    }

    // Tell of a day as if the pointer was there; what is not seen is brought into sight.
    point(at) {
      const x = this.table.xs[at];
      const { min, max } = this.seen;
      if (x < min) this.look(x, x + max - min);
      if (x > max) this.look(x - (max - min), x);
      // The scale is set when uPlot comes to it, in a microtask.
      queueMicrotask(() => this.plot.setCursor({ left: this.plot.valToPos(x, "x"), top: 0 }));
    }

    hush() {
      this.plot?.setCursor({ left: -10, top: -10 });
      this.tell(null);
    }

    tell(at) {
      this.told.hidden = at === null || at === undefined;
      if (this.told.hidden) return;
      this.at = at;
      const { labels, names, texts } = this.table;
      const lines = this.shown.map((series) => [this.keys[series], names[series], texts[series][at]]);
      const told = lines.map(([, name, text]) => `${name} ${text}`);
      this.stage.setAttribute("aria-valuenow", String(at));
      this.stage.setAttribute("aria-valuetext", `${labels[at]}: ${told.join(", ")}`);
      const heading = document.createElement("strong");
      heading.textContent = labels[at];
      const list = document.createElement("dl");
      for (const [key, name, text] of lines) {
        const [term, value] = [document.createElement("dt"), document.createElement("dd")];
        term.append(key.querySelector("svg").cloneNode(true), name);
        value.textContent = text;
        list.append(term, value);
      }
      this.told.replaceChildren(heading, list);
      this.place();
    }

    place() {
      const { left } = this.plot.cursor;
      const over = this.plot.over;
      const behind = left + TOLD_GAP_PX;
      const before = left - TOLD_GAP_PX - this.told.offsetWidth;
      const fits = behind + this.told.offsetWidth <= over.offsetWidth;
      const x = over.offsetLeft + (fits ? behind : Math.max(before, -over.offsetLeft));
      this.told.style.transform = `translate(${Math.round(x)}px, ${over.offsetTop}px)`;
    }

    // --- the picture ---

    get shown() {
      return this.keys.flatMap((key, at) => (key.getAttribute("aria-pressed") === "true" ? [at] : []));
    }

    resize() {
      const { clientWidth: width, clientHeight: height } = this.stage;
      if (width && this.plot && width === this.plot.width && height === this.plot.height) return;
      // Where the pointer was is another day now.
      this.hush();
      if (width && this.plot) this.plot.setSize({ width, height });
      else this.draw();
    }

    draw() {
      const { clientWidth: width, clientHeight: height } = this.stage;
      const { left, top } = this.plot?.cursor ?? {};
      const pointed = this.told.hidden || left === undefined ? null : { left, top };
      this.late = false;
      this.plot?.destroy();
      this.plot = null;
      if (!width) return;
      const bars = this.kind === "bars";
      const shown = this.shown;
      const columns = shown.map((at) => this.table.values[at]);
      const heights = this.kind === "lines" ? columns : piled(columns, bars);
      const series = shown.map((at) => this.series(at));
      if (bars) {
        // The highest pile is drawn first, and those that it is made of over it.
        heights.reverse();
        series.reverse();
      }
      const options = {
        width,
        height,
        padding: [10, 14, 0, 0],
        legend: { show: false },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        scales: { x: { time: true }, y: { range: (_, min, max) => this.range(min, max) } },
        axes: [this.days(), this.amounts()],
        series: [{}, ...series],
        bands: this.kind === "stacked" ? shown.slice(1).map((_, at) => ({ series: [at + 2, at + 1] })) : [],
        cursor: {
          y: false,
          drag: { x: true, y: false },
          points: { size: 9 },
          bind: { dblclick: () => () => this.look(-Infinity, Infinity) },
        },
        hooks: {
          setCursor: [(plot) => plot === this.plot && this.tell(plot.cursor.left < 0 ? null : plot.cursor.idx)],
          setScale: [(plot, scale) => scale === "x" && plot === this.plot && this.dragged(plot.scales.x)],
        },
      };
      this.plot = new uPlot(options, [this.table.xs, ...heights], this.stage);
      this.look(this.seen.min, this.seen.max);
      if (pointed) queueMicrotask(() => this.plot?.setCursor(pointed));
    }

    dragged({ min, max }) {
      const seen = this.seen;
      if (Math.abs(min - seen.min) > 1 || Math.abs(max - seen.max) > 1) this.look(min, max);
    }

    // The swatch in the legend has the colours, resolved for the scheme that is in force.
    series(at) {
      const { color, backgroundColor } = getComputedStyle(this.keys[at].querySelector("svg"));
      const bars = this.kind === "bars";
      return {
        label: this.table.names[at],
        stroke: color,
        width: bars ? 0 : 2,
        dash: bars ? [] : DASHES[at % DASHES.length],
        fill: bars ? color : this.kind === "stacked" || this.keys.length === 1 ? backgroundColor : undefined,
        paths: bars ? uPlot.paths.bars({ size: [0.7, 48] }) : undefined,
        points: { show: bars ? false : undefined },
      };
    }

    range(min, max) {
      const [low, high] = [Math.min(0, min ?? 0), Math.max(0, max ?? 0)];
      return low === high ? [0, 1] : [low * 1.05, high * 1.05];
    }

    axis() {
      const { color, borderTopColor, fontFamily } = getComputedStyle(this.stage);
      const line = { stroke: borderTopColor, width: 1 };
      return { stroke: color, font: `12px ${fontFamily}`, grid: line, ticks: { ...line, size: 4 } };
    }

    days() {
      const shows = (options) => new Intl.DateTimeFormat(this.locale, { timeZone: "UTC", ...options });
      const day = shows({ month: "short", day: "numeric" });
      const month = shows({ month: "short", year: "numeric" });
      const year = shows({ year: "numeric" });
      const of = (step) => (step >= 365 * DAY_S ? year : step >= 30 * DAY_S ? month : day);
      return {
        ...this.axis(),
        space: 76,
        size: 28,
        incrs: STEPS_S.filter((step) => step >= BUCKET_S[this.interval]),
        values: (_, splits, __, ___, step) => splits.map((x) => of(step).format(new Date(x * 1000))),
      };
    }

    amounts() {
      const { currency } = this;
      const money = currency ? { style: "currency", currency, currencyDisplay: "narrowSymbol" } : {};
      const shows = (splits, step) => {
        // As many decimals as the currency has where any are needed, none where not.
        const digits = Number.isInteger(step) ? 0 : Math.max(this.table.decimals, -Math.floor(Math.log10(step)));
        const exactly = { minimumFractionDigits: digits, maximumFractionDigits: digits };
        const large = Math.max(...splits.map(Math.abs)) >= COMPACT_FROM;
        const notation = large ? { notation: "compact", maximumFractionDigits: 1 } : exactly;
        return new Intl.NumberFormat(this.locale, { ...money, ...notation });
      };
      return {
        ...this.axis(),
        space: 40,
        incrs: currency ? undefined : WHOLE_NUMBERS,
        values: (_, splits, __, ___, step) => splits.map((value) => shows(splits, step).format(value)),
        size: (plot, values, axis, cycle) => {
          if (cycle > 1) return plot.axes[axis]._size;
          plot.ctx.font = plot.axes[axis].font[0];
          const widths = (values ?? []).map((value) => plot.ctx.measureText(value).width / devicePixelRatio);
          return Math.ceil(Math.max(20, ...widths)) + 14;
        },
      };
    }

    end() {
      this.plot?.destroy();
      this.plot = null;
    }
  }

  const alike = (chart, figure) => {
    const names = readTable(figure).names;
    return figure.dataset.chart === chart.kind && names.join("\n") === chart.table.names.join("\n");
  };

  function refresh() {
    const drawn = (each) => each.querySelector(".chart-box");
    const figures = [...document.querySelectorAll("figure[data-chart]")].filter(drawn);
    const here = new Set(figures.map((figure) => figure.id));
    for (const [id, chart] of charts) {
      if (here.has(id)) continue;
      chart.end();
      charts.delete(id);
    }
    for (const figure of figures) {
      const known = charts.get(figure.id);
      if (known?.figure === figure) continue;
      if (known && alike(known, figure)) {
        known.move(figure);
      } else {
        known?.end();
        charts.set(figure.id, new Chart(figure));
      }
    }
  }

  function redraw() {
    for (const chart of charts.values()) chart.draw();
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["class", "data-theme"] });
  addEventListener("htmx:beforeSwap", () => {
    for (const chart of charts.values()) {
      if (chart.box.contains(document.activeElement)) chart.focused = document.activeElement;
    }
  });
  addEventListener("htmx:afterSwap", refresh);
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", refresh);
  else refresh();
})();
