package work

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

// receive serves the webhook handler, and has the workspaces tell it of changes at once.
func (p *place) receive(stored func([]record.UUID)) {
	p.tb.Helper()
	h := webhook.New(connection.NewKeyring(p.store, logger(p.tb)), p.db, webhook.Options{Log: logger(p.tb), Stored: stored})
	mux := http.NewServeMux()
	mux.Handle(webhook.Path, h)
	srv := httptest.NewServer(mux)
	p.tb.Cleanup(func() { srv.Close(); h.Close() })
	for org, sim := range p.sims {
		sim.SendWebhooks(intercomtest.Webhooks{
			URL: srv.URL + "/api/integrations/intercom/webhook/" + org.String(), Secret: "canary-webhook-secret-0001", Client: srv.Client(), Live: true, Parallel: 4,
		})
	}
}

func (p *place) open(org record.UUID) int {
	return scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox WHERE org_id = $1 AND done_at IS NULL`, org)
}

// latencies are those of the deliveries that are done, in seconds: the p-th percentile of org's.
func (p *place) latency(org record.UUID, share float64) float64 {
	return scalar[float64](p, `SELECT coalesce(percentile_cont($2) WITHIN GROUP (ORDER BY extract(epoch FROM done_at - received_at)), 0)
		FROM ingest.webhook_inbox WHERE org_id = $1 AND done_at IS NOT NULL`, org, share)
}

func TestDeliveriesBecomeRowsWithinSeconds(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, small)
	w := p.start(p.options())
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.eventually("the backfill", p.synced(org))
	p.receive(w.Stored)
	ids := sim.TouchRandom(intercomtest.Conversations, 20)
	for i, id := range ids {
		if _, err := sim.Reply(id, "user", fmt.Sprintf("Reply %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	sim.Deliver(t.Context())
	p.eventually("an empty inbox", func() bool { return p.open(org) == 0 })
	t.Logf("%d deliveries, half of them in %.2f s, 95 %% in %.2f s", scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox`), p.latency(org, 0.5), p.latency(org, 0.95))
	p.whole(org)
	// No job for each delivery.
	if n := scalar[int](p, `SELECT count(*) FROM ingest.river_job WHERE kind = 'drain'`); n > 20 {
		t.Errorf("%d drains for 40 deliveries of one moment", n)
	}
}

// A process may die between storing a delivery and telling of it.
func TestDeliveriesThatNobodyToldOfAreFound(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, small)
	p.start(p.options())
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.eventually("the backfill", p.synced(org))
	p.receive(nil)
	if _, err := sim.Reply(sim.TouchRandom(intercomtest.Conversations, 1)[0], "user", "Hello again"); err != nil {
		t.Fatal(err)
	}
	sim.Deliver(t.Context())
	p.eventually("an empty inbox", func() bool { return p.open(org) == 0 })
}

func TestDeliveriesDoNotWaitForABackfill(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	w := p.start(p.options())
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.eventually("half of the backfill", half(sim))
	p.receive(w.Stored)
	if _, err := sim.CreateConversation("", "Is anybody there?"); err != nil {
		id, err := sim.CreateContact(map[string]any{"name": "Made", "email": "made@example.com", "role": "user"})
		p.must(err)
		_, err = sim.CreateConversation(id, "Is anybody there?")
		p.must(err)
	}
	sim.Deliver(t.Context())
	p.eventually("an empty inbox", func() bool {
		return p.open(org) == 0 && scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox`) > 0
	})
	if p.synced(org)() {
		t.Fatal("the backfill was over before; it proves nothing")
	}
	p.must(sim.SetFaults())
	p.eventually("the backfill", p.synced(org))
	p.whole(org)
}

// One organisation has a huge backfill and webhooks without end; the others' deliveries and backfills do not wait for it.
func TestANoisyOrganisationStarvesNobody(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	noisy, noise := p.connect(1, intercomtest.Options{Seed: 9, Conversations: 3000, Contacts: 100, Companies: 6, Tickets: 10})
	p.drag(noise)
	quiet, sim := p.connect(2, small)
	late, _ := p.connect(3, small)
	o := p.options()
	o.Backfills, o.Syncs, o.Drains, o.Slice, o.PassFor = 1, 1, 1, 2*time.Second, time.Second
	w := p.start(o)
	p.must(p.queue.Backfill(t.Context(), nil, quiet, BackfillOptions{}))
	p.eventually("the quiet one's backfill", p.synced(quiet))
	p.receive(w.Stored)
	p.must(p.queue.Backfill(t.Context(), nil, noisy, BackfillOptions{}))
	p.eventually("the noisy one's backfill", half(noise))
	// Changes as fast as they are told of, until the others are done.
	ctx, stop := context.WithCancel(t.Context())
	var crew sync.WaitGroup
	crew.Go(func() {
		for ctx.Err() == nil {
			noise.TouchRandom(intercomtest.Conversations, 10)
			noise.Deliver(ctx)
		}
	})
	p.must(p.queue.Backfill(t.Context(), nil, late, BackfillOptions{}))
	for i, id := range sim.TouchRandom(intercomtest.Conversations, 10) {
		_, err := sim.Reply(id, "user", fmt.Sprintf("Reply %d", i))
		p.must(err)
	}
	sim.Deliver(t.Context())
	p.eventually("the quiet one's inbox", func() bool { return p.open(quiet) == 0 })
	p.eventually("the late one's backfill", p.synced(late))
	p.must(p.queue.Sync(t.Context(), quiet))
	p.eventually("the quiet one's sync", func() bool {
		return scalar[bool](p, `SELECT EXISTS (SELECT FROM ingest.runs WHERE org_id = $1 AND kind = 'sync' AND state = 'complete')`, quiet)
	})
	if n := p.open(noisy); n == 0 {
		t.Log("the noisy one's inbox was empty at that moment")
	}
	t.Logf("quiet deliveries: 95 %% in %.2f s; noisy: %d accepted, %.2f s", p.latency(quiet, 0.95),
		scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox WHERE org_id = $1`, noisy), p.latency(noisy, 0.95))
	if p.synced(noisy)() {
		t.Error("the noisy one's backfill was over before; it proves nothing")
	}
	stop()
	crew.Wait()
	p.whole(quiet)
	p.whole(late)
}

// BenchmarkEventToRow changes objects of one workspace at 100 a second and measures, in the database, from when a delivery was received until
// what it told of was committed.
func BenchmarkEventToRow(b *testing.B) {
	p := newPlace(b)
	org, sim := p.connect(1, slow(intercomtest.Options{Seed: 3, Conversations: 2000, Contacts: 300, Companies: 20, Tickets: 50}, 100*time.Millisecond))
	o := p.options()
	o.Concurrency = 32 // as serve has it
	w := p.start(o)
	p.must(p.queue.Backfill(b.Context(), nil, org, BackfillOptions{}))
	for deadline := time.Now().Add(5 * time.Minute); !p.synced(org)() && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	p.receive(w.Stored)
	seconds := 10
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		seconds = 60
	}
	b.ResetTimer()
	for range b.N {
		tick := time.NewTicker(100 * time.Millisecond)
		for i := range 10 * seconds {
			<-tick.C
			for j, id := range sim.TouchRandom(intercomtest.Conversations, 5) { // two deliveries each
				_, err := sim.Reply(id, "user", fmt.Sprintf("Reply %d/%d", i, j))
				p.must(err)
			}
		}
		tick.Stop()
		sim.Deliver(b.Context())
		p.eventually("an empty inbox", func() bool { return p.open(org) == 0 })
	}
	p.exact(org)
	b.ReportMetric(p.latency(org, 0.5), "s-half")
	b.ReportMetric(p.latency(org, 0.95), "s-p95")
	b.ReportMetric(p.latency(org, 1), "s-max")
	b.ReportMetric(float64(scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox`))/float64(b.N*seconds), "deliveries/s")
	b.ReportMetric(float64(scalar[int](p, `SELECT count(*) FROM ingest.runs WHERE kind = 'webhook'`)), "passes")
}
