package site

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/sinks/diff/report/browsertest"
	"haloingest/sources/intercom/intercomtest"
)

// person uses the page by the keyboard alone.
type person struct {
	l   *lab
	tab *browsertest.Tab
	dir string // for pictures; "": none
}

// reach presses the tabulator until a selector has the focus.
func (p *person) reach(selector string) {
	p.l.tb.Helper()
	for range 120 {
		if browsertest.Eval[bool](p.tab, `!!document.activeElement && document.activeElement.matches(`+quote(selector)+`)`) {
			if !browsertest.Eval[bool](p.tab, `(() => { const s = getComputedStyle(document.activeElement), l = document.activeElement.closest("label"); return s.outlineStyle !== "none" || !!l && getComputedStyle(l).outlineStyle !== "none" })()`) {
				p.l.tb.Errorf("%s has the focus, and nobody sees it", selector)
			}
			return
		}
		p.tab.Press("\t")
	}
	p.l.tb.Fatalf("the keyboard does not reach %s on %s", selector, browsertest.Eval[string](p.tab, `location.pathname + ": " + document.body.innerText.slice(0, 300)`))
}

func quote(s string) string { return "`" + s + "`" }

// until waits until the page says something, whether it was loaded anew or brought up to date.
func (p *person) until(text string) {
	p.l.tb.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		said := browsertest.Eval[string](p.tab, `document.readyState === "complete" ? document.body.innerText : ""`)
		if strings.Contains(said, text) {
			return
		}
		if time.Now().After(deadline) {
			p.l.tb.Fatalf("the page does not say %q but:\n%s", text, said)
		}
	}
}

func (p *person) sound(name string) {
	p.l.tb.Helper()
	for _, fault := range p.tab.Faults() {
		if !strings.Contains(fault, "a status of 422") { // as it should, to a form that has something wrong
			p.l.tb.Errorf("%s: %s", name, fault)
		}
	}
	if p.dir != "" {
		p.l.must(os.WriteFile(filepath.Join(p.dir, "story-"+name+".png"), p.tab.Screenshot(), 0o644))
	}
}

// The whole story, by the keyboard, in a browser, through the gate, against a worker and a simulated workspace.
func TestAPersonConnectsWatchesTheHistoryArriveAndDisconnects(t *testing.T) {
	t.Parallel()
	for _, v := range views {
		if v.name != "desktop-light" && os.Getenv("HALOINGEST_PROOF") != "long" {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			story(t, v.name, v.view)
		})
	}
}

func story(t *testing.T, name string, view browsertest.View) {
	b := browsertest.New(t)
	l := newLab(t)
	ctx := context.Background()
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 9, Conversations: 700, Contacts: 120, Tickets: 20, AppName: "Acme Support", Latency: 25 * time.Millisecond})
	l.sims["us"] = sim
	worker, err := work.New(work.Options{DB: l.db, Connections: l.store, Client: l.client, Concurrency: 4})
	l.must(err)
	working, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx, working) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the worker: %v", err)
		}
	})
	server := httptest.NewUnstartedServer(nil)
	public := "http://" + server.Listener.Addr().String()
	gate, err := access.New(ctx, access.Options{DB: l.db, PublicURL: public})
	l.must(err)
	l.site.o.Audit, l.site.o.PublicURL = gate.Audit, public
	server.Config.Handler, err = gate.Mux(append(append(gate.Routes(), l.site.Routes()...),
		access.Route{Method: "GET", Pattern: frame.AssetsPath, Policy: access.Policy{Need: access.Anyone}, Handler: frame.Assets()}))
	l.must(err)
	server.Start()
	t.Cleanup(func() { l.site.Close(); server.Close() })
	first, err := gate.FirstLink(ctx)
	l.must(err)

	p := &person{l: l, tab: b.Open(first, view)}
	if *shots != "" {
		p.dir = filepath.Join(*shots, name)
		l.must(os.MkdirAll(p.dir, 0o755))
	}
	p.reach(`input[name=username], input[name=name]`)
	p.tab.Press("ada@example.com")
	for _, field := range browsertest.Eval[[]string](p.tab, `[...document.querySelectorAll("input[type=password]")].map(e => e.name)`) {
		p.reach(`input[name="` + field + `"]`)
		p.tab.Press("a quiet harbour at dawn")
	}
	p.tab.Press("\r")
	p.until("Organisations")
	org := orgN(1)
	p.sound("1-home")
	p.reach(`#org`)
	p.tab.Press("nonsense\r")
	p.until("That is no organisation's id")
	p.sound("1-refused")
	p.reach(`#org`)
	p.tab.Press(org.String() + "\r")
	p.until("Connect Intercom")
	p.sound("2-connect")
	p.reach(`input[name=region]`)
	p.tab.Press(" ")
	p.reach(`#token`)
	p.tab.Press("nonsense\r")
	p.until("Intercom does not take this token")
	p.sound("3-refused")
	if v := browsertest.Eval[string](p.tab, `document.querySelector("input[name=region]:checked").value + document.getElementById("token").value`); v != "us" {
		t.Errorf("the form has kept %q", v)
	}
	p.reach(`#token`)
	p.tab.Press(sim.Token + "\r")
	p.until("Choose the fields")
	p.sound("4-fields")
	p.reach(`.actions button`)
	p.tab.Press("\r")
	p.until("Connected. Reading the history has been queued")
	p.sound("5-connected")
	browsertest.Eval[bool](p.tab, `window.kept = true`) // gone if the page is loaded anew
	p.until("Reading the history\n")
	p.until("running for")
	p.reach(`summary`)
	p.tab.Press("\r")
	p.sound("6-reading")
	p.until("Everything is in step")
	if !browsertest.Eval[bool](p.tab, `window.kept === true`) {
		t.Error("the page was loaded anew rather than brought up to date")
	}
	if !browsertest.Eval[bool](p.tab, `document.getElementById("figures").open && document.activeElement.matches("summary")`) {
		t.Error("what was open was closed, or the focus is lost")
	}
	if said := browsertest.Eval[string](p.tab, `document.getElementById("said").textContent`); said != "Everything is in step" {
		t.Errorf("who does not see the page was told %q", said)
	}
	p.sound("7-in-step")
	var shown []int
	for i, table := range []string{"end_users", "companies", "transcripts", "tickets"} {
		want := scalar[int](l, `SELECT count(*) FROM public.`+table+` WHERE org_id = $1 AND source_id IS NOT NULL AND deleted_at IS NULL`, org)
		shown = browsertest.Eval[[]int](p.tab, `[...document.querySelectorAll(".totals dd")].map(e => +e.firstChild.textContent.replaceAll(",", ""))`)
		if want == 0 || len(shown) != 4 || shown[i] != want {
			t.Errorf("%s: the page shows %v, the table has %d", table, shown, want)
		}
	}
	if want := sim.Ledger().Counts().Conversations; len(shown) == 4 && shown[2] != want {
		t.Errorf("the page shows %d conversations, the workspace has %d", shown[2], want)
	}

	p.reach(`.tabs a[href$="/settings"]`)
	p.tab.Press("\r")
	p.until("Webhook secret")
	if url := browsertest.Eval[string](p.tab, `document.getElementById("webhook-url").textContent`); url != public+WebhookPath+org.String() {
		t.Errorf("the address for webhooks is %q", url)
	}
	p.reach(`#webhook_secret`)
	p.tab.Press("canary-webhook-secret-0001\r")
	p.until("The webhook secret is configured")
	p.sound("8-secret")
	if strings.Contains(browsertest.Eval[string](p.tab, `document.documentElement.outerHTML`), "canary-") {
		t.Error("the page shows the secret")
	}
	p.reach(`a[href$="/disconnect"]`)
	p.tab.Press("\r")
	p.until("What stays")
	p.sound("9-disconnect")
	p.reach(`input[name=confirm]`)
	p.tab.Press(" ")
	p.reach(`button.danger`)
	p.tab.Press("\r")
	p.until("Disconnected")
	p.sound("10-disconnected")
	if n := scalar[int](l, `SELECT count(*) FROM ingest.connections WHERE org_id = $1 AND token IS NULL AND webhook_secret IS NULL`, org); n != 1 {
		t.Error("a secret is still stored")
	}
	if n := scalar[int](l, `SELECT count(*) FROM public.transcripts WHERE org_id = $1`, org); len(shown) == 4 && n < shown[2] {
		t.Errorf("%d of %d conversations are left", n, shown[2])
	}
	if n := scalar[int](l, `SELECT count(DISTINCT action) FROM ingest.audit WHERE org_id = $1 AND who = 'ada@example.com'`, org); n < 5 {
		t.Errorf("%d kinds of deeds were recorded", n)
	}
	if n := scalar[int](l, `SELECT count(*) FROM ingest.runs WHERE org_id = $1 AND kind = 'backfill'`, org); n != 1 {
		t.Errorf("%d backfills", n)
	}
	p.reach(`header button`)
	p.tab.Press("\r")
	p.until("Sign in")
}
