package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// timing is how leases behave in time. It is a field of DB so that tests need not wait.
type timing struct {
	ttl      time.Duration // a holder that has been silent for longer may be taken over
	beat     time.Duration // how often a holder says that it is alive
	answer   time.Duration // how long a heartbeat waits for its answer
	patience time.Duration // how long Acquire waits for the lock: the server needs a moment to notice that a holder was killed
	lockWait time.Duration // how long a claim waits for a transaction of the last holder before it ends that session
}

var usualTiming = timing{ttl: 30 * time.Second, beat: 5 * time.Second, answer: 5 * time.Second, patience: 3 * time.Second, lockWait: 2 * time.Second}

// Lease is the right to write for one organisation. Two things make it: a session-level advisory lock on a connection of its
// own, so that the lease of a process that dies is free at once, and a row of ingest.leases whose epoch goes up with every new
// holder. A holder that is silent for 30 s although its lock is still held (a frozen process, a dead machine) can be taken
// over. What makes that safe is not time but the epoch: every write that this package makes for a lease checks it, in the
// same transaction, and fails with ErrFenced once there is a newer one.
//
// A Lease is safe for concurrent use. It beats in the background until Release.
type Lease struct {
	db     *DB
	org    record.UUID
	holder string
	epoch  int64
	lost   context.Context
	lose   context.CancelCauseFunc

	mu     sync.Mutex // guards what follows, and is held during a beat
	conn   *pgx.Conn  // nil while there is none
	timer  *time.Timer
	alive  time.Time // when the last heartbeat that arrived was sent
	locked bool      // conn holds the advisory lock
	ended  bool
}

// Acquire takes the lease of org. holder tells people who has it, e.g. "backfill on host (pid 12)". If another holder is alive
// it waits 3 s for it and then returns a *HeldError. Runs that their process left as running become interrupted.
func (db *DB) Acquire(ctx context.Context, org record.UUID, holder string) (*Lease, error) {
	conn, err := db.connect(ctx)
	if err != nil {
		return nil, wrap(ctx, err, "acquire the lease of %s", org)
	}
	l := &Lease{db: db, org: org, holder: clip(record.CleanText(holder), 200), conn: conn}
	if err := l.acquire(ctx); err != nil {
		_ = hangUp(ctx, conn) // drops the lock; the error that matters is the first
		return nil, wrap(ctx, err, "acquire the lease of %s", org)
	}
	l.lost, l.lose = context.WithCancelCause(context.WithoutCancel(ctx))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(db.timing.beat, l.beat)
	return l, nil
}

// Epoch is the number that fences: higher than that of every earlier holder.
func (l *Lease) Epoch() int64 { return l.epoch }

// Org is the organisation that is held.
func (l *Lease) Org() record.UUID { return l.org }

// Lost returns a context that is done, with ErrFenced or ErrDatabase as its cause (context.Cause), as soon as the lease is known
// to be lost: a newer epoch was found, or the server was not reached for 30 s. It is done after Release as well, with
// context.Canceled as the cause.
func (l *Lease) Lost() context.Context { return l.lost }

// Bind returns a child of ctx that is also cancelled, with the same cause, when the lease is lost.
func (l *Lease) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.lost, func() { cancel(context.Cause(l.lost)) })
	return ctx, func() { stop(); cancel(context.Canceled) }
}

// Guard makes tx depend on the lease: it fails with ErrFenced if the lease is not ours any more, and otherwise nobody can take
// over until tx ends. For short transactions; batches are guarded by their checkpoint instead.
func (l *Lease) Guard(ctx context.Context, tx pgx.Tx) error {
	var one int
	err := tx.QueryRow(ctx, `SELECT 1 FROM ingest.leases WHERE org_id = $1 AND epoch = $2 AND released_at IS NULL FOR SHARE`,
		l.org, l.epoch).Scan(&one)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrFenced
	}
	return err
}

// Release gives the lease back. It can be called more than once, and with a ctx that has ended. An error means that the server was not told; the
// lease is free all the same once the connection is gone.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	l.end(context.Canceled)
	if l.conn == nil {
		return nil
	}
	_, err := l.conn.Exec(ctx, `UPDATE ingest.leases SET released_at = clock_timestamp() WHERE org_id = $1 AND epoch = $2`, l.org, l.epoch)
	if err == nil {
		// Without this the lock would last until the server has noticed that the connection is closed.
		_, err = l.conn.Exec(ctx, `SELECT pg_advisory_unlock_all()`)
	}
	return wrap(ctx, errors.Join(err, hangUp(ctx, l.conn)), "release the lease of %s", l.org)
}

// end stops the heartbeat; l.mu is held.
func (l *Lease) end(cause error) {
	l.ended = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.lose(cause)
}

// processGone is the error of a run whose process did not live to end it.
const processGone = "the process ended without a word"

// leaseRow is what ingest.leases says.
type leaseRow struct {
	epoch    int64
	holder   string
	session  string
	since    time.Time
	age      time.Duration // of the heartbeat
	released bool
}

func (l *Lease) acquire(ctx context.Context) error {
	if _, err := l.conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", l.db.timing.lockWait.Milliseconds())); err != nil {
		return err
	}
	deadline := time.Now().Add(l.db.timing.patience)
	for {
		if err := l.tryLock(ctx); err != nil {
			return err
		}
		last, found, err := l.read(ctx)
		if err != nil {
			return err
		}
		// Without the lock, a holder that is silent for too long is the only one that may be taken over.
		silent := found && !last.released && last.age > l.db.timing.ttl
		if l.locked || silent {
			if !l.locked {
				l.db.log.WarnContext(ctx, "taking over a workspace whose holder has gone silent", "org", l.org, "holder", last.holder, "silent", last.age)
				if err := l.endHolder(ctx); err != nil {
					return err
				}
				if err := l.tryLock(ctx); err != nil {
					return err
				}
			}
			taken, err := l.claim(ctx, last, found)
			if err != nil || taken {
				return err
			}
		}
		if time.Now().After(deadline) {
			if !found {
				last.holder, last.since = "unknown", time.Now()
			}
			return &HeldError{Org: l.org, Holder: last.holder, Since: last.since, HeartbeatAge: last.age}
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (l *Lease) tryLock(ctx context.Context) error {
	if l.locked {
		return nil
	}
	return l.conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, lockKey("lease", l.org)).Scan(&l.locked)
}

func (l *Lease) read(ctx context.Context) (row leaseRow, found bool, err error) {
	var seconds float64
	err = l.conn.QueryRow(ctx, `SELECT epoch, holder, session, acquired_at, released_at IS NOT NULL,
			extract(epoch FROM clock_timestamp() - heartbeat_at)::float8
		FROM ingest.leases WHERE org_id = $1`, l.org).Scan(&row.epoch, &row.holder, &row.session, &row.since, &row.released, &seconds)
	if errors.Is(err, pgx.ErrNoRows) {
		return leaseRow{}, false, nil
	}
	row.age = time.Duration(seconds * float64(time.Second))
	return row, err == nil, err
}

// claim makes the row ours, and with it every checkpoint that is not complete: that waits for a batch that the last holder is
// committing at this moment, and fences it from then on. It reports false when another one was quicker.
func (l *Lease) claim(ctx context.Context, last leaseRow, found bool) (taken bool, err error) {
	for attempt := 0; ; attempt++ {
		taken, err = l.tryClaim(ctx, last, found)
		if SQLState(err) != "55P03" || attempt == 2 {
			return taken, err
		}
		// The last holder is gone or frozen, but a transaction of it is still open.
		if err := l.endTransactions(ctx, last.session); err != nil {
			return false, err
		}
	}
}

func (l *Lease) tryClaim(ctx context.Context, last leaseRow, found bool) (taken bool, err error) {
	sent := time.Now()
	err = pgx.BeginFunc(ctx, l.conn, func(tx pgx.Tx) error {
		query := `INSERT INTO ingest.leases (org_id, epoch, holder, session) VALUES ($1, 1, $2, $3)
			ON CONFLICT (org_id) DO NOTHING RETURNING epoch`
		args := []any{l.org, l.holder, l.db.session}
		if found {
			query = `UPDATE ingest.leases SET epoch = epoch + 1, holder = $2, session = $3,
					acquired_at = clock_timestamp(), heartbeat_at = clock_timestamp(), released_at = NULL
				WHERE org_id = $1 AND epoch = $4 AND ($5 OR heartbeat_at < clock_timestamp() - $6::interval)
				RETURNING epoch`
			args = append(args, last.epoch, l.locked, l.db.timing.ttl)
		}
		err := tx.QueryRow(ctx, query, args...).Scan(&l.epoch)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		taken = true
		_, err = tx.Exec(ctx, `UPDATE ingest.checkpoints c SET epoch = $2 FROM ingest.runs r
			WHERE c.org_id = $1 AND NOT c.complete AND r.org_id = c.org_id AND r.id = c.run_id AND r.state IN ('running', 'failed', 'interrupted')`,
			l.org, l.epoch)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE ingest.runs SET state = 'interrupted', finished_at = clock_timestamp(),
			error = $2 WHERE org_id = $1 AND state = 'running'`, l.org, processGone)
		return err
	})
	l.alive = sent
	if f := l.db.observe.TakenOver; f != nil && taken && err == nil && found && !last.released {
		f()
	}
	return taken && err == nil, err
}

// endHolder ends the session that holds the advisory lock. Where we are not allowed to, the lock stays with it and the epoch
// alone keeps it out.
func (l *Lease) endHolder(ctx context.Context) error {
	key := uint64(lockKey("lease", l.org))
	_, err := l.conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_locks
		WHERE pid <> pg_backend_pid() AND `+leaseLock,
		int64(key>>32), int64(key&0xffffffff))
	if SQLState(err) == "42501" {
		return nil
	}
	if err == nil {
		err = sleep(ctx, 50*time.Millisecond)
	}
	return err
}

// leaseLock finds, in pg_locks, the advisory lock whose key has the halves $1 and $2.
const leaseLock = `locktype = 'advisory' AND granted AND objsubid = 1 AND classid = $1::bigint::oid AND objid = $2::bigint::oid
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// endTransactions ends the sessions of the last holder that have kept a transaction open for longer than a claim waits.
func (l *Lease) endTransactions(ctx context.Context, session string) error {
	if session == "" || session == l.db.session {
		return nil
	}
	_, err := l.conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid()
			AND xact_start < clock_timestamp() - $2::interval`, session, l.db.timing.lockWait/2)
	if SQLState(err) == "42501" {
		return nil
	}
	return err
}

// beat runs on the timer's goroutine, every few seconds, and sets the timer again.
func (l *Lease) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	ctx := context.WithoutCancel(l.lost)
	sent, old := time.Now(), l.conn != nil
	err := l.tell(ctx)
	if err != nil && old && !errors.Is(err, ErrFenced) {
		// The connection broke, perhaps because somebody took over while we were frozen: ask on a new one.
		l.hangUp(ctx)
		err = l.tell(ctx)
	}
	switch {
	case err == nil:
		l.alive = sent
	case errors.Is(err, ErrFenced):
		l.end(err)
		l.hangUp(ctx)
		return
	case sent.Sub(l.alive) >= l.db.timing.ttl:
		l.end(&Error{Op: "keep the lease of " + l.org.String(), Err: err})
		l.hangUp(ctx)
		return
	default:
		l.db.log.Warn("heartbeat of the lease failed", "org", l.org, "error", err)
		l.hangUp(ctx)
	}
	l.timer.Reset(l.db.timing.beat)
}

// tell writes one heartbeat, on a new connection if the last one broke.
func (l *Lease) tell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.db.timing.answer)
	defer cancel()
	if l.conn == nil {
		conn, err := l.db.connect(ctx)
		if err != nil {
			return err
		}
		l.conn, l.locked = conn, false
	}
	tag, err := l.conn.Exec(ctx, `UPDATE ingest.leases SET heartbeat_at = clock_timestamp()
		WHERE org_id = $1 AND epoch = $2 AND released_at IS NULL`, l.org, l.epoch)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrFenced
	}
	return l.tryLock(ctx)
}

func (l *Lease) hangUp(ctx context.Context) {
	if l.conn != nil {
		_ = hangUp(ctx, l.conn) // broken already, or not needed any more
	}
	l.conn, l.locked = nil, false
}

// lockKey is the key of an advisory lock of this program.
func lockKey(what string, org record.UUID) int64 {
	sum := sha256.Sum256(append([]byte("haloingest "+what+" "), org[:]...))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}
