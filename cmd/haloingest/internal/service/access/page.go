package access

import (
	"embed"
	"errors"
	"net/http"

	"haloingest/cmd/haloingest/internal/service/frame"
)

//go:embed templates
var files embed.FS

// pages are those of the gate.
type pages struct {
	login, setup, account, people, members, audit *frame.Page
}

func newPages() (p pages, err error) {
	for _, x := range []struct {
		into **frame.Page
		name string
		with []string
	}{
		{&p.login, "login", nil}, {&p.setup, "setup", nil}, {&p.account, "account", nil}, {&p.audit, "audit", nil},
		{&p.people, "people", []string{"link", "roles"}}, {&p.members, "members", []string{"link", "roles"}},
	} {
		var texts []string
		for _, name := range append(x.with, x.name) {
			b, err := files.ReadFile("templates/" + name + ".html")
			if err != nil {
				return p, err
			}
			texts = append(texts, string(b))
		}
		if *x.into, err = frame.New(x.name, texts...); err != nil {
			return p, err
		}
	}
	return p, nil
}

// render shows a page, with what is to be said of what was asked for before.
func (g *Gate) render(w http.ResponseWriter, r *http.Request, page *frame.Page, status int, title string, body any) {
	who := Of(r.Context())
	v := frame.View{Title: title, User: who.Name, Admin: who.Overseer, Body: body}
	if g.sessions.Exists(r.Context(), keyNotice) {
		v.Notice = &frame.Notice{Tone: g.sessions.PopString(r.Context(), keyTone), Text: g.sessions.PopString(r.Context(), keyNotice)}
	}
	if err := page.Render(w, status, v); err != nil {
		g.failed(w, r, err)
	}
}

// done sends back to a page that says what became of what was asked for.
func (g *Gate) done(w http.ResponseWriter, r *http.Request, to, text string, err error) {
	tone := "good"
	var input *InputError
	switch {
	case errors.As(err, &input):
		tone, text = "bad", input.Text
	case errors.Is(err, ErrNoUser):
		tone, text = "bad", "There is no such person any more."
	case err != nil:
		g.failed(w, r, err)
		return
	}
	g.sessions.Put(r.Context(), keyTone, tone)
	g.sessions.Put(r.Context(), keyNotice, text)
	http.Redirect(w, r, to, http.StatusSeeOther)
}
