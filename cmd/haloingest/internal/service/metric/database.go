package metric

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"haloingest/sinks/postgres"
)

// DatabaseOptions bounds what is read at a scrape. The zero value works.
type DatabaseOptions struct {
	Keep time.Duration // how long what was read is not read again; 0: 10 s
	Orgs int           // organisations that have series of their own, the worst; 0: 1000
	// Stale is how long what was read last is shown while the database cannot be read; 0: 1 min.
	Stale time.Duration
}

// Database reads the inbox, the queue and the organisations at each scrape, but not more often than o says; db must see all organisations.
//
// Of the organisations, those that are worst have series of their own: the oldest open webhook first, then the sync that is longest ago, then
// the most rejects. haloingest_orgs counts all.
func (m *Metrics) Database(db *postgres.DB, o DatabaseOptions) {
	if m == nil {
		return
	}
	if o.Keep <= 0 {
		o.Keep = 10 * time.Second
	}
	if o.Orgs <= 0 {
		o.Orgs = 1000
	}
	if o.Stale <= 0 {
		o.Stale = time.Minute
	}
	d := &database{db: db, o: o, now: time.Now, m: m, descs: make(map[string]*prometheus.Desc)}
	for _, f := range figures {
		d.descs[f.name] = prometheus.NewDesc(namespace+"_"+f.name, f.help, f.labels, nil)
	}
	m.registry.MustRegister(d)
}

// figures are what is read from the database.
var figures = []struct {
	name, help string
	labels     []string
}{
	{"database_up", "1 if the database could be read when it was last tried.", nil},
	{"database_read_seconds", "How long it took to read the figures of this kind last.", nil},
	{"inbox_open", "Webhooks that are to be worked on.", nil},
	{"inbox_parked", "Webhooks that were put aside: they name nothing, or failed too often.", nil},
	{"inbox_oldest_age_seconds", "Age of the oldest webhook that is to be worked on, where ingest is on; 0 if there is none.", nil},
	{"rejects_open", "Objects that could not be loaded and have not been since.", nil},
	{"jobs", "Jobs in the queue that are not over, and those that were given up.", []string{"queue", "state"}},
	{"job_oldest_due_age_seconds", "How long the job that is due longest has been waiting for a worker.", []string{"queue"}},
	{"processes_live", "Processes that work on the queue and have given a sign of life within half a minute.", nil},
	{"orgs", "Organisations, by how they stand.", []string{"state"}},
	{"org_last_sync_age_seconds", "Time since the last complete sync or backfill.", []string{"org"}},
	{"org_inbox_oldest_age_seconds", "Age of the oldest webhook that is to be worked on; 0 if there is none.", []string{"org"}},
	{"org_rejects_open", "Objects that could not be loaded and have not been since.", []string{"org"}},
	{"org_ingest_enabled", "1 if ingest is on.", []string{"org"}},
	{"org_backfill_running", "1 while a backfill is running.", []string{"org"}},
}

// sample is one value of a figure.
type sample struct {
	name   string
	value  float64
	labels []string
}

// database is what is read from the database, for a while.
type database struct {
	db    *postgres.DB
	o     DatabaseOptions
	now   func() time.Time
	m     *Metrics
	descs map[string]*prometheus.Desc

	mu      sync.Mutex // held while it is read: scrapes at the same time share what is read
	tried   time.Time
	good    time.Time
	took    time.Duration
	failing bool
	samples []sample
}

// Describe implements prometheus.Collector.
func (d *database) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range d.descs {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (d *database) Collect(out chan<- prometheus.Metric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	emit := func(s sample) {
		out <- prometheus.MustNewConstMetric(d.descs[s.name], prometheus.GaugeValue, s.value, s.labels...)
	}
	up := 1.0
	if d.failing {
		up = 0
	}
	emit(sample{name: "database_up", value: up})
	emit(sample{name: "database_read_seconds", value: d.took.Seconds()})
	if d.failing && d.now().Sub(d.good) > d.o.Stale {
		return // figures that are no longer so are worse than none
	}
	for _, s := range d.samples {
		emit(s)
	}
}

const readWithin = 5 * time.Second

func (d *database) refresh() {
	now := d.now()
	if now.Sub(d.tried) < d.o.Keep {
		return
	}
	d.tried = now
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	samples, err := d.read(ctx)
	d.took = d.now().Sub(now)
	if err != nil {
		if !d.failing {
			d.m.log.Warn("figures cannot be read from the database", "error", err)
		}
		d.failing = true
		return
	}
	d.failing, d.good, d.samples = false, now, samples
}

// read asks once for each kind of figure, in one transaction.
func (d *database) read(ctx context.Context) (list []sample, err error) {
	err = pgx.BeginTxFunc(ctx, d.db.Pool(), pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		list = nil
		for _, read := range []func(context.Context, pgx.Tx) ([]sample, error){readInbox, readJobs, d.readOrgs} {
			more, err := read(ctx, tx)
			if err != nil {
				return err
			}
			list = append(list, more...)
		}
		return nil
	})
	return list, err
}

// openInbox is what of the inbox is to be worked on; it has an index.
const openInbox = `i.done_at IS NULL AND i.parked_at IS NULL`

func readInbox(ctx context.Context, tx pgx.Tx) ([]sample, error) {
	var open, parked, rejects, oldest, processes float64
	err := tx.QueryRow(ctx, `SELECT
			(SELECT count(*) FROM ingest.webhook_inbox i WHERE `+openInbox+`)::float8,
			(SELECT count(*) FROM ingest.webhook_inbox i WHERE i.parked_at IS NOT NULL AND i.done_at IS NULL)::float8,
			(SELECT count(*) FROM ingest.rejects WHERE resolved_at IS NULL)::float8,
			coalesce((SELECT max(extract(epoch FROM clock_timestamp() - o.at)) FROM ingest.connections c,
				LATERAL (SELECT min(i.received_at) AS at FROM ingest.webhook_inbox i WHERE i.org_id = c.org_id AND `+openInbox+`) o
				WHERE c.ingest_enabled AND c.token IS NOT NULL), 0)::float8,
			(SELECT count(*) FROM ingest.processes WHERE heartbeat_at > clock_timestamp() - interval '30 seconds')::float8`).
		Scan(&open, &parked, &rejects, &oldest, &processes)
	return []sample{{"processes_live", processes, nil}, {"inbox_open", open, nil}, {"inbox_parked", parked, nil}, {"rejects_open", rejects, nil}, {"inbox_oldest_age_seconds", max(0, oldest), nil}}, err
}

// maxQueues bounds the queues that are told apart.
const maxQueues = 50

// readJobs counts by the index of states; what is completed or cancelled is no figure of now.
func readJobs(ctx context.Context, tx pgx.Tx) ([]sample, error) {
	rows, err := tx.Query(ctx, `SELECT queue, state::text, count(*)::float8,
			coalesce(extract(epoch FROM clock_timestamp() - min(scheduled_at) FILTER (WHERE state = 'available')), 0)::float8
		FROM ingest.river_job WHERE state IN ('available', 'pending', 'retryable', 'running', 'scheduled', 'discarded')
		GROUP BY queue, state ORDER BY queue, state LIMIT $1`, 6*maxQueues)
	if err != nil {
		return nil, err
	}
	var list []sample
	var queue, state string
	var n, due float64
	_, err = pgx.ForEachRow(rows, []any{&queue, &state, &n, &due}, func() error {
		list = append(list, sample{"jobs", n, []string{queue, state}})
		if state == "available" {
			list = append(list, sample{"job_oldest_due_age_seconds", max(0, due), []string{queue}})
		}
		return nil
	})
	return list, err
}

// readOrgs reads all connections, and what they have waiting, in one statement; it returns the worst.
func (d *database) readOrgs(ctx context.Context, tx pgx.Tx) ([]sample, error) {
	rows, err := tx.Query(ctx, `WITH backfills AS MATERIALIZED (
			SELECT args->>'org' AS org FROM ingest.river_job WHERE kind = 'backfill' AND state IN ('running', 'available')),
		orgs AS MATERIALIZED (
			SELECT c.org_id, c.ingest_enabled AS enabled, c.token IS NOT NULL AS connected, c.last_synced_at IS NOT NULL AS synced,
				greatest(extract(epoch FROM clock_timestamp() - c.last_synced_at), 0)::float8 AS age,
				CASE WHEN c.ingest_enabled THEN greatest(extract(epoch FROM clock_timestamp() - (SELECT min(i.received_at) FROM ingest.webhook_inbox i
					WHERE i.org_id = c.org_id AND `+openInbox+`)), 0) ELSE 0 END::float8 AS oldest,
				(SELECT count(*) FROM ingest.rejects r WHERE r.org_id = c.org_id AND r.resolved_at IS NULL)::float8 AS rejects,
				c.org_id::text IN (SELECT org FROM backfills) AS backfill
			FROM ingest.connections c),
		totals AS (SELECT count(*) FILTER (WHERE NOT connected)::float8 AS gone, count(*) FILTER (WHERE connected AND NOT enabled)::float8 AS off,
				count(*) FILTER (WHERE connected AND enabled AND NOT synced)::float8 AS first,
				count(*) FILTER (WHERE connected AND enabled AND synced)::float8 AS synced FROM orgs)
		SELECT t.gone, t.off, t.first, t.synced, o.org_id::text, o.enabled, o.synced, o.age, o.oldest, o.rejects, o.backfill
		FROM totals t LEFT JOIN LATERAL (SELECT * FROM orgs WHERE connected
			ORDER BY enabled DESC, oldest DESC, age DESC NULLS LAST, rejects DESC, org_id LIMIT $1) o ON true`, d.o.Orgs)
	if err != nil {
		return nil, err
	}
	var list []sample
	var gone, off, first, synced float64
	var org *string
	var enabled, hasSynced, backfill *bool
	var age, oldest, rejects *float64
	_, err = pgx.ForEachRow(rows, []any{&gone, &off, &first, &synced, &org, &enabled, &hasSynced, &age, &oldest, &rejects, &backfill}, func() error {
		if list == nil {
			list = []sample{{"orgs", gone, []string{"disconnected"}}, {"orgs", off, []string{"off"}}, {"orgs", first, []string{"not_synced_yet"}},
				{"orgs", synced, []string{"synced"}}}
		}
		if org == nil { // nothing is connected
			return nil
		}
		label := []string{*org}
		if *hasSynced {
			list = append(list, sample{"org_last_sync_age_seconds", *age, label})
		}
		list = append(list, sample{"org_inbox_oldest_age_seconds", *oldest, label}, sample{"org_rejects_open", *rejects, label},
			sample{"org_ingest_enabled", flag(*enabled), label}, sample{"org_backfill_running", flag(*backfill), label})
		return nil
	})
	return list, err
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
