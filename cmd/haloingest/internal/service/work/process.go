package work

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// process is this process as the others see it: a row of ingest.processes that it stamps, and a session-level advisory lock on a connection of
// its own, which the server drops at once when a process dies. Only one goroutine uses it after register.
type process struct {
	id   string // River's name of it, too
	name string
	key  int64
	conn *pgx.Conn // nil: broken
}

func newProcess(name string) process {
	var mark [8]byte
	_, _ = rand.Read(mark[:]) // never fails
	p := process{id: "haloingest-" + hex.EncodeToString(mark[:]), name: record.CleanText(name)}
	sum := sha256.Sum256([]byte("haloingest process " + p.id))
	p.key = int64(binary.BigEndian.Uint64(sum[:8]))
	return p
}

// Times of life. A process that was killed is found by its lock, 10 s after its last beat; one whose machine is gone, or that is frozen, by its
// silence of 25 s. Both are looked for every 3 s, and River looks for jobs every second.
const (
	beatEvery     = 2 * time.Second
	lockless      = 10 * time.Second
	silence       = 25 * time.Second
	takeOverEvery = 3 * time.Second
)

// register makes the process known, before it takes a job.
func (p *process) register(ctx context.Context, db *postgres.DB) error {
	if err := p.beat(ctx, db); err != nil {
		return fmt.Errorf("register this process: %w", err)
	}
	return nil
}

// beat says that the process lives, on a new connection if there is none.
func (p *process) beat(ctx context.Context, db *postgres.DB) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if p.conn == nil {
		config := db.Pool().Config()
		conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
		if err != nil {
			return err
		}
		p.conn = conn
	}
	_, err := p.conn.Exec(ctx, `INSERT INTO ingest.processes (id, name, lock_key) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()`, p.id, p.name, p.key)
	if err == nil {
		// A session that has the lock counts how often it took it, and one is enough.
		_, err = p.conn.Exec(ctx, `SELECT pg_try_advisory_lock($1) WHERE NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND `+lockOf("$1::bigint")+`)`, p.key)
	}
	if err != nil {
		p.hangUp(ctx)
	}
	return err
}

// lockOf finds the advisory lock of a key in pg_locks l.
func lockOf(key string) string {
	return `l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND l.classid = ((` + key + ` >> 32) & 4294967295)::oid AND l.objid = (` + key + ` & 4294967295)::oid`
}

func (p *process) hangUp(ctx context.Context) {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = p.conn.Close(ctx) // broken already, or not needed any more
	p.conn = nil
}

// live beats until ctx is done.
func (p *process) live(ctx context.Context, db *postgres.DB, log *slog.Logger) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.beat(ctx, db); err != nil && ctx.Err() == nil {
			log.Warn("this process cannot say that it is alive; after 25 s others take its jobs over", "error", err)
		}
	}
}

// leave takes the process off the list: it has no jobs any more, and what it could not give back is free at once.
func (p *process) leave(db *postgres.DB, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := db.Pool().Exec(ctx, `DELETE FROM ingest.processes WHERE id = $1`, p.id); err != nil {
		log.Warn("this process could not sign off", "error", err)
	}
	p.hangUp(ctx)
}

// takeOver makes the running jobs of processes that are gone available. Each gets a new id: what its process may still say of the old one, should
// it only have been frozen, matches no row. The work itself is fenced by the organisation's lease. Any number of processes may do this at once.
//
// A job whose process died again and again is perhaps why: from the third time on it waits, up to 10 minutes.
func (w *Worker) takeOver(ctx context.Context) error {
	rows, err := w.pool.Query(ctx, `UPDATE ingest.river_job j SET id = nextval(pg_get_serial_sequence('ingest.river_job', 'id')), state = 'available',
			attempt = greatest(attempt - 1, 0),
			scheduled_at = clock_timestamp() + CASE WHEN g.times < 3 THEN interval '0' ELSE least(interval '10 min', interval '5 s' * power(2, least(g.times, 12) - 2)) END,
			metadata = (metadata - '`+metaEnds+`') || jsonb_build_object('taken_over', g.times, '`+metaWaits+`', 'the process that worked on it is gone')
		FROM (SELECT r.id, 1 + CASE WHEN r.attempted_at > clock_timestamp() - interval '10 min' AND jsonb_typeof(r.metadata->'taken_over') = 'number'
					THEN (r.metadata->>'taken_over')::int ELSE 0 END AS times
			FROM ingest.river_job r LEFT JOIN ingest.processes p ON p.id = r.attempted_by[array_upper(r.attempted_by, 1)]
			WHERE r.state = 'running' AND coalesce(p.heartbeat_at, r.attempted_at) < clock_timestamp() - $1::interval
				AND (p.id IS NULL OR p.heartbeat_at < clock_timestamp() - $2::interval
					OR NOT EXISTS (SELECT FROM pg_locks l WHERE `+lockOf("p.lock_key")+`))
			FOR UPDATE OF r SKIP LOCKED) g
		WHERE j.id = g.id AND j.state = 'running' RETURNING j.id, g.id, j.kind, j.args->>'org', g.times, coalesce(j.attempted_by[array_upper(j.attempted_by, 1)], '')`,
		lockless, silence)
	if err != nil {
		return err
	}
	var id, old int64
	var kind, org, from string
	var times int
	_, err = pgx.ForEachRow(rows, []any{&id, &old, &kind, &org, &times, &from}, func() error {
		w.stats.takenOver.Add(1)
		w.log.Warn("taken over from a process that is gone", "org", org, "job", id, "was", old, "kind", kind, "process", from, "times", times)
		return nil
	})
	return err
}
