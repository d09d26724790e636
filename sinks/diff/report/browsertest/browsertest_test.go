package browsertest_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"haloingest/sinks/diff/report/browsertest"
)

// A tab that heard nothing would let every page pass.
func TestATabHearsWhatAPageDoes(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><meta name="viewport" content="width=device-width"><title>loud</title>
			<img src="/picture"><img src="http://elsewhere.example/pixel"><iframe src="/frame"></iframe>
			<script>console.error("said"); console.log("told", 7); setTimeout(() => { document.title = "done"; throw new Error("thrown") })</script>`))
	}))
	t.Cleanup(server.Close)
	tab := browsertest.New(t).Open(server.URL+"/", browsertest.View{Dark: true, Width: 390, Height: 800, Mobile: true})
	if title := browsertest.Eval[string](tab, `new Promise(done => { const look = () => document.title === "done" ? done(document.title) : setTimeout(look, 5); look() })`); title != "done" {
		t.Fatal(title)
	}
	all := strings.Join(tab.Complaints(), "\n")
	for _, want := range []string{"console.error: \"said\"", "console.log: \"told\" 7", "exception: Error: thrown", "404", "ERR_NAME_NOT_RESOLVED"} {
		if !strings.Contains(all, want) {
			t.Errorf("it did not hear %q of\n%s", want, all)
		}
	}
	asked := tab.Requests()
	for _, want := range []string{server.URL + "/picture", server.URL + "/frame", "http://elsewhere.example/pixel"} {
		if !slices.Contains(asked, want) {
			t.Errorf("it did not see %s among %q", want, asked)
		}
	}
	if len(asked) != 3 {
		t.Errorf("requests %q, want 3", asked)
	}
	if dark := browsertest.Eval[bool](tab, `matchMedia("(prefers-color-scheme: dark)").matches && innerWidth === 390 && devicePixelRatio === 2`); !dark {
		t.Error("it is not a dark phone")
	}
	if pdf := tab.PDF(); !strings.HasPrefix(string(pdf), "%PDF-") {
		t.Errorf("%d bytes are no PDF", len(pdf))
	}
	if png := tab.Screenshot(); !strings.HasPrefix(string(png), "\x89PNG") {
		t.Errorf("%d bytes are no PNG", len(png))
	}
}

func TestFaultsOfAPageAreFound(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bad.html")
	page := `<!doctype html><html><body><main style="width:3000px"><h1>one</h1><h3>three</h3><p id=a style="color:#999">pale</p><p id=a>twice</p><svg></svg>
		<table><tr><td>1</table><div class=scroll>x</div><section>s</section><a href="#nowhere">n</a><a href="http://elsewhere.example/">away</a>\u202e<form></form><img src="data:,"></main>`
	page = strings.ReplaceAll(page, "\\u202e", "\u202e")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	tab := browsertest.New(t).Open(browsertest.FileURL(file), browsertest.View{})
	all := strings.Join(append(tab.Faults(), tab.Business()...), "\n")
	for _, want := range []string{"wider than the window", "beyond the edge", "a picture without words", "an image without words", "a table without caption", "the keyboard does not reach",
		"a section without a name", "a language", "skips a level", "an id twice", "leads nowhere", "cannot be seen", "contrast 2.8", "it has <form", "leads away"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not found:\n%s", want, all)
		}
	}
}

// A phone makes room for what is too wide, by showing everything smaller, and its innerWidth grows with that.
func TestAPageThatIsWiderThanAPhoneIsFound(t *testing.T) {
	t.Parallel()
	phone := browsertest.View{Width: 390, Height: 844, Mobile: true}
	browser := browsertest.New(t)
	faults := func(meta, width string) []string {
		file := filepath.Join(t.TempDir(), "page.html")
		page := `<!doctype html><html lang="en"><head>` + meta + `<title>phone</title></head><body style="margin:0"><main style="width:` + width + `"><h1>one</h1></main></body></html>`
		if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		return browser.Open(browsertest.FileURL(file), phone).Faults()
	}
	const meta = `<meta name="viewport" content="width=device-width, initial-scale=1">`
	if found := faults(meta, "390px"); len(found) > 0 {
		t.Errorf("a page as wide as the screen has faults: %q", found)
	}
	for _, width := range []string{"400px", "600px", "3000px"} {
		all := strings.Join(faults(meta, width), "\n")
		for _, want := range []string{"wider than the window", "of 390", "beyond the edge"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s wide: %q is not found:\n%s", width, want, all)
			}
		}
	}
	if found := faults("", "auto"); len(found) == 0 {
		t.Error("a page that is not made for a phone has no faults")
	}
}

func TestAFileIsOpened(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a page #1 100%.html")
	if err := os.WriteFile(file, []byte(`<!doctype html><title>quiet</title><p>ä`), 0o600); err != nil {
		t.Fatal(err)
	}
	tab := browsertest.New(t).Open(browsertest.FileURL(file), browsertest.View{})
	if title := browsertest.Eval[string](tab, "document.title"); title != "quiet" {
		t.Errorf("title %q", title)
	}
	if said, asked := tab.Complaints(), tab.Requests(); len(said)+len(asked) > 0 {
		t.Errorf("complaints %q, requests %q", said, asked)
	}
}

func TestABrowserThatIsNamedIsTheOnlyOne(t *testing.T) {
	t.Setenv(browsertest.EnvBrowser, "/nowhere/chromium")
	if path, err := browsertest.Find(); err == nil || !strings.Contains(err.Error(), browsertest.EnvBrowser) {
		t.Errorf("found %q, %v", path, err)
	}
	fake := filepath.Join(t.TempDir(), "my browser")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv(browsertest.EnvBrowser, fake)
	if path, err := browsertest.Find(); path != fake {
		t.Errorf("found %q, %v", path, err)
	}
}
