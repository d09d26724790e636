package service_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

// asService makes the test binary a service that can be killed.
const asService = "HALOINGEST_TEST_AS_SERVICE"

// spec is what such a service is given.
type spec struct{ Database, DataDir, Intercom string }

func TestMain(m *testing.M) {
	if text := os.Getenv(asService); text != "" {
		var s spec
		err := json.Unmarshal([]byte(text), &s)
		if err == nil {
			ctx := context.Background()
			err = service.Run(ctx, ctx, service.Config{
				Database: s.Database, Master: secret.MasterKey{DataDir: s.DataDir}, Listen: "127.0.0.1:0", Intercom: intercom.Options{BaseURL: s.Intercom},
				Started: func(at service.Started) error { _, err := fmt.Println(at.Local); return err },
			})
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// sendAll sends webhooks about contacts by some clients at once until stop says so, and returns the ids of those that were answered 200.
func sendAll(p *place, url string, next *atomic.Int64, clients int, contacts []string, stop func(answered int64) bool) []string {
	var mu sync.Mutex
	var accepted []string
	var answered atomic.Int64
	var senders sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	for range clients {
		senders.Go(func() {
			for {
				n := next.Add(1)
				id := fmt.Sprintf("n-%d", n)
				body := event(id, "contact.user.updated", fmt.Sprintf(`{"type":"contact","id":%q}`, contacts[int(n)%len(contacts)]))
				req, _ := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
				req.Header.Set(webhook.SignatureHeader, sign(body))
				resp, err := client.Do(req)
				if err != nil {
					return // it was killed
				}
				_ = resp.Body.Close()
				if resp.StatusCode == 200 {
					mu.Lock()
					accepted = append(accepted, id)
					mu.Unlock()
					answered.Add(1)
				} else if resp.StatusCode != 503 {
					p.tb.Errorf("status %d", resp.StatusCode)
				}
				if stop(answered.Load()) {
					return
				}
			}
		})
	}
	senders.Wait()
	return accepted
}

func (p *place) contacts() (ids []string) {
	for c := range p.sim.Ledger().Contacts() {
		ids = append(ids, c.ID)
	}
	return ids
}

// allDone requires that each accepted webhook is there once and was worked on, and that every contact has one row as the workspace has it.
func (p *place) allDone(accepted []string) {
	p.tb.Helper()
	if lost := scalar[int](p, `SELECT count(*) FROM unnest($1::text[]) k(id) WHERE NOT EXISTS (
		SELECT FROM ingest.webhook_inbox i WHERE i.org_id = $2 AND i.notification_id = k.id)`, accepted, [16]byte(org)); lost != 0 {
		p.tb.Errorf("%d of %d accepted webhooks were lost", lost, len(accepted))
	}
	p.until(`SELECT NOT EXISTS (SELECT FROM ingest.webhook_inbox WHERE done_at IS NULL)`)
	if n := scalar[int](p, `SELECT count(*) - count(DISTINCT (org_id, notification_id)) FROM ingest.webhook_inbox`); n != 0 {
		p.tb.Errorf("%d webhooks are there twice", n)
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox WHERE parked_at IS NOT NULL OR error IS NOT NULL`); n != 0 {
		p.tb.Errorf("%d webhooks were put aside", n)
	}
	for c := range p.sim.Ledger().Contacts() {
		// Contacts that are one person share a row, which shows one of them.
		var rows, old int
		err := p.db.Pool().QueryRow(context.Background(), `SELECT (SELECT count(*) FROM ingest.id_map m JOIN public.end_users u ON u.org_id = m.org_id AND u.id = m.row_id
				WHERE m.org_id = $1 AND m.kind = 'contact' AND m.source_id = $2 AND u.deleted_at IS NULL),
			(SELECT count(*) FROM public.end_users WHERE org_id = $1 AND source_id = $2 AND source_updated_at <> to_timestamp($3))`, [16]byte(org), c.ID, c.UpdatedAt).Scan(&rows, &old)
		if err != nil || rows != 1 || old != 0 {
			p.tb.Errorf("contact %s has %d rows, %d of them not as it is now (%v)", c.ID, rows, old, err)
		}
	}
}

func TestWhatWasAcceptedIsWorkedOnAfterKillsUnderLoad(t *testing.T) {
	t.Parallel()
	kills := 3
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		kills = 50
	}
	p := newPlace(t, intercomtest.Options{Conversations: 1, Contacts: 20, Oddities: -1})
	p.backfill(p.serve(), org)
	contacts := p.contacts()
	var accepted []string
	var next atomic.Int64
	for range kills {
		s, err := json.Marshal(spec{p.url, p.master.DataDir, p.sim.URL})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asService+"="+string(s))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		base, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		p.sim.TouchRandom(intercomtest.Contacts, 5)
		limit := int64(200 + rand.IntN(600))
		accepted = append(accepted, sendAll(p, strings.TrimSpace(base)+hookPath(org), &next, 16, contacts, func(n int64) bool {
			if n >= limit {
				_ = cmd.Process.Kill()
			}
			return false
		})...)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	if len(accepted) < 200*kills {
		t.Fatalf("only %d were accepted", len(accepted))
	}
	p.serve()
	p.allDone(accepted)
}

func TestADatabaseThatGoesAwayAndComesBackIsSurvived(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Private(t)
	p := placeAt(t, intercomtest.Options{Conversations: 1, Contacts: 20, Oddities: -1}, cluster.URL())
	r := p.serve()
	p.backfill(r, org)
	p.person("admin@example.com", true, nil)
	session := r.signIn("admin@example.com")
	contacts := p.contacts()
	var next atomic.Int64
	var accepted []string
	for round, end := range []func(){cluster.Kill, cluster.Stop} {
		p.sim.TouchRandom(intercomtest.Contacts, 5)
		// It goes away in the middle of things.
		accepted = append(accepted, sendAll(p, r.Local+hookPath(org), &next, 8, contacts, func(n int64) bool { return n >= 100 })...)
		sent := make(chan []string)
		away := make(chan struct{})
		go func() {
			sent <- sendAll(p, r.Local+hookPath(org), &next, 8, contacts, func(int64) bool {
				select {
				case <-away:
					return true
				default:
					return false
				}
			})
		}()
		end()
		p.wait("it says that it is not ready", func() bool { return r.get("/readyz").status == 503 })
		if a := r.get("/readyz"); a.body != "not ready: the database cannot be reached\n" {
			t.Errorf("round %d: not ready because of %q", round, a.body)
		}
		if a := r.get("/healthz"); a.status != 200 {
			t.Errorf("round %d: not alive: %d", round, a.status)
		}
		body := event(fmt.Sprintf("away-%d", round), "contact.user.updated", `{"type":"contact","id":"x"}`)
		if status := r.hook(body); status != 503 {
			t.Errorf("round %d: a webhook is answered %d", round, status)
		}
		if a := r.get(pagePath(org), session...); a.status != 503 || !strings.Contains(a.body, "cannot be reached") || !strings.Contains(a.body, "</html>") {
			t.Errorf("round %d: a page is answered %d %.300s", round, a.status, a.body)
		}
		if a := r.get(statusPath(org), session...); a.status != 503 || !json.Valid([]byte(a.body)) {
			t.Errorf("round %d: the status is answered %d %.300s", round, a.status, a.body)
		}
		if a := r.get("/metrics"); a.status != 200 {
			t.Errorf("round %d: figures are answered %d", round, a.status)
		}
		close(away)
		accepted = append(accepted, <-sent...)
		cluster.Start()
		p.wait("it is ready again", func() bool { return r.get("/readyz").status == 200 })
		p.wait("pages are there again", func() bool { return r.get(pagePath(org), session...).status == 200 })
		accepted = append(accepted, sendAll(p, r.Local+hookPath(org), &next, 8, contacts, func(n int64) bool { return n >= 50 })...)
		p.sim.TouchRandom(intercomtest.Contacts, 1)
		p.wait("the database answers", func() bool { return p.db.Pool().Ping(context.Background()) == nil })
		accepted = append(accepted, sendAll(p, r.Local+hookPath(org), &next, 1, contacts, func(n int64) bool { return n >= 20 })...)
		p.allDone(accepted)
	}
}

func TestAnIntercomThatIsDownLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1, Contacts: 20, Oddities: -1})
	r := p.serve()
	p.backfill(r, org)
	contacts := p.contacts()
	down, err := intercomtest.ParseFaults("5xx:rate=1")
	if err != nil {
		t.Fatal(err)
	}
	p.sim.TouchRandom(intercomtest.Contacts, 10)
	if err := p.sim.SetFaults(down...); err != nil {
		t.Fatal(err)
	}
	var next atomic.Int64
	accepted := sendAll(p, r.Local+hookPath(org), &next, 8, contacts, func(n int64) bool { return n >= 300 })
	p.until(`SELECT EXISTS (SELECT FROM ingest.river_job WHERE kind = 'drain' AND cardinality(errors) >= 2)`)
	if n := scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox WHERE done_at IS NOT NULL`); n != 0 {
		t.Errorf("%d webhooks are done with, and Intercom has told nothing", n)
	}
	if a := r.get("/readyz"); a.status != 200 {
		t.Errorf("without Intercom it is not ready: %d %s", a.status, a.body)
	}
	if err := p.sim.SetFaults(); err != nil {
		t.Fatal(err)
	}
	p.allDone(accepted)
}
