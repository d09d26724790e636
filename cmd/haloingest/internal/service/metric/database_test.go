package metric_test

import (
	"slices"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/service/metric"
	"haloingest/sinks/postgres"
)

// orgsWith are the organisations that have a series of the figure.
func orgsWith(t *testing.T, m *metric.Metrics, name string) []string {
	t.Helper()
	families, err := m.Gather().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range families {
		if f.GetName() == name {
			for _, s := range f.GetMetric() {
				list = append(list, s.GetLabel()[0].GetValue())
			}
		}
	}
	slices.Sort(list)
	return list
}

func TestWhatTheDatabaseKnowsIsReadAtAScrape(t *testing.T) {
	db := openDatabase(t, postgres.Options{})
	m := metric.New(metric.Options{})
	m.Database(db, metric.DatabaseOptions{})
	connected(t, db, orgN(1), true, 3*time.Hour) // late
	delivered(t, db, orgN(1), 10*time.Minute, 2)
	connected(t, db, orgN(2), false, 9*time.Hour) // off: what waits there is meant to
	delivered(t, db, orgN(2), 5*time.Hour, 4)
	connected(t, db, orgN(3), true, 0) // its first backfill is running
	execute(t, db.Pool(), `INSERT INTO ingest.river_job (kind, queue, state, args, max_attempts, scheduled_at, attempted_at)
		VALUES ('backfill', 'backfill', 'running', jsonb_build_object('org', $1::text), 10, clock_timestamp(), clock_timestamp())`, orgN(3).String())
	connected(t, db, orgN(4), true, time.Hour)
	execute(t, db.Pool(), `UPDATE ingest.connections SET token = NULL WHERE org_id = $1`, [16]byte(orgN(4))) // disconnected
	execute(t, db.Pool(), `INSERT INTO ingest.webhook_inbox (org_id, body, parked_at) SELECT $1, '', now() FROM generate_series(1, 5)`, [16]byte(orgN(1)))
	execute(t, db.Pool(), `INSERT INTO ingest.webhook_inbox (org_id, body, done_at) SELECT $1, '', now() FROM generate_series(1, 6)`, [16]byte(orgN(1)))
	execute(t, db.Pool(), `INSERT INTO ingest.rejects (org_id, run_id, stream, cause, stage, kind, reason, payload, resolved_at)
		SELECT $1, gen_random_uuid(), 'contacts', i::text::bytea, 'load', 'contact', 'bad', '', CASE WHEN i > 3 THEN now() END FROM generate_series(1, 7) i`, [16]byte(orgN(1)))
	execute(t, db.Pool(), `INSERT INTO ingest.processes (id, name, lock_key, heartbeat_at) VALUES ('a', 'a', 1, now()), ('b', 'b', 2, now() - interval '5 minutes')`)
	execute(t, db.Pool(), `INSERT INTO ingest.river_job (kind, queue, state, args, max_attempts, scheduled_at, finalized_at) VALUES
		('sync', 'sync', 'available', '{}', 10, now() - interval '90 seconds', NULL), ('sync', 'sync', 'completed', '{}', 10, now(), now())`)

	want(t, m, "haloingest_database_up", nil, 1)
	want(t, m, "haloingest_inbox_open", nil, 6)
	want(t, m, "haloingest_inbox_parked", nil, 5)
	want(t, m, "haloingest_rejects_open", nil, 3)
	want(t, m, "haloingest_processes_live", nil, 1)
	want(t, m, "haloingest_jobs", map[string]string{"queue": "sync", "state": "available"}, 1)
	want(t, m, "haloingest_jobs", map[string]string{"queue": "backfill", "state": "running"}, 1)
	if n, ok := figure(t, m, "haloingest_jobs", map[string]string{"state": "completed"}); ok {
		t.Errorf("%v completed jobs are counted", n)
	}
	about := func(name string, labels map[string]string, seconds float64) {
		t.Helper()
		if got, ok := figure(t, m, name, labels); !ok || got < seconds || got > seconds+120 {
			t.Errorf("%s%v is %v (there: %v), want about %v", name, labels, got, ok, seconds)
		}
	}
	about("haloingest_inbox_oldest_age_seconds", nil, 600)
	about("haloingest_job_oldest_due_age_seconds", map[string]string{"queue": "sync"}, 90)
	for state, n := range map[string]float64{"synced": 1, "off": 1, "not_synced_yet": 1, "disconnected": 1} {
		want(t, m, "haloingest_orgs", map[string]string{"state": state}, n)
	}
	org := func(n int) map[string]string { return map[string]string{"org": orgN(n).String()} }
	about("haloingest_org_last_sync_age_seconds", org(1), 3*3600)
	about("haloingest_org_last_sync_age_seconds", org(2), 9*3600)
	about("haloingest_org_inbox_oldest_age_seconds", org(1), 600)
	want(t, m, "haloingest_org_inbox_oldest_age_seconds", org(2), 0)
	want(t, m, "haloingest_org_rejects_open", org(1), 3)
	want(t, m, "haloingest_org_ingest_enabled", org(1), 1)
	want(t, m, "haloingest_org_ingest_enabled", org(2), 0)
	want(t, m, "haloingest_org_backfill_running", org(1), 0)
	want(t, m, "haloingest_org_backfill_running", org(3), 1)
	for name, n := range map[string]int{"haloingest_org_last_sync_age_seconds": 2, "haloingest_org_ingest_enabled": 3} {
		if list := orgsWith(t, m, name); len(list) != n {
			t.Errorf("%s of %v, want %d organisations", name, list, n)
		}
	}
}

func TestOnlyTheWorstOrganisationsHaveSeriesOfTheirOwn(t *testing.T) {
	db := openDatabase(t, postgres.Options{})
	m := metric.New(metric.Options{})
	m.Database(db, metric.DatabaseOptions{Orgs: 3})
	for i := range 20 {
		connected(t, db, orgN(i), i != 19, time.Duration(i+1)*time.Hour) // that of 19 is longest ago, and ingest is off
	}
	delivered(t, db, orgN(2), time.Minute, 1)
	var wanted []string
	for _, i := range []int{2, 17, 18} {
		wanted = append(wanted, orgN(i).String())
	}
	if list := orgsWith(t, m, "haloingest_org_last_sync_age_seconds"); !slices.Equal(list, wanted) {
		t.Errorf("the worst are %v, want %v", list, wanted)
	}
	want(t, m, "haloingest_orgs", map[string]string{"state": "synced"}, 19)
}

func TestNothingConnectedIsNoError(t *testing.T) {
	db := openDatabase(t, postgres.Options{})
	m := metric.New(metric.Options{})
	m.Database(db, metric.DatabaseOptions{})
	want(t, m, "haloingest_database_up", nil, 1)
	want(t, m, "haloingest_orgs", map[string]string{"state": "synced"}, 0)
	want(t, m, "haloingest_inbox_oldest_age_seconds", nil, 0)
	if list := orgsWith(t, m, "haloingest_org_ingest_enabled"); len(list) != 0 {
		t.Errorf("series of %v", list)
	}
}

func TestManyScrapesReadTheDatabaseOnce(t *testing.T) {
	db := openDatabase(t, postgres.Options{})
	m := metric.New(metric.Options{})
	m.Database(db, metric.DatabaseOptions{Keep: time.Hour})
	want(t, m, "haloingest_inbox_open", nil, 0)
	before := db.Pool().Stat().AcquireCount()
	delivered(t, db, orgN(1), time.Minute, 1) // takes one connection
	for range 20 {
		want(t, m, "haloingest_inbox_open", nil, 0)
	}
	if n := db.Pool().Stat().AcquireCount() - before; n != 1 {
		t.Errorf("the database was read %d times", n-1)
	}
}

func TestADatabaseThatIsAwayLeavesTheOtherFigures(t *testing.T) {
	db := openDatabase(t, postgres.Options{})
	m := metric.New(metric.Options{})
	m.Database(db, metric.DatabaseOptions{Keep: time.Nanosecond, Stale: time.Nanosecond})
	want(t, m, "haloingest_database_up", nil, 1)
	want(t, m, "haloingest_inbox_open", nil, 0)
	db.Close()
	want(t, m, "haloingest_database_up", nil, 0)
	if _, ok := figure(t, m, "haloingest_inbox_open", nil); ok {
		t.Error("what is not known any more is shown")
	}
	if _, ok := figure(t, m, "go_goroutines", nil); !ok {
		t.Error("the other figures are gone")
	}
}
