package access_test

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/browsertest"
)

var shots = flag.String("shots", "", "write pictures of the pages into this folder")

var views = map[string]browsertest.View{
	"desktop-light": {}, "desktop-dark": {Dark: true},
	"phone-light": {Width: 390, Height: 844, Mobile: true}, "phone-dark": {Width: 390, Height: 844, Mobile: true, Dark: true},
}

// looker is somebody in front of a browser.
type looker struct {
	t    *testing.T
	tab  *browsertest.Tab
	view string
}

// sound checks the page that is shown, and takes its picture.
func (l *looker) sound(name string) {
	l.t.Helper()
	for _, fault := range l.tab.Faults() {
		// Answers that say no, and the icon that nobody serves here.
		if strings.Contains(fault, "the server responded with a status of 4") {
			continue
		}
		l.t.Errorf("%s, %s: %s", name, l.view, fault)
	}
	if *shots != "" {
		if err := os.WriteFile(filepath.Join(*shots, name+"-"+l.view+".png"), l.tab.Screenshot(), 0o644); err != nil {
			l.t.Error(err)
		}
	}
}

// at waits until the browser is at a path, and the page is there.
func (l *looker) at(path string) {
	l.t.Helper()
	var where string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		where = browsertest.Eval[string](l.tab, `document.readyState === "complete" ? location.pathname + location.search : ""`)
		if where == path {
			return
		}
	}
	l.t.Fatalf("%s: the browser is at %q, not at %q: %s", l.view, where, path, browsertest.Eval[string](l.tab, `document.body.innerText`))
}

// fill types into a field.
func (l *looker) fill(id, text string) {
	l.t.Helper()
	browsertest.Eval[bool](l.tab, `(document.getElementById("`+id+`").focus(), true)`)
	l.tab.Press(text)
}

// gone makes the page one that is not the next.
func (l *looker) send() {
	l.t.Helper()
	l.tab.Press("\r")
}

// Setting up, signing out and in, and looking after people, in a browser at http://127.0.0.1: without the script, too, nothing else happens.
func TestPeopleSetUpAndSignInInABrowser(t *testing.T) {
	t.Parallel()
	browser := browsertest.New(t)
	for view, v := range views {
		if view != "desktop-light" && view != "phone-dark" && *shots == "" && os.Getenv("HALOINGEST_PROOF") != "long" {
			continue
		}
		h := open(t, access.Options{OIDC: &access.OIDC{Issuer: "http://127.0.0.1:1", ClientID: "x", Name: "Example ID"}})
		link, err := h.gate.FirstLink(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l := &looker{t, browser.Open(link, v), view}
		l.at("/setup")
		l.sound("setup")
		if focus := browsertest.Eval[string](l.tab, `[...document.querySelectorAll("main input, main button")].map(e => e.name || e.type).join()`); focus != "username,password,password_again,submit" {
			t.Errorf("the form has %s", focus)
		}
		l.fill("username", "ada@example.com")
		l.fill("password", "123456789012")
		l.fill("password_again", "123456789012")
		l.send()
		wait(l, `!!document.querySelector("[role=alert]")`)
		l.sound("setup-refused")
		l.fill("password", password)
		l.fill("password_again", password)
		l.send()
		l.at("/")
		if who := browsertest.Eval[string](l.tab, `document.body.innerText`); who != "ada@example.com" {
			t.Errorf("%s: signed in is %q", view, who)
		}
		ada := h.find("ada@example.com")
		h.person("Grace Hopper", false, map[record.UUID]access.Role{orgA: access.Operator, orgB: access.Viewer})
		if err := h.gate.Audit(access.With(t.Context(), access.Identity{User: ada.ID, Name: ada.Name}), orgA, "connected a workspace", map[string]string{"workspace": "Acme", "region": "eu"}); err != nil {
			t.Fatal(err)
		}
		l.to(h.url+"/people", "/people")
		l.sound("people")
		l.fill("add-name", "grace.hopper.with.a.rather.long.address@subsidiary.example.com")
		l.send()
		wait(l, `!!document.querySelector(".copy")`)
		l.sound("people-link")
		for name, path := range map[string]string{"account": "/account", "audit": "/audit", "members": "/integrations/intercom/" + orgA.String() + "/people"} {
			l.to(h.url+path, path)
			l.sound(name)
		}
		browsertest.Eval[bool](l.tab, `(document.querySelector("form[action='/logout'] button").click(), true)`)
		l.at("/login")
		l.sound("login")
		l.to(h.url+"/people", "/login?next=%2Fpeople")
		l.fill("username", "ada@example.com")
		l.fill("password", "not her password")
		l.send()
		wait(l, `!!document.querySelector("[role=alert]")`)
		l.sound("login-refused")
		l.fill("password", password)
		l.send()
		l.at("/people")
		l.to(link, "/setup?token="+link[strings.LastIndex(link, "=")+1:])
		l.sound("link-used")
		l.tab.Close()
	}
}

func (l *looker) to(address, path string) {
	l.t.Helper()
	l.tab.Do(chromedp.Navigate(address))
	l.at(path)
}

func wait(l *looker, expression string) {
	l.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if browsertest.Eval[bool](l.tab, `document.readyState === "complete" && `+expression) {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: %s does not come true: %s", l.view, expression, browsertest.Eval[string](l.tab, `document.body.innerText`))
		}
	}
}

// By plain http on the machine itself the cookie goes without the prefix and Secure, which every client keeps. What this browser does with the others
// there is only said, since it is the browser's to change.
func TestABrowserKeepsThePlainCookieByPlainHTTP(t *testing.T) {
	t.Parallel()
	var sent []string
	asked := make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/set":
			http.SetCookie(w, &http.Cookie{Name: "__Host-a", Value: "1", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "1", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
			http.SetCookie(w, &http.Cookie{Name: "haloingest", Value: "1", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
			http.Redirect(w, r, "/get", http.StatusSeeOther)
		case "/get":
			for _, c := range r.Cookies() {
				sent = append(sent, c.Name)
			}
			asked <- struct{}{}
		}
	}))
	defer server.Close()
	browsertest.New(t).Open(server.URL+"/set", browsertest.View{})
	<-asked
	t.Logf("of __Host-a and b with Secure, and haloingest without, Chromium sends to http://127.0.0.1: %v", sent)
	if !strings.Contains(strings.Join(sent, " "), "haloingest") {
		t.Error("the cookie without Secure is not kept")
	}
}
