package browsertest

import "fmt"

// faults are what is wrong with any page that people are to read: with its layout, its words for those who do not see it, and its
// keyboard. width is that of the view: a phone makes room for what is too wide, and its innerWidth grows with the page.
const faults = `(width => {
	const wrong = [];
	const need = (ok, what) => { if (!ok) wrong.push(what) };
	const all = selector => [...document.querySelectorAll(selector)];
	const taken = Math.max(document.documentElement.scrollWidth, innerWidth);
	need(taken <= width, "it is wider than the window: " + taken + " of " + width);
	for (const e of all("main *, header *")) {
		const box = e.getBoundingClientRect();
		if (box.width && (box.right > width + 1 || box.left < -1) && !e.closest(".scroll, .skip")) { wrong.push("beyond the edge: " + e.outerHTML.slice(0, 80)); break }
	}
	need(all("svg").every(e => e.getAttribute("aria-hidden") || e.getAttribute("role") === "img" && e.getAttribute("aria-label")), "a picture without words");
	need(all("img").every(e => e.hasAttribute("alt")), "an image without words");
	need(all("table").every(e => e.caption && e.caption.textContent && e.querySelector("thead th[scope=col]") && e.querySelector("tbody th[scope=row]")), "a table without caption or headings");
	need(all(".scroll").every(e => e.tabIndex === 0 && e.getAttribute("aria-label")), "a region that the keyboard does not reach");
	need(all("section").every(e => document.getElementById(e.getAttribute("aria-labelledby"))), "a section without a name");
	need(all("h1").length === 1 && document.documentElement.lang && document.title, "not one heading, a language and a title");
	let level = 1;
	for (const h of all("h1, h2, h3, h4")) { const n = +h.tagName[1]; need(n <= level + 1, "heading " + h.textContent + " skips a level"); level = n }
	const ids = all("[id]").map(e => e.id);
	need(new Set(ids).size === ids.length, "an id twice");
	need(all("a[href^='#']").every(e => document.getElementById(e.getAttribute("href").slice(1))), "a link that leads nowhere");
	need(!/[\u0000-\u0008\u202a-\u202e\u2066-\u2069]/.test(document.body.textContent), "a character that cannot be seen or turns the text around");

	// The contrast of texts to what they stand on, as WCAG 2 defines it: 4.5 at least, 3 for large ones.
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return c.startsWith("color(") ? [...m.slice(0, 3).map(x => x * 255), m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1] };
	const light = ([r, g, b]) => { const f = x => { x /= 255; return x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4 }; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b) };
	const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > .9) return c } return [255, 255, 255] };
	const low = new Set();
	for (const e of all("body *")) {
		if (!e.getClientRects().length || e.matches(".zero, .skip, title") || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
		const style = getComputedStyle(e), a = light(parse(style.color)), b = light(ground(e));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) low.add("hard to read, contrast " + ratio.toFixed(2) + ": " + e.tagName + " " + e.className);
	}
	return wrong.concat([...low]);
})`

// Faults returns what is wrong with the page: what is beyond its edges, what has no words, what the keyboard does not reach, what is hard to
// read, and everything that the browser had to complain of.
func (t *Tab) Faults() []string {
	t.tb.Helper()
	list := Eval[[]string](t, fmt.Sprintf("%s(%d)", faults, t.width))
	for _, said := range t.Complaints() {
		list = append(list, "the browser complains: "+said)
	}
	return list
}

// business is what a page that only shows something has no business with.
const business = `(() => {
	const wrong = [];
	const all = selector => [...document.querySelectorAll(selector)];
	for (const e of all("script, img, iframe, object, embed, form, input, video, audio, base, link[rel=stylesheet], [style], [onload], [onerror], [onclick]")) wrong.push("it has " + e.outerHTML.slice(0, 80));
	for (const e of all("svg *")) if (!["rect", "title", "circle", "path"].includes(e.tagName)) wrong.push("a chart has " + e.outerHTML.slice(0, 80));
	for (const e of all("a")) if (!e.getAttribute("href").startsWith("#")) wrong.push("a link leads away: " + e.href);
	return wrong;
})()`

// Business returns what a page that stands alone and only shows something must not have: anything that runs, loads, sends or leads away,
// and what it has asked for.
func (t *Tab) Business() []string {
	t.tb.Helper()
	list := Eval[[]string](t, business)
	for _, address := range t.Requests() {
		list = append(list, "it asks for "+address)
	}
	return list
}
