// Package page is the common ground of the pages that this program writes for people: one frame, one style, the charts, and how
// numbers, times and texts from outside are written. A page is one file that needs nothing beside it: no script, no font, no
// picture is loaded, and its Content-Security-Policy would not let it.
package page

import (
	"crypto/sha256"
	_ "embed" // of the style and the frame
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
)

//go:embed style.css
var style string

//go:embed frame.html
var frame string

// Page is a parsed page. It is safe for concurrent use.
type Page struct{ template *template.Template }

// New parses a page from templates that define "body"; it is executed with what Render is given. Beside html/template's own
// functions there are those of this package in lower case (count, plural, share, size, span, moment, visible, capital), and the templates
// "stack", "bar", "key" and "mark" of the charts.
func New(name string, texts ...string) (*Page, error) {
	t := template.New(name).Funcs(template.FuncMap{
		"count": Count, "share": Share, "size": Size, "span": Span, "moment": Moment, "visible": Visible, "plural": Plural,
		"capital": Capital,
	})
	for _, text := range append([]string{frame}, texts...) {
		if _, err := t.Parse(text); err != nil {
			return nil, fmt.Errorf("page %s: %w", name, err)
		}
	}
	return &Page{t}, nil
}

// Render writes the page. Everything in title and data is escaped.
func (p *Page) Render(w io.Writer, title string, data any) error {
	sum := sha256.Sum256([]byte(style))
	return p.template.ExecuteTemplate(w, "frame", struct {
		Title, StyleHash string
		Style            template.CSS
		Data             any
	}{Visible(title), "sha256-" + base64.StdEncoding.EncodeToString(sum[:]), template.CSS(style), data})
}
