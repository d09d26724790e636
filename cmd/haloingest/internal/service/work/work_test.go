package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// place is a database with connected organisations, one simulated workspace for each.
type place struct {
	tb     testing.TB
	url    string
	db     *postgres.DB
	store  *connection.Store
	queue  *Queue
	master secret.MasterKey
	sims   map[record.UUID]*intercomtest.Server
}

// orgOf is the id of the n-th organisation.
func orgOf(n int) record.UUID {
	return record.UUID{0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, byte(n >> 8), byte(n)}
}

func logger(tb testing.TB) *slog.Logger {
	if os.Getenv("HALOINGEST_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func openDB(tb testing.TB, url string) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(context.Background(), url, postgres.Options{MaxConns: 12, Logger: logger(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	return db
}

func newPlace(tb testing.TB) *place {
	tb.Helper()
	p := &place{tb: tb, url: pgtest.New(tb), master: secret.MasterKey{DataDir: tb.TempDir()}, sims: make(map[record.UUID]*intercomtest.Server)}
	p.db = openDB(tb, p.url)
	if _, err := p.db.Migrate(context.Background()); err != nil {
		tb.Fatal(err)
	}
	p.store = connection.NewStore(p.db.Pool(), p.master)
	var err error
	if p.queue, err = NewQueue(p.db); err != nil {
		tb.Fatal(err)
	}
	return p
}

// tokenOf is the access token of an organisation's workspace. Which workspace a client reaches follows from its token.
func tokenOf(org record.UUID) string { return "token-" + org.String() }

// connect connects organisation n to a workspace of its own.
func (p *place) connect(n int, o intercomtest.Options) (record.UUID, *intercomtest.Server) {
	p.tb.Helper()
	org := orgOf(n)
	o.AppID, o.Token = fmt.Sprintf("app%d", n), tokenOf(org)
	sim := intercomtest.Start(p.tb, o)
	p.sims[org] = sim
	p.putToken(org, sim.Token)
	return org, sim
}

func (p *place) putToken(org record.UUID, token string) {
	p.tb.Helper()
	set := connection.Settings{Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: 720 * time.Hour}
	w := record.Workspace{ID: p.sims[org].Options().AppID, Region: "us"}
	if err := p.store.Put(context.Background(), org, w, set, secret.NewText(token), secret.NewText("canary-webhook-secret-0001")); err != nil {
		p.tb.Fatal(err)
	}
}

// client finds the workspace of a token.
func (p *place) client(_ string, token secret.Text) (*intercom.Client, error) {
	for org, sim := range p.sims {
		if token.Reveal() == tokenOf(org) || token.Reveal() == "other-"+tokenOf(org) {
			return intercom.New("us", token.Reveal(), intercom.Options{BaseURL: sim.URL, MaxAttempts: 2, Backoff: 10 * time.Millisecond, ScrollWait: time.Second, Log: logger(p.tb)})
		}
	}
	return nil, errors.New("no workspace has this token")
}

func (p *place) options() Options {
	return Options{
		DB: p.db, Connections: p.store, Client: p.client, Log: logger(p.tb), Concurrency: 4, Syncs: 2, Drains: 2, SyncEvery: 1000 * time.Hour, WalkEvery: 100000 * time.Hour,
		FirstRetry: 50 * time.Millisecond, LongestRetry: 200 * time.Millisecond,
	}
}

// running is a Worker that runs in this process.
type running struct {
	*Worker
	stop func() // softly, and waits
}

func (p *place) start(o Options) *running {
	p.tb.Helper()
	w, err := New(o)
	if err != nil {
		p.tb.Fatal(err)
	}
	read, stop := context.WithCancel(context.Background())
	ctx, abort := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx, read) }()
	once := sync.OnceFunc(func() {
		stop()
		timer := time.AfterFunc(time.Minute, abort)
		if err := <-ended; err != nil {
			p.tb.Errorf("run the worker: %v", err)
		}
		timer.Stop()
		abort()
	})
	p.tb.Cleanup(once)
	return &running{w, once}
}

// eventually waits until f is true.
func (p *place) eventually(what string, f func() bool) {
	p.tb.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			rows, _ := p.db.Pool().Query(context.Background(), `SELECT row_to_json(j)::text FROM (SELECT id, kind, state, attempt, args, metadata, errors, scheduled_at FROM ingest.river_job) j`)
			for rows.Next() {
				var s string
				_ = rows.Scan(&s)
				p.tb.Log(s)
			}
			p.tb.Fatalf("%s: not within a minute", what)
		}
	}
}

func scalar[T any](p *place, query string, args ...any) (v T) {
	p.tb.Helper()
	if err := p.db.Pool().QueryRow(context.Background(), query, args...).Scan(&v); err != nil {
		p.tb.Fatalf("%s: %v", query, err)
	}
	return v
}

func (p *place) exec(query string, args ...any) {
	p.tb.Helper()
	if _, err := p.db.Pool().Exec(context.Background(), query, args...); err != nil {
		p.tb.Fatalf("%s: %v", query, err)
	}
}

func (p *place) must(err error) {
	p.tb.Helper()
	if err != nil {
		p.tb.Fatal(err)
	}
}

// synced reports whether a backfill or sync of org has ended well.
func (p *place) synced(org record.UUID) func() bool {
	return func() bool {
		return scalar[bool](p, `SELECT synced_to IS NOT NULL FROM ingest.connections WHERE org_id = $1`, org)
	}
}

func (p *place) runs(org record.UUID, kind string) int {
	return scalar[int](p, `SELECT count(*) FROM ingest.runs WHERE org_id = $1 AND kind = $2`, org, kind)
}

// whole requires that exactly what the workspace holds is in the tables.
func (p *place) whole(org record.UUID) {
	p.tb.Helper()
	n := p.sims[org].Ledger().Counts()
	for table, want := range map[string]int{"transcripts": n.Conversations, "tickets": n.Tickets, "companies": n.Companies} {
		got := scalar[int](p, `SELECT count(*) FROM public.`+table+` t WHERE org_id = $1 AND to_jsonb(t)->>'deleted_at' IS NULL`, org)
		if got != want {
			p.tb.Errorf("%s of %s: %d rows, the workspace has %d", table, org, got, want)
		}
	}
}

var small = intercomtest.Options{Seed: 3, Conversations: 40, Contacts: 30, Companies: 8, Tickets: 9}

func TestABackfillIsQueuedWithTheTransactionOfItsCaller(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, _ := p.connect(1, small)
	tx, err := p.db.Pool().Begin(t.Context())
	p.must(err)
	p.must(p.queue.Backfill(t.Context(), tx, org, BackfillOptions{}))
	p.must(tx.Rollback(t.Context()))
	if jobs, err := p.queue.Jobs(t.Context(), org); err != nil || len(jobs) != 0 {
		t.Fatalf("after a rollback: %+v, %v", jobs, err)
	}
	for _, o := range []BackfillOptions{{}, {}, {Sample: 3}, {Only: []record.Kind{record.KindTicket}}} {
		p.must(p.queue.Backfill(t.Context(), nil, org, o))
	}
	p.must(p.queue.Retry(t.Context(), orgOf(2), []int64{1}))
	if err := p.queue.Retry(t.Context(), orgOf(2), []int64{2}); !errors.Is(err, ErrQueued) {
		t.Errorf("a second retry: %v", err)
	}
	jobs, err := p.queue.Jobs(t.Context(), org)
	if err != nil || len(jobs) != 1 || jobs[0].State != JobWaiting || jobs[0].Kind != KindBackfill {
		t.Fatalf("%+v, %v", jobs, err)
	}
	w := p.start(p.options())
	p.eventually("the backfill", p.synced(org))
	p.whole(org)
	p.eventually("the end of the job", func() bool { j, err := p.queue.Jobs(t.Context(), org); return err == nil && len(j) == 0 })
	if n := p.runs(org, "backfill"); n != 1 {
		t.Errorf("%d backfills", n)
	}
	p.must(p.queue.Sync(t.Context(), org))
	p.eventually("the sync", func() bool {
		return scalar[bool](p, `SELECT EXISTS (SELECT FROM ingest.runs WHERE org_id = $1 AND kind = 'sync' AND state = 'complete')`, org)
	})
	w.stop()
	if n := scalar[int](p, `SELECT count(*) FROM ingest.processes`); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}
