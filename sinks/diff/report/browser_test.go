package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report"
	"haloingest/sinks/diff/report/browsertest"
)

// faults asks a page in its browser what is wrong with it.
const faults = `(() => {
	const wrong = [];
	const need = (ok, what) => { if (!ok) wrong.push(what) };
	const all = selector => [...document.querySelectorAll(selector)];
	need(window.harm === undefined, "a script ran");
	need(all("script, img, iframe, object, embed, form, video, audio, base, link[rel=stylesheet], [style], [onload], [onerror]").length === 0, "an element that has no business here");
	need(all("svg *").every(e => ["rect", "title", "circle", "path"].includes(e.tagName)), "something else in a chart");
	need(document.documentElement.scrollWidth <= innerWidth, "it is wider than the window: " + document.documentElement.scrollWidth + " of " + innerWidth);
	for (const e of all("main *, header *")) {
		const box = e.getBoundingClientRect();
		if (box.width && (box.right > innerWidth + 1 || box.left < -1) && !e.closest(".scroll, .skip")) { wrong.push("beyond the edge: " + e.outerHTML.slice(0, 80)); break }
	}
	need(all("svg").every(e => e.getAttribute("aria-hidden") || e.getAttribute("role") === "img" && e.getAttribute("aria-label")), "a chart without words");
	need(all("table").every(e => e.caption && e.caption.textContent && e.querySelector("thead th[scope=col]") && e.querySelector("tbody th[scope=row]")), "a table without caption or headings");
	need(all(".scroll").every(e => e.tabIndex === 0 && e.getAttribute("aria-label")), "a region that the keyboard does not reach");
	need(all("section").every(e => document.getElementById(e.getAttribute("aria-labelledby"))), "a section without a name");
	need(all("h1").length === 1 && document.documentElement.lang === "en" && document.title, "one heading, a language and a title");
	let level = 1;
	for (const h of all("h1, h2, h3, h4")) { const n = +h.tagName[1]; need(n <= level + 1, "heading " + h.textContent + " skips a level"); level = n }
	const ids = all("[id]").map(e => e.id);
	need(new Set(ids).size === ids.length, "an id twice");
	need(all("a").every(a => a.getAttribute("href").startsWith("#")), "a link that leads away");
	need(!/[\u0000-\u0008\u202a-\u202e\u2066-\u2069]/.test(document.body.textContent), "a character that cannot be seen");
	return wrong;
})()`

// contrast of every text to what it stands on, as WCAG defines it; returns those below 4.5, or 3 for large text and what is zero.
const contrast = `(() => {
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return c.startsWith("color(") ? [...m.slice(0, 3).map(x => x * 255), m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1] };
	const light = ([r, g, b]) => { const f = x => { x /= 255; return x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4 }; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b) };
	const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > .9) return c } return [255, 255, 255] };
	const low = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (!e.getClientRects().length || e.matches(".zero, .skip, title") || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
		const style = getComputedStyle(e), a = light(parse(style.color)), b = light(ground(e));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) low.add(e.className + " " + e.tagName + " " + ratio.toFixed(2));
	}
	return [...low];
})()`

func TestPagesAreSoundInARealBrowser(t *testing.T) {
	t.Parallel()
	browser := browsertest.New(t)
	dir := t.TempDir()
	partial := different(t)
	partial.Verdict = diff.VerdictPartial
	wide, dark := browsertest.View{}, browsertest.View{Dark: true}
	phone, darkPhone := browsertest.View{Width: 390, Height: 844, Mobile: true}, browsertest.View{Width: 390, Height: 844, Mobile: true, Dark: true}
	small, print := browsertest.View{Width: 320, Height: 600}, browsertest.View{Width: 680, Print: true}
	empty := diff.Report{Verdict: diff.VerdictPartial, Sentence: "INTERRUPTED: nothing was compared"}
	for _, c := range []struct {
		name  string
		r     diff.Report
		views []browsertest.View
	}{
		{"equal", equal(t), []browsertest.View{wide, darkPhone}},
		{"different", different(t), []browsertest.View{dark, phone, print}},
		{"hostile", hostile(t), []browsertest.View{wide, darkPhone, small, print}},
		{"partial", partial, []browsertest.View{dark, phone}},
		{"empty", empty, []browsertest.View{wide}},
	} {
		name, r := c.name, c.r
		file := filepath.Join(dir, name+".html")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := report.HTML(f, r); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, v := range c.views {
			tab := browser.Open(browsertest.FileURL(file), v)
			for _, wrong := range browsertest.Eval[[]string](tab, faults) {
				t.Errorf("%s, %+v: %s", name, v, wrong)
			}
			for _, low := range browsertest.Eval[[]string](tab, contrast) {
				t.Errorf("%s, %+v: hard to read: %s", name, v, low)
			}
			if said := tab.Complaints(); len(said) > 0 {
				t.Errorf("%s, %+v: the browser complains: %q", name, v, said)
			}
			if asked := tab.Requests(); len(asked) > 0 {
				t.Errorf("%s, %+v: it asks for %q", name, v, asked)
			}
			if v.Print && len(tab.PDF()) < 10_000 {
				t.Errorf("%s: it does not print", name)
			}
			tab.Close()
		}
	}
}

func TestHostileNamesStandThereAsTheyAre(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "r.html")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.HTML(f, hostile(t)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	tab := browsertest.New(t).Open(browsertest.FileURL(file), browsertest.View{})
	text := browsertest.Eval[string](tab, "document.body.textContent")
	for _, want := range []string{
		`<script>window.harm=1;alert("harm")</script>`, `"><img src=x onerror="window.harm=1">`, `</style><script>window.harm=1</script>`, "‹U+202E›gnp.exe‹U+202C›",
		"👩‍👩‍👧‍👦", "naïve 漢字 العربية עברית", "nulin the middle", "line break tab", "‹U+001B›[31mred", "bad ‹not UTF-8›‹not UTF-8› bytes", `{{.Org}} {{template "body"}}`,
		"&lt;b&gt;&amp;", "… (10,000 characters)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
}

// The samples can be opened and closed, and wide tables moved, with the keyboard alone.
func TestThePageIsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "r.html")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.HTML(f, different(t)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	tab := browsertest.New(t).Open(browsertest.FileURL(file), browsertest.View{})
	var reached []string
	for range 30 {
		tab.Press("\t")
		reached = append(reached, browsertest.Eval[string](tab, `document.activeElement.tagName + " " + document.activeElement.className`))
		if strings.HasPrefix(reached[len(reached)-1], "SUMMARY") {
			break
		}
	}
	if !strings.HasPrefix(reached[0], "A skip") || !strings.HasPrefix(reached[len(reached)-1], "SUMMARY") {
		t.Fatalf("the tabulator leads to %q", reached)
	}
	const state = "document.activeElement.parentElement.open"
	if !browsertest.Eval[bool](tab, state) {
		t.Error("missing objects are not shown at once")
	}
	tab.Press(" ")
	if browsertest.Eval[bool](tab, state) {
		t.Error("the space bar does not close them")
	}
}
