package frame

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

var errorPage = sync.OnceValue(func() *Page {
	p, err := New("error", `{{define "body"}}<div class="alone"><p class="eyebrow">{{.Status}}</p><h1>{{visible .Title}}</h1>
<p class="lead">{{visible .Text}}</p>{{if .Home}}<p><a class="button" href="/">Go to the start page</a></p>{{end}}</div>{{end}}`)
	if err != nil {
		panic(err) // it is in the program
	}
	return p
})

// Error answers with a page that says what went wrong, in a title and a sentence or two. A title that is "" is the usual one of 400, 403, 404,
// 405, 413, 429, 500 and 503, and so is a text.
func Error(w http.ResponseWriter, status int, title, text string) {
	usual, ok := usualErrors[status]
	if !ok {
		usual = [2]string{http.StatusText(status), ""}
	}
	if title == "" {
		title = usual[0]
	}
	if text == "" {
		text = usual[1]
	}
	v := View{Title: title, Body: struct {
		Status      int
		Title, Text string
		Home        bool
	}{status, title, text, status < 500 && status != http.StatusTooManyRequests}}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
		v.Again = 5 * time.Second
	}
	if err := errorPage().Render(w, status, v); err != nil {
		http.Error(w, fmt.Sprintf("%d %s\n%s", status, title, text), status)
	}
}

var usualErrors = map[int][2]string{
	http.StatusBadRequest:            {"This request cannot be read", "Something in it is not as the page sends it. Go back, reload the page and try again."},
	http.StatusForbidden:             {"You may not do this", "Your role does not allow it. An administrator of this organisation can change that."},
	http.StatusNotFound:              {"There is nothing here", "The address may be mistyped, or you may not be allowed to see what is behind it."},
	http.StatusMethodNotAllowed:      {"This address takes no such request", "Go back, reload the page and try again."},
	http.StatusRequestEntityTooLarge: {"That is too much", "What was sent is larger than any form of this page. Nothing was changed."},
	http.StatusTooManyRequests:       {"Too many attempts", "Wait a minute, then try again."},
	http.StatusInternalServerError:   {"Something went wrong here", "Nothing that was stored is lost. Try again; if it stays, the service's log says why."},
	http.StatusServiceUnavailable:    {"The database cannot be reached", "Nothing is lost: work goes on by itself once it is back, and so does this page."},
}
