// Package frame is what the pages of the web service have in common: the frame with its style and script, and the rules of what they may
// load. Every page works without its script.
package frame

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"

	"haloingest/sinks/diff/report/page"
)

//go:embed assets templates
var files embed.FS

// View is what every page has.
type View struct {
	Title string
	User  string // who is signed in; "": nobody
	Admin bool   // may look after people, so that the way there is shown
	Body  any    // for the page's own template
}

// Page is a parsed page. It is safe for concurrent use.
type Page struct{ t *template.Template }

// New parses a page from templates that define "body"; it is executed with View.Body. They have the functions of package page (count, plural,
// share, size, span, moment, visible, capital).
func New(name string, texts ...string) (*Page, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"count": page.Count, "plural": page.Plural, "share": page.Share, "size": page.Size, "span": page.Span,
		"moment": page.Moment, "visible": page.Visible, "capital": page.Capital,
	}).ParseFS(files, "templates/*.html")
	for _, text := range texts {
		if err == nil {
			t, err = t.Parse(text)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("page %s: %w", name, err)
	}
	return &Page{t}, nil
}

// Render writes the page as a whole, or not at all: with an error, nothing has been written.
func (p *Page) Render(w http.ResponseWriter, status int, v View) error {
	var b bytes.Buffer
	if err := p.t.ExecuteTemplate(&b, "frame", v); err != nil {
		return fmt.Errorf("page %s: %w", p.t.Name(), err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // who has gone away need not be told
	return nil
}

// AssetsPath is where Assets are mounted, as a pattern of http.ServeMux.
const AssetsPath = "/assets/{file}"

// Assets serves the style and the script.
func Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "assets/"+r.PathValue("file"))
	})
}
