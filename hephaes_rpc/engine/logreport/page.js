"use strict";
(() => {
  Bokeh.set_log_level("warn");
  const plots = new Map();
  const root = document.documentElement;
  const label = document.getElementById("window");
  const whole = document.getElementById("whole");
  let home = null;
  let shown = null;
  let busy = false;

  const seconds = (value) => value.toLocaleString("en", { maximumFractionDigits: 3 });

  function show(start, end) {
    if (busy || !home) return;
    busy = true;
    shown = start <= home[0] && end >= home[1] ? null : [start, end];
    for (const plot of plots.values()) plot.x_range.setv({ start, end });
    whole.hidden = shown === null;
    label.textContent = shown ? `${seconds(start)} to ${seconds(end)} s` : "";
    busy = false;
  }

  async function draw(target) {
    const data = document.getElementById(target.dataset.plot);
    const drawn = await Bokeh.embed.embed_item(JSON.parse(data.textContent), target);
    const plot = drawn.roots[0].model;
    data.remove();
    plots.set(target, plot);
    home ??= [plot.x_range.start, plot.x_range.end];
    if (shown) plot.x_range.setv({ start: shown[0], end: shown[1] });
    plot.x_range.change.connect(() => show(plot.x_range.start, plot.x_range.end));
    target.dataset.drawn = "true";
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  for (const target of document.querySelectorAll("[data-plot]")) {
    seen.observe(target);
    target.addEventListener("dblclick", () => home && show(home[0], home[1]));
  }
  whole.addEventListener("click", () => show(home[0], home[1]));

  for (const button of document.querySelectorAll(".go")) {
    button.addEventListener("click", () => {
      const from = Number(button.dataset.from), to = Number(button.dataset.to);
      if (!home) return;
      const room = Math.max((to - from) * 0.5, (home[1] - home[0]) * 0.01);
      show(from - room, to + room);
      document.getElementById("timeline").scrollIntoView();
    });
  }
  for (const key of document.querySelectorAll(".key")) {
    key.addEventListener("click", () => {
      const plot = plots.get(key.closest(".card").querySelector("[data-plot]"));
      const on = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", String(on));
      for (const line of plot.renderers) if (line.name === key.dataset.line) line.visible = on;
    });
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const repaint = () => requestAnimationFrame(() => {
    for (const plot of plots.values()) plot.change.emit();
  });
  dark.addEventListener("change", repaint);
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    repaint();
  });
  for (const opened of document.querySelectorAll("a[href^='#t']")) {
    opened.addEventListener("click", () => {
      const details = document.querySelector(`${opened.getAttribute("href")} details`);
      if (details) details.open = true;
    });
  }
})();
