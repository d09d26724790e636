package frame_test

import (
	"compress/gzip"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/sinks/diff/report/browsertest"
)

func serve(tb testing.TB, page http.Handler) string {
	mux := http.NewServeMux()
	mux.Handle("GET "+frame.AssetsPath, frame.Assets())
	mux.Handle("/", page)
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var from io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if from, err = gzip.NewReader(resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	body, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestAssetsAreKeptForGoodUnderTheAddressOfTheirContent(t *testing.T) {
	t.Parallel()
	url := serve(t, http.NotFoundHandler())
	for name, kind := range map[string]string{"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		at, err := frame.Asset(name)
		if err != nil || !regexp.MustCompile(`^/assets/[a-z]+-[0-9a-f]{12}\.[a-z]+$`).MatchString(at) {
			t.Fatalf("%s is at %q, %v", name, at, err)
		}
		plain, text := get(t, url+at)
		zipped, same := get(t, url+at, "Accept-Encoding", "br, gzip;q=0.5")
		refused, _ := get(t, url+at, "Accept-Encoding", "gzip;q=0")
		if text == "" || text != same {
			t.Errorf("%s has %d and %d bytes", name, len(text), len(same))
		}
		if plain.Header.Get("Content-Encoding") != "" || zipped.Header.Get("Content-Encoding") != "gzip" || refused.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s comes packed as %q, %q, %q", name, plain.Header["Content-Encoding"], zipped.Header["Content-Encoding"], refused.Header["Content-Encoding"])
		}
		got, _, _ := mime.ParseMediaType(plain.Header.Get("Content-Type"))
		if got != kind || !strings.Contains(plain.Header.Get("Cache-Control"), "immutable") || plain.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, plain.Header)
		}
	}
	for _, path := range []string{"/assets/style.css", "/assets/style-000000000000.css", "/assets/frame.go", "/assets/..%2fframe.html"} {
		if resp, _ := get(t, url+path); resp.StatusCode != http.StatusNotFound || strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
}

func TestPagesOfErrorsSayWhatIsWrongAndLeadOn(t *testing.T) {
	t.Parallel()
	b := browsertest.New(t)
	for status, want := range map[int]string{403: "You may not do this", 404: "There is nothing here", 413: "That is too much", 429: "Too many attempts", 500: "Something went wrong here", 503: "The database cannot be reached", 418: "I'm a teapot"} {
		url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { frame.Error(w, status, "", "") }))
		resp, body := get(t, url)
		if resp.StatusCode != status || !strings.Contains(strings.ReplaceAll(body, "&#39;", "'"), "<h1>"+want) || (resp.Header.Get("Retry-After") != "") != (status == 503) {
			t.Errorf("%d: %d %v\n%s", status, resp.StatusCode, resp.Header, body)
		}
		if status != 404 && status != 503 {
			continue
		}
		tab := b.Open(url, browsertest.View{Width: 390, Height: 844, Mobile: true, Dark: status == 503})
		for _, fault := range tab.Faults() {
			if !strings.Contains(fault, "the server responded with a status of") { // which it should
				t.Errorf("%d: %s", status, fault)
			}
		}
	}
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { frame.Error(w, 404, `<b>"`, "\u202e<script>") }))
	if _, body := get(t, url); strings.Contains(body, "<b>") || strings.Contains(body, "\u202e") || strings.Count(body, "<script") != 1 {
		t.Errorf("it lets words through as they are:\n%s", body)
	}
}

func TestThePolicyLetsNothingInlineRun(t *testing.T) {
	t.Parallel()
	p, err := frame.New("test", `{{define "body"}}<h1>Here</h1><p id="x">{{.}}</p><script>window.harm = 1</script><p style="color: red" onclick="window.harm=1" id="y">y</p>{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := p.Render(w, 200, frame.View{Title: "T", User: "ada", Again: 5 * time.Second, Body: "<i>"}); err != nil {
			t.Error(err)
		}
	}))
	tab := browsertest.New(t).Open(url, browsertest.View{})
	if browsertest.Eval[bool](tab, `document.getElementById("y").click(), "harm" in window || getComputedStyle(document.getElementById("y")).color === "rgb(255, 0, 0)"`) {
		t.Error("something inline works")
	}
	resp, body := get(t, url)
	if csp := resp.Header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", resp.Header)
	}
	if !strings.Contains(body, `<noscript><meta http-equiv="refresh" content="5"></noscript>`) || !strings.Contains(body, "&lt;i&gt;") {
		t.Error(body)
	}
}

func TestAPageThatCannotBeRenderedIsNotBegun(t *testing.T) {
	t.Parallel()
	p, err := frame.New("test", `{{define "body"}}{{.Missing}}{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if err := p.Render(w, 200, frame.View{Body: 7}); err == nil || w.Body.Len() > 0 {
		t.Errorf("%v, %q", err, w.Body)
	}
	if _, err := frame.New("test", `{{define "body"}}{{`); err == nil {
		t.Error("a broken template is taken")
	}
	if _, err := frame.Asset("nothing.css"); err == nil {
		t.Error("there is an asset of any name")
	}
}
