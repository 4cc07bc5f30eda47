// Live figures: the server says when the books moved, and the event `books` goes to the body: elements with
// hx-trigger="books from:body" ask for themselves anew. A page with an element [data-live-note] is live: that shows
// itself while nothing can be heard. Its value names the stream (default /live), its data-live-position the position
// that the page shows. Hidden pages do not listen.
(() => {
  "use strict";

  const NOTE_AFTER_MS = 3_000;
  const AGAIN_MS = 10_000;

  let source = null;
  let position = null;
  let note = 0;
  let again = 0;

  const tell = (name) => document.body.dispatchEvent(new CustomEvent(name));

  function show(away) {
    for (const each of document.querySelectorAll("[data-live-note]")) each.hidden = !away;
    document.documentElement.dataset.live = away ? "away" : "on";
  }

  function heard(event) {
    position = event.lastEventId;
    clearTimeout(note);
    note = 0;
    show(false);
  }

  // A short break is not worth a word.
  function missed() {
    note ||= setTimeout(() => show(true), NOTE_AFTER_MS);
    // The browser comes back by itself after a broken connection, not after a refusal.
    if (source?.readyState === EventSource.CLOSED) leave(AGAIN_MS);
  }

  function leave(backInMs) {
    source?.close();
    source = null;
    clearTimeout(again);
    again = backInMs ? setTimeout(listen, backInMs) : 0;
  }

  function listen() {
    const told = document.querySelector("[data-live-note]")?.dataset;
    if (source || document.hidden || !told) return;
    const address = told.liveNote || "/live";
    position ??= told.livePosition || null;
    source = new EventSource(position === null ? address : `${address}?after=${encodeURIComponent(position)}`);
    source.addEventListener("here", heard);
    source.addEventListener("books", (event) => {
      heard(event);
      tell("books");
    });
    // Another page of ours took the place: this one comes back when it is looked at again.
    source.addEventListener("crowded", () => {
      leave(0);
      show(true);
    });
    source.addEventListener("error", missed);
  }

  function begin() {
    listen();
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) leave(0);
      else listen();
    });
    addEventListener("pagehide", () => leave(0));
    addEventListener("pageshow", listen);
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin);
  else begin();
})();
