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

// One browser is enough for all.
func TestPagesInARealBrowser(t *testing.T) {
	t.Parallel()
	browser := browsertest.New(t)
	t.Run("are sound", func(t *testing.T) { pagesAreSound(t, browser) })
	t.Run("show hostile names as they are", func(t *testing.T) { hostileNamesStandThere(t, browser) })
	t.Run("are used with the keyboard", func(t *testing.T) { theKeyboardIsEnough(t, browser) })
}

func pagesAreSound(t *testing.T, browser *browsertest.Browser) {
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
		{"equal", equal(t), []browsertest.View{darkPhone}},
		{"different", different(t), []browsertest.View{dark, print}},
		{"hostile", hostile(t), []browsertest.View{wide, small, print}},
		{"partial", partial, []browsertest.View{phone}},
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
			for _, wrong := range append(tab.Faults(), tab.Business()...) {
				t.Errorf("%s, %+v: %s", name, v, wrong)
			}
			if browsertest.Eval[bool](tab, "window.harm !== undefined") {
				t.Errorf("%s, %+v: a script ran", name, v)
			}
			if v.Print && len(tab.PDF()) < 10_000 {
				t.Errorf("%s: it does not print", name)
			}
			tab.Close()
		}
	}
}

func hostileNamesStandThere(t *testing.T, browser *browsertest.Browser) {
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
	tab := browser.Open(browsertest.FileURL(file), browsertest.View{})
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
func theKeyboardIsEnough(t *testing.T, browser *browsertest.Browser) {
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
	tab := browser.Open(browsertest.FileURL(file), browsertest.View{})
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
