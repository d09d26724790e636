// What makes pages pleasant; every page works without it. It runs nothing that comes over the wire: a page's regions are replaced by HTML of the
// same server, and the content policy lets no script in it run.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const said = document.getElementById("said");
  const say = text => { if (said && text && said.textContent !== text) said.textContent = text; };

  // morph makes a node like another one, in place: what has the focus keeps it, what was opened stays open, bars move instead of jumping.
  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const morph = (was, is) => {
    if (was.nodeType !== 1) {
      if (was.nodeValue !== is.nodeValue) was.nodeValue = is.nodeValue;
      return;
    }
    const kept = was.nodeName === "DETAILS" ? ["open"] : was.hasAttribute("data-copy") ? ["hidden"] : [];
    for (const a of [...was.attributes]) if (!is.hasAttribute(a.name) && !kept.includes(a.name)) was.removeAttribute(a.name);
    for (const a of [...is.attributes]) if (was.getAttribute(a.name) !== a.value && !kept.includes(a.name)) was.setAttribute(a.name, a.value);
    if (was.matches("input, select, textarea")) return; // what somebody is typing is theirs
    const next = [...is.childNodes];
    let at = was.firstChild;
    for (const node of next) {
      let found = at;
      if (node.id) for (found = at; found && !same(found, node);) found = found.nextSibling;
      if (found && same(found, node)) {
        if (found !== at) was.insertBefore(found, at); else at = at.nextSibling;
        morph(found, node);
      } else {
        was.insertBefore(document.importNode(node, true), at);
      }
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  };

  const swap = (id, html) => {
    const region = document.getElementById(id);
    if (!region) return;
    const made = document.createElement("template");
    made.innerHTML = html;
    const before = all("[data-announce]", region).map(e => e.textContent.trim()).join(" ");
    const shell = region.cloneNode(false);
    shell.append(made.content);
    morph(region, shell);
    const after = all("[data-announce]", region).map(e => e.textContent.trim()).join(" ");
    if (before !== after) say(after);
    dress(region);
  };

  // Server-sent events: one connection while the page is looked at, none while it is hidden, as a browser has few of them.
  let source = null;
  let quiet = 0;
  const address = document.body.dataset.live;
  const open = () => {
    if (source || !address || document.visibilityState === "hidden") return;
    source = new EventSource(address);
    source.addEventListener("regions", e => { for (const [id, html] of Object.entries(JSON.parse(e.data))) swap(id, html); });
    source.addEventListener("elsewhere", e => { close(); location.assign(JSON.parse(e.data)); });
    source.onopen = () => { quiet = 0; };
    source.onerror = () => {
      if (source && source.readyState === EventSource.CLOSED) { // refused: signed out, or no longer allowed; the page itself says which
        close();
        if (quiet++ < 3) setTimeout(open, 5000 * quiet);
        else say("This page no longer follows what happens. Reload it to see the present state.");
      }
    };
  };
  const close = () => { if (source) { source.close(); source = null; } };
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" ? close() : open());
  open();

  // How long ago, by this machine's clock, kept up to date.
  const ago = s => s < 45 ? "just now" : s < 5400 ? Math.max(1, Math.round(s / 60)) + " min ago" : s < 129600 ? Math.round(s / 3600) + " h ago" : Math.round(s / 86400) + " days ago";
  const tell = () => {
    for (const t of all("time[data-ago]")) {
      const s = (Date.now() - Date.parse(t.dateTime)) / 1000;
      const words = s < -60 ? t.textContent : ago(s);
      if (t.textContent !== words) t.textContent = words;
    }
  };
  setInterval(tell, 15000);

  // What was said once is not said again when the page is loaded anew; what is wrong with a form stays.
  const asked = new URL(location.href);
  if (asked.searchParams.has("said") && document.querySelector("main > .notice.good")) {
    asked.searchParams.delete("said");
    history.replaceState(null, "", asked);
  }

  const dress = root => {
    for (const b of all("button[data-copy]", root)) b.hidden = !navigator.clipboard;
    tell();
  };
  dress(document);

  document.addEventListener("click", async e => {
    const b = e.target.closest("button[data-copy]");
    if (!b) return;
    const text = document.getElementById(b.dataset.copy).textContent.trim();
    const label = b.textContent;
    try {
      await navigator.clipboard.writeText(text);
      b.textContent = "Copied";
      say("Copied");
    } catch {
      getSelection().selectAllChildren(document.getElementById(b.dataset.copy));
      b.textContent = "Selected";
      say("Selected; copy it with your keyboard");
    }
    setTimeout(() => { b.textContent = label; }, 2000);
  });

  // What was sent once is not sent twice, and the button says that something goes on.
  document.addEventListener("submit", e => {
    const b = e.submitter;
    if (e.defaultPrevented || e.target.method !== "post") return;
    if (e.target.dataset.sent) { e.preventDefault(); return; }
    e.target.dataset.sent = "1";
    if (b) {
      b.setAttribute("aria-disabled", "true");
      if (b.dataset.busy) { b.dataset.label = b.textContent; b.textContent = b.dataset.busy; say(b.dataset.busy); }
    }
  });
  addEventListener("pageshow", () => {
    for (const f of all("form[data-sent]")) delete f.dataset.sent;
    for (const b of all("button[aria-disabled]")) { b.removeAttribute("aria-disabled"); if (b.dataset.label) b.textContent = b.dataset.label; }
  });
})();
