package ingest_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

var org = record.UUID{0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}

const hookSecret = "canary-webhook-secret-0001"

// place is a database with a connected organisation, and what receives and drains its webhooks.
type place struct {
	tb     testing.TB
	sim    *intercomtest.Server
	url    string // of the database
	db     *postgres.DB
	store  *connection.Store
	runner *ingest.Runner
	master secret.MasterKey
}

func logger(tb testing.TB) *slog.Logger {
	if os.Getenv("HALOINGEST_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(tb.Output(), nil))
}

func newPlace(tb testing.TB, sim *intercomtest.Server) *place {
	tb.Helper()
	return placeAt(tb, sim, pgtest.New(tb))
}

func placeAt(tb testing.TB, sim *intercomtest.Server, url string) *place {
	tb.Helper()
	ctx := context.Background()
	p := &place{tb: tb, sim: sim, url: url, master: secret.MasterKey{DataDir: tb.TempDir()}}
	var err error
	if p.db, err = postgres.Open(ctx, url, postgres.Options{MaxConns: 8, Logger: logger(tb)}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.db.Close)
	if _, err := p.db.Migrate(ctx); err != nil {
		tb.Fatal(err)
	}
	p.store = connection.NewStore(p.db.Pool(), p.master)
	set := connection.Settings{Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: time.Hour}
	if err := p.store.Put(ctx, org, record.Workspace{ID: sim.Options().AppID, Region: "us"}, set, secret.NewText(sim.Token), secret.NewText(hookSecret)); err != nil {
		tb.Fatal(err)
	}
	conn, err := p.store.Get(ctx, org)
	if err != nil {
		tb.Fatal(err)
	}
	p.runner = &ingest.Runner{DB: p.db, Client: newClient(tb, sim), Connection: conn, Log: logger(tb), Holder: "test", Concurrency: 8, Names: &ingest.Names{}}
	return p
}

func newClient(tb testing.TB, sim *intercomtest.Server) *intercom.Client {
	tb.Helper()
	client, err := intercom.New("us", sim.Token, intercom.Options{BaseURL: sim.URL, MaxAttempts: 2, Log: logger(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { client.Close() })
	return client
}

// receive serves the handler and has the workspace send its webhooks there.
func (p *place) receive(o intercomtest.Webhooks) (*webhook.Handler, *httptest.Server) {
	p.tb.Helper()
	h := webhook.New(connection.NewKeyring(p.store, logger(p.tb)), p.db, webhook.Options{Log: logger(p.tb)})
	mux := http.NewServeMux()
	mux.Handle(webhook.Path, h)
	srv := httptest.NewServer(mux)
	p.tb.Cleanup(func() { srv.Close(); h.Close() })
	o.URL, o.Secret, o.Client = hookURL(srv.URL), hookSecret, srv.Client()
	p.sim.SendWebhooks(o)
	return h, srv
}

func hookURL(base string) string {
	return base + strings.Replace(webhook.Path, "{orgId}", org.String(), 1)
}

func (p *place) backfill(restart bool) {
	p.tb.Helper()
	p.run(ingest.Request{Kind: ingest.KindBackfill, Restart: restart})
}

func (p *place) run(request ingest.Request) {
	p.tb.Helper()
	ctx := p.tb.Context()
	run, err := p.runner.Start(ctx, request)
	if err != nil {
		p.tb.Fatal(err)
	}
	if _, err := run.Do(ctx, ctx); err != nil {
		p.tb.Fatal(err)
	}
	if err := run.Close(ctx); err != nil {
		p.tb.Fatal(err)
	}
	if p.runner.Connection, err = p.store.Get(ctx, org); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *place) drain() ingest.DrainReport {
	p.tb.Helper()
	report, err := p.runner.Drain(p.tb.Context(), p.tb.Context(), ingest.DrainOptions{Round: 25})
	if err != nil {
		p.tb.Fatal(err)
	}
	return report
}

// tables are the rows that two ways have to agree on, without what may differ between two runs (contract, "Tables"). Of what is deleted,
// each has the content that it saw last, and when it found out.
var tables = map[string]string{
	"end_users": "public.end_users", "companies": "public.companies", "transcripts": "public.transcripts", "tickets": "public.tickets", "knowledge": "public.knowledge",
	"deleted": `(SELECT 'end_users' AS name, id FROM public.end_users WHERE deleted_at IS NOT NULL UNION ALL
		SELECT 'companies', id FROM public.companies WHERE deleted_at IS NOT NULL)`,
	"id_map":        "(SELECT org_id, kind, source_id, row_id FROM ingest.id_map)",
	"pending_links": "(SELECT ref_kind, ref_id, row_id, table_name, knowledge FROM ingest.pending_links)",
}

func dumpSQL(from string) string {
	return `SELECT (to_jsonb(t) - 'run_id' - 'created_at' - 'updated_at' - 'embedding')::text AS line FROM ` + from + ` t WHERE to_jsonb(t)->>'deleted_at' IS NULL`
}

// sameAs requires that this place and another one have the same rows, by EXCEPT in both directions.
func (p *place) sameAs(other *place) {
	p.tb.Helper()
	p.sameIn(other, tables)
}

func (p *place) sameIn(other *place, tables map[string]string) {
	p.tb.Helper()
	ctx := p.tb.Context()
	for name, from := range tables {
		rows, err := other.db.Pool().Query(ctx, dumpSQL(from))
		if err != nil {
			p.tb.Fatal(err)
		}
		want, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			p.tb.Fatal(err)
		}
		for what, query := range map[string]string{
			"lacks":        `SELECT line FROM unnest($1::text[]) line EXCEPT ALL (` + dumpSQL(from) + `)`,
			"has too much": dumpSQL(from) + ` EXCEPT ALL SELECT line FROM unnest($1::text[]) line`,
		} {
			rows, err := p.db.Pool().Query(ctx, query, want)
			if err != nil {
				p.tb.Fatal(err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				p.tb.Fatal(err)
			}
			if len(lines) > 0 {
				p.tb.Errorf("%s %s %d of %d rows, such as\n%.500s", name, what, len(lines), len(want), lines[0])
			}
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
