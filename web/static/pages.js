// What pages do beside htmx: all of it is a convenience, everything works without.
"use strict";
(() => {
  // Copy what a button names: <button type="button" data-copy="#element-or-field">.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.querySelector(button.dataset.copy);
    await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
    const said = button.textContent;
    button.textContent = button.dataset.copied || "Copied";
    setTimeout(() => { button.textContent = said; }, 2000);
  });

  // Tick all boxes of a form: <input type="checkbox" data-tick="ids">.
  document.addEventListener("change", (event) => {
    const name = event.target.dataset && event.target.dataset.tick;
    if (!name) return;
    for (const box of event.target.form.querySelectorAll(`input[name="${name}"]`)) box.checked = event.target.checked;
  });

  // One open action at a time; Escape closes it and gives the focus back.
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches || !event.target.matches("details.action") || !event.target.open) return;
    for (const other of document.querySelectorAll("details.action[open]")) if (other !== event.target) other.open = false;
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const open = document.querySelector("details.action[open]");
    if (!open) return;
    open.open = false;
    open.querySelector("summary").focus();
  });

  // A choice that applies at once: <select data-submits>.
  document.addEventListener("change", (event) => {
    if (event.target.matches && event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });

  // A form is sent once, however often it is clicked (the server would do it once all the same).
  document.addEventListener("submit", (event) => {
    for (const button of event.target.querySelectorAll("button:not([type=button])")) setTimeout(() => { button.disabled = true; button.dataset.sent = ""; }, 0);
  });
  const enable = () => {
    for (const button of document.querySelectorAll("button[data-sent]")) {
      button.disabled = false;
      delete button.dataset.sent;
    }
  };
  window.addEventListener("pageshow", enable);
  // Where only a part of the page is swapped, the form stays.
  document.addEventListener("htmx:afterRequest", enable);

  // A form that says so shows the part also where the server refused it: <form data-shows-refusals>.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig } = event.detail;
    if (!requestConfig.elt.matches("[data-shows-refusals]") || ![409, 413, 422].includes(xhr.status)) return;
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  });

  // A part that refreshes itself waits while something in it is open or has the focus: <section data-waits hx-trigger=...>.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.elt;
    if (part.matches("[data-waits]") && part.matches(":focus-within, :has(details[open])")) event.preventDefault();
  });

  // A part that is dear to make asks for itself at most every few seconds: <div id="figures" data-pause-s="5"
  // hx-trigger="books from:body, again">. What comes meanwhile is asked for when the pause is over.
  const asked = new Map();
  const later = new Map();
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { id, dataset } = event.detail.elt;
    if (!dataset.pauseS || event.defaultPrevented) return;
    clearTimeout(later.get(id));
    const leftMs = (asked.get(id) ?? -Infinity) + Number(dataset.pauseS) * 1000 - performance.now();
    if (leftMs <= 0) {
      asked.set(id, performance.now());
      return;
    }
    event.preventDefault();
    later.set(id, setTimeout(() => document.getElementById(id)?.dispatchEvent(new CustomEvent("again")), leftMs));
  });

  // How much of a file has been sent; what the server does with it after that, nobody can tell from here.
  document.addEventListener("htmx:xhr:progress", (event) => {
    const bar = event.target.querySelector && event.target.querySelector("[data-upload]");
    if (!bar || !event.detail.lengthComputable) return;
    const arrived = event.detail.loaded >= event.detail.total;
    if (arrived) bar.removeAttribute("value");
    else [bar.max, bar.value] = [event.detail.total, event.detail.loaded];
    event.target.querySelector("[data-upload-sending]").hidden = arrived;
    event.target.querySelector("[data-upload-reading]").hidden = !arrived;
  });
})();
