package site

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/onboard"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/browsertest"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

var (
	shots = flag.String("shots", "", "write pictures of all pages into this folder")
	only  = flag.String("only", "", "look at pages only whose name contains one of these, separated by commas")
)

// lab is a site over a database of its own, with simulated workspaces.
type lab struct {
	tb     testing.TB
	db     *postgres.DB // that of the work; pages see it through a proxy, one organisation at a time
	proxy  *proxy
	store  *connection.Store
	desk   *onboard.Desk
	queue  *work.Queue
	site   *Site
	sims   map[string]*intercomtest.Server // by region
	audits []string
}

// orgN is the id of an organisation.
func orgN(n int) record.UUID {
	return record.UUID{0x6f, 0x1b, 0x2a, 0x34, 0x5c, 0x6d, 0x4e, 0x7f, 0x8a, 0x9b, 0, 0, 0, 0, 0, byte(n)}
}

func newLab(tb testing.TB) *lab {
	tb.Helper()
	ctx := context.Background()
	url := pgtest.New(tb)
	db, err := postgres.Open(ctx, url, postgres.Options{MaxConns: 20})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	if _, err := db.Migrate(ctx); err != nil {
		tb.Fatal(err)
	}
	if missing, err := db.Wall(ctx); err != nil || len(missing) > 0 {
		tb.Fatalf("the second wall: %v, missing %q", err, missing)
	}
	proxy := newProxy(tb, url)
	scoped, err := postgres.OpenScoped(ctx, proxy.url, postgres.Options{MaxConns: 12, RetryFor: time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(scoped.Close)
	master := secret.MasterKey{DataDir: tb.TempDir()}
	l := &lab{tb: tb, db: db, proxy: proxy, store: connection.NewStore(db.Pool(), master), sims: map[string]*intercomtest.Server{}}
	shown := connection.NewStore(scoped.Pool(), master)
	l.desk = onboard.New(onboard.Options{DB: scoped, Connections: shown, Client: l.client})
	if l.queue, err = work.NewQueue(db); err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("HALOINGEST_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	l.site, err = New(Options{DB: scoped, Connections: shown, Every: l.store, Onboard: l.desk, Queue: l.queue, PublicURL: "https://ingest.example.com", Program: "haloingest 1.2.3", Log: log,
		Audit: func(_ context.Context, org record.UUID, action string, detail map[string]string) error {
			l.audits = append(l.audits, fmt.Sprintf("%s %s %v", org, action, detail))
			return nil
		}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.site.Close)
	return l
}

// client reaches the simulated workspace of a region.
func (l *lab) client(region string, token secret.Text) (*intercom.Client, error) {
	sim := l.sims[region]
	if sim == nil {
		return nil, errors.New("there is no workspace in " + region)
	}
	return intercom.New(region, token.Reveal(), intercom.Options{BaseURL: sim.URL, MaxAttempts: 2, Backoff: 10 * time.Millisecond})
}

// overseer looks after everything.
var overseer = access.Identity{User: record.UUID{1}, Name: "ada@example.com", Overseer: true}

// member has one role everywhere.
func member(role access.Role) access.Identity {
	i := access.Identity{User: record.UUID{2}, Name: "grace@example.com", Roles: map[record.UUID]access.Role{}}
	for n := range 100 {
		i.Roles[orgN(n)] = role
	}
	return i
}

// handler serves the routes to somebody whom no gate has looked at.
func (l *lab) handler(who access.Identity) http.Handler {
	mux := http.NewServeMux()
	for _, r := range l.site.Routes() {
		mux.Handle(r.Method+" "+r.Pattern, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if org, err := record.ParseUUID(q.PathValue("orgId")); err == nil { // as the gate does
				q = q.WithContext(postgres.WithOrg(q.Context(), org))
			}
			r.Handler.ServeHTTP(w, q)
		}))
	}
	mux.Handle("GET "+frame.AssetsPath, frame.Assets())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(access.With(r.Context(), who)))
	})
}

func (l *lab) serve(who access.Identity) string {
	l.tb.Helper()
	server := httptest.NewServer(l.handler(who))
	l.tb.Cleanup(func() {
		l.site.Close() // streams of events would be waited for
		server.Close()
	})
	return server.URL
}

func (l *lab) exec(query string, args ...any) {
	l.tb.Helper()
	if _, err := l.db.Pool().Exec(context.Background(), query, args...); err != nil {
		l.tb.Fatalf("%s: %v", query, err)
	}
}

func (l *lab) must(err error) {
	l.tb.Helper()
	if err != nil {
		l.tb.Fatal(err)
	}
}

func scalar[T any](l *lab, query string, args ...any) (v T) {
	l.tb.Helper()
	if err := l.db.Pool().QueryRow(context.Background(), query, args...).Scan(&v); err != nil {
		l.tb.Fatalf("%s: %v", query, err)
	}
	return v
}

// put stores a connection without asking anybody.
func (l *lab) put(org record.UUID, name string) {
	l.tb.Helper()
	set := connection.Settings{Region: "eu", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: 6 * time.Hour}
	w := record.Workspace{ID: fmt.Sprintf("ws%02x", org[15]), Name: name, Region: "eu", Timezone: "UTC"}
	l.must(l.store.Put(context.Background(), org, w, set, secret.NewText("canary-token-0001"), secret.Text{}))
}

// synced says that everything was read up to some time ago.
func (l *lab) synced(org record.UUID, ago time.Duration) {
	l.tb.Helper()
	l.exec(`UPDATE ingest.connections SET last_synced_at = now() - $2::interval, synced_to = now() - $2::interval - interval '1 min', connected_at = now() - interval '20 days' WHERE org_id = $1`, org, ago)
}

// ran plants a run that has ended.
func (l *lab) ran(org record.UUID, kind, state string, ago, took time.Duration, rows, requests int, why string) (id record.UUID) {
	l.tb.Helper()
	err := l.db.Pool().QueryRow(context.Background(), `INSERT INTO ingest.runs (org_id, id, kind, spec, state, counts, requests, error, started_at, finished_at)
		VALUES ($1, gen_random_uuid(), $2, '{"params": {"user_id_field": "external_id", "company_id_field": "company_id"}}', $3,
			jsonb_build_object('load/transcripts/inserted', $4::int, 'load/end_users/updated', $4::int / 3, 'load/end_users/equal', $4::int), $5, nullif($6, ''), now() - $7::interval, now() - $7::interval + $8::interval) RETURNING id`,
		org, kind, state, rows, requests, why, ago, took).Scan((*[16]byte)(&id))
	l.must(err)
	for i, stream := range []string{"contacts", "companies", "conversations", "tickets"} {
		l.exec(`INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq, complete, counts) VALUES ($1, $2, $3, 1, $4, $5, $6)`, org, id, stream, 7*(4-i), state == "complete",
			fmt.Sprintf(`{"load/%s/inserted": %d, "load/%[1]s/equal": 12}`, []string{"end_users", "companies", "transcripts", "tickets"}[i], rows/4))
	}
	return id
}

// browse opens a page.
func (l *lab) shoot(b *browsertest.Browser, url, name string, v browsertest.View) (faults []string) {
	l.tb.Helper()
	tab := b.Open(url, v)
	defer tab.Close()
	faults = tab.Faults()
	if *shots != "" {
		l.must(os.MkdirAll(*shots, 0o755))
		l.must(os.WriteFile(filepath.Join(*shots, name+".png"), tab.Screenshot(), 0o644))
	}
	return faults
}
