// Package frame is what the pages of the web service have in common: the frame with its style and script, the rules of what they may load,
// and the pages that say that something went wrong. Every page works without its script.
package frame

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"haloingest/sinks/diff/report/page"
)

//go:embed assets templates
var files embed.FS

// SignOutPath takes the POST of who signs out, AccountPath is where one changes what is one's own, PeoplePath where people are looked after.
const (
	AccountPath = "/account"
	SignOutPath = "/logout"
	PeoplePath  = "/people"
)

// ContentPolicy is the Content-Security-Policy of every page: nothing inline, nothing from elsewhere.
const ContentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// View is what every page has. Texts are escaped, and what cannot be seen in them is made visible.
type View struct {
	Title  string
	User   string  // who is signed in; "": nobody
	Admin  bool    // may look after people, so that the way there is shown
	Org    string  // the organisation that the page is about, for people; "": none
	OrgURL string  // of its page
	Notice *Notice // what became of what was just asked for; nil: nothing
	// Live is where server-sent events of this page come from; "": it does not change by itself. See assets/live.js.
	Live string
	// Again is after how long a browser that runs no script loads the page anew; 0: never.
	Again time.Duration
	Body  any // for the page's own template
}

// Notice is one sentence above the page.
type Notice struct {
	Tone string // good, bad, open
	Text string
}

// Seconds of Again.
func (v View) Seconds() int { return int(v.Again.Seconds()) }

// Page is a parsed page. It is safe for concurrent use.
type Page struct{ t *template.Template }

// New parses a page from templates that define "body"; it is executed with View.Body. They have the functions of package page (count, plural,
// share, size, span, moment, visible, short, capital), asset, which is the address of a file of Assets, and the template "mark" of good, bad,
// open, busy and none.
func New(name string, texts ...string) (*Page, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"count": page.Count, "plural": page.Plural, "share": page.Share, "size": page.Size, "span": page.Span,
		"moment": page.Moment, "visible": page.Visible, "short": func(most int, s string) string { return page.Short(s, most) },
		"capital": page.Capital, "asset": Asset,
		"account": func() string { return AccountPath }, "signout": func() string { return SignOutPath }, "people": func() string { return PeoplePath },
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

// Render writes the page as a whole, or not at all: with an error, nothing has been written. What one person sees is kept by no cache.
func (p *Page) Render(w http.ResponseWriter, status int, v View) error {
	var b bytes.Buffer
	if err := p.t.ExecuteTemplate(&b, "frame", v); err != nil {
		return fmt.Errorf("page %s: %w", p.t.Name(), err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", ContentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // who has gone away need not be told
	return nil
}

// Fragment executes one of the page's templates by itself.
func (p *Page) Fragment(name string, data any) (string, error) {
	var b bytes.Buffer
	if err := p.t.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("page %s, %s: %w", p.t.Name(), name, err)
	}
	return b.String(), nil
}
