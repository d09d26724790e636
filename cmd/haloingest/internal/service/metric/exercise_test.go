package metric_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivertype"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/service/metric"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

func openDatabase(tb testing.TB, o postgres.Options) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(context.Background(), pgtest.New(tb), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	if _, err := db.Migrate(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return db
}

func execute(tb testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	tb.Helper()
	if _, err := pool.Exec(context.Background(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// connected makes a connection whose secrets nobody opens. synced 0: it has never been.
func connected(tb testing.TB, db *postgres.DB, org record.UUID, enabled bool, synced time.Duration) {
	tb.Helper()
	execute(tb, db.Pool(), `INSERT INTO ingest.connections (org_id, region, workspace_id, ingest_enabled, token, last_synced_at)
		VALUES ($1, 'us', 'w', $2, 'sealed', CASE WHEN $3::interval > '0' THEN clock_timestamp() - $3::interval END)`, [16]byte(org), enabled, synced)
}

func delivered(tb testing.TB, db *postgres.DB, org record.UUID, age time.Duration, n int) {
	tb.Helper()
	execute(tb, db.Pool(), `INSERT INTO ingest.webhook_inbox (org_id, body, received_at) SELECT $1, '', clock_timestamp() - $2::interval FROM generate_series(1, $3)`,
		[16]byte(org), age, n)
}

func orgN(n int) record.UUID {
	return record.UUID{0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, byte(n >> 8), byte(n)}
}

// exercised are metrics in which every metric that there is has a series.
func exercised(t *testing.T) *metric.Metrics {
	t.Helper()
	m := metric.New(metric.Options{Version: "1.2.3"})
	db := openDatabase(t, postgres.Options{Observer: m.Observer()})
	m.Database(db, metric.DatabaseOptions{})
	m.Pool("work", db.Pool().Stat)
	m.Webhooks(func() map[string]int64 { return map[string]int64{"accepted": 7, "unavailable": 1, "refused": 2} })

	connected(t, db, orgN(1), true, 3*time.Hour)
	delivered(t, db, orgN(1), 10*time.Minute, 2)
	execute(t, db.Pool(), `INSERT INTO ingest.river_job (kind, queue, state, args, max_attempts, scheduled_at)
		VALUES ('sync', 'sync', 'available', '{}', 10, clock_timestamp() - interval '1 minute')`)

	srv := house(t, m)
	ask(t, "GET", srv.URL+"/integrations/intercom/"+someOrg)
	ask(t, "POST", srv.URL+"/api/integrations/intercom/webhook/"+someOrg)

	m.LoginFailed("password")

	o := m.Observer()
	o.Committed(postgres.Committed{Stream: "contacts", Counts: pipeline.Counts{"load/end_users/inserted": 3, "load/knowledge/inserted": 2, "read": 3}, Rejects: 1,
		Waited: []time.Duration{time.Second}})
	o.TakenOver()

	_, ended := m.Watch()(t.Context(), ingest.Part{Kind: "sync"})
	ended(postgres.RunComplete, nil)
	_, done := m.Jobs()(t.Context(), &rivertype.JobRow{Kind: "sync", ScheduledAt: time.Now()})
	done(nil, nil)

	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "100")
		w.Header().Set("X-RateLimit-Remaining", "25")
	}))
	t.Cleanup(api.Close)
	sim := intercomtest.Start(t, intercomtest.Options{Conversations: 2, Contacts: 2, Companies: 1})
	client, err := intercom.New("us", sim.Token, intercom.Options{BaseURL: sim.URL, Wrap: m.Transport})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := client.ServerTime(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", api.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := m.Transport(http.DefaultTransport).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return m
}

func TestWhatIsCommittedIsCounted(t *testing.T) {
	m := exercised(t)
	want(t, m, "haloingest_rows_total", map[string]string{"table": "end_users", "outcome": "inserted"}, 3)
	want(t, m, "haloingest_rows_total", map[string]string{"table": "knowledge", "outcome": "inserted"}, 2)
	want(t, m, "haloingest_rejects_total", map[string]string{"stream": "contacts"}, 1)
	want(t, m, "haloingest_commits_total", map[string]string{"stream": "contacts"}, 1)
	want(t, m, "haloingest_webhook_row_latency_seconds", nil, 1)
	want(t, m, "haloingest_lease_takeovers_total", nil, 1)
	want(t, m, "haloingest_login_failures_total", map[string]string{"reason": "password"}, 1)
	want(t, m, "haloingest_runs_total", map[string]string{"kind": "sync", "state": "complete"}, 1)
	want(t, m, "haloingest_runs_active", map[string]string{"kind": "sync"}, 0)
	want(t, m, "haloingest_webhooks_total", map[string]string{"outcome": "accepted"}, 7)
	want(t, m, "haloingest_intercom_requests_total", map[string]string{"endpoint": "GET /me", "status": "2xx"}, 1)
	want(t, m, "haloingest_intercom_budget_used_ratio", nil, 0.75)
	want(t, m, "haloingest_build_info", map[string]string{"version": "1.2.3"}, 1)
}

func TestAJobIsCountedByWhatItEndedWithAndByWhatTheQueueIsTold(t *testing.T) {
	m := metric.New(metric.Options{})
	refused := &intercom.Error{Class: intercom.ClassStop, Status: 401}
	for _, tt := range []struct{ err, verdict error }{
		{nil, nil},
		{refused, &rivertype.JobSnoozeError{}}, // waits for another token
		{errors.New("ingest is off"), &rivertype.JobSnoozeError{}},    // was asked to wait
		{pipeline.ErrStopped, &rivertype.JobSnoozeError{}},            // goes on in another process
		{postgres.ErrInvariant, rivertype.JobCancel(errors.New("x"))}, // a bug
		{&postgres.Error{Op: "x", Err: errors.New("gone")}, errors.New("again")},
	} {
		_, ended := m.Jobs()(t.Context(), &rivertype.JobRow{Kind: "sync", ScheduledAt: time.Now()})
		want(t, m, "haloingest_jobs_active", map[string]string{"kind": "sync"}, 1)
		ended(tt.err, tt.verdict)
	}
	want(t, m, "haloingest_jobs_active", map[string]string{"kind": "sync"}, 0)
	for outcome, n := range map[string]float64{"completed": 1, "put_back": 3, "cancelled": 1, "failed": 1} {
		want(t, m, "haloingest_job_duration_seconds", map[string]string{"kind": "sync", "outcome": outcome}, n)
	}
	for reason, n := range map[string]float64{"token_refused": 1, "invariant": 1, "database": 1, "other": 0, "intercom": 0, "secret": 0, "permission_missing": 0} {
		want(t, m, "haloingest_job_failures_total", map[string]string{"kind": "sync", "reason": reason}, n)
	}
}
