package halo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"unsafe"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// Side is one organisation's part of a database as a side of a diff: a diff.Side, Counter, Noter and Meter. Fingerprints and Count are of the
// state when it was opened; Fetch is of the present one. Its methods are called by one goroutine at a time, as diff.Side says.
type Side struct {
	pool    *pgxpool.Pool
	org     record.UUID
	layouts map[string]*layout
	conn    *pgxpool.Conn
	tx      pgx.Tx
	own     map[string]int64 // rows that are Halo's own, by entity
	left    map[string]int64 // rows that are Halo's own again
	bytes   atomic.Int64
	hasher  rowHasher // of Fetch
}

// Name is what the command line calls this side.
const Name = "postgres"

// Open begins to read. The side holds a connection of the pool until it is closed, and uses a second one for Fetch.
func Open(ctx context.Context, pool *pgxpool.Pool, org record.UUID) (*Side, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("open Halo's tables: %w", err)
	}
	s := &Side{pool: pool, org: org, layouts: layouts(), conn: conn, own: make(map[string]int64), left: make(map[string]int64), hasher: rowHasher{org: org}}
	if s.tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err == nil {
		// The other side may take hours to read. The first query takes the snapshot.
		_, err = s.tx.Exec(ctx, `SELECT set_config(name, value, true) FROM (VALUES ('idle_in_transaction_session_timeout', '0'),
			('statement_timeout', '0'), ('work_mem', '64MB'), ('jit', 'off'), ('enable_nestloop', 'off')) AS s(name, value)`)
	}
	if err != nil {
		conn.Release()
		return nil, fmt.Errorf("open Halo's tables: %w", err)
	}
	return s, nil
}

// Close gives the connection back.
func (s *Side) Close(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	// A connection that broke has been reported by whoever used it.
	_ = s.tx.Rollback(context.WithoutCancel(ctx))
	s.conn.Release()
	s.conn = nil
	return nil
}

func (s *Side) Name() string     { return Name }
func (s *Side) Moves() bool      { return true }
func (s *Side) Requests() int64  { return 0 }
func (s *Side) BytesRead() int64 { return s.bytes.Load() }

// Notes says how many rows are Halo's own.
func (s *Side) Notes() []string {
	var notes []string
	for _, entity := range diff.Entities {
		if n := s.own[entity]; n > 0 {
			notes = append(notes, fmt.Sprintf("%d rows of %s are Halo's own: no object of Intercom stands behind them, and they were not compared.", n, entity))
		}
		if n := s.left[entity]; n > 0 {
			notes = append(notes, fmt.Sprintf("%d rows of %s are Halo's own again: the object that they show has moved to another row since.", n, entity))
		}
	}
	return notes
}

// batchRows is how many fingerprints are handed over at once.
const batchRows = 1024

// errEnough ends a COPY whose rows nobody wants any more.
var errEnough = errors.New("enough was read")

// Fingerprints reads a table. At diff.LevelFast it reads the stored hashes only, at diff.LevelFull all columns.
func (s *Side) Fingerprints(ctx context.Context, entity string, level diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		r := &reader{side: s, l: s.layouts[entity], full: level == diff.LevelFull, yield: yield, hasher: rowHasher{org: s.org},
			batch: make([]record.Fingerprint, 0, batchRows)}
		if r.l == nil {
			yield(nil, fmt.Errorf("there is no entity %q", entity))
			return
		}
		s.own[entity], s.left[entity] = 0, 0
		err := r.all(ctx)
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, fmt.Errorf("read %s: %w", entity, err))
		}
	}
}

// reader makes the fingerprints of one entity.
type reader struct {
	side   *Side
	l      *layout
	full   bool
	hasher rowHasher
	batch  []record.Fingerprint
	names  []byte // of the batch's objects
	yield  func([]record.Fingerprint, error) bool
}

func (r *reader) all(ctx context.Context) error {
	row := r.object
	switch {
	case r.l.person:
		row = r.person
	case r.l.entity == "knowledge":
		row = r.knowledge
	}
	if err := r.copy(ctx, r.l.query(r.full, literal(r.side.org)), row); err != nil {
		return err
	}
	if r.l.person {
		if err := r.copy(ctx, unboundSQL(r.l, literal(r.side.org)), r.unbound); err != nil {
			return err
		}
	}
	if r.l.entity != "knowledge" {
		if err := r.copy(ctx, goneSQL(r.l, literal(r.side.org)), r.gone); err != nil {
			return err
		}
	}
	if sql := doubtfulSQL(r.l.entity, literal(r.side.org)); r.full && sql != "" {
		if err := r.copy(ctx, sql, r.doubtful); err != nil {
			return err
		}
	}
	return r.flush()
}

// copy runs a query as a COPY in the side's transaction.
func (r *reader) copy(ctx context.Context, sql string, row func([][]byte) error) error {
	out := &copyOut{row: row}
	_, err := r.side.conn.Conn().PgConn().CopyTo(ctx, out, "COPY ("+sql+") TO STDOUT (FORMAT binary)")
	r.side.bytes.Add(out.bytes)
	if err != nil {
		return err
	}
	return out.end()
}

func literal(org record.UUID) string { return "'" + org.String() + "'::uuid" }

func (r *reader) add(f record.Fingerprint) error {
	r.batch = append(r.batch, f)
	if len(r.batch) < batchRows {
		return nil
	}
	return r.flush()
}

func (r *reader) flush() error {
	if len(r.batch) > 0 && !r.yield(r.batch, nil) {
		return errEnough
	}
	r.batch, r.names = r.batch[:0], r.names[:0]
	return nil
}

// name is an object's id, valid as long as the batch is.
func (r *reader) name(raw []byte) string {
	at := len(r.names)
	r.names = append(r.names, raw...)
	return unsafe.String(unsafe.SliceData(r.names[at:]), len(raw))
}

// content is the hash by which a row is compared, and whether the stored one is that of the values.
func (r *reader) content(fields [][]byte, stored record.Digest) (record.Digest, bool) {
	if !r.full {
		return stored, true
	}
	h := r.hasher.hash(r.l, fields)
	if h != stored {
		return unsealed(h), false
	}
	return h, true
}

// object takes a row of transcripts or tickets.
func (r *reader) object(fields [][]byte) error {
	if fields[fieldKey] == nil {
		r.side.own[r.l.entity]++
		return nil
	}
	f := record.Fingerprint{SourceID: r.name(fields[fieldKey]), UpdatedAt: micros(fields[fieldUpdated]), FetchedAt: micros(fields[fieldFetched]), Count: 1}
	if fields[fieldDeleted] != nil {
		f.State = record.FingerprintDeleted
	}
	if id := uuid(fields[fieldID]); r.hasher.namer.Row(r.side.org, r.l.kind, fields[fieldKey]) != id {
		f.SourceID = diff.StrayPrefix + id.String()
	}
	f.Hash, _ = r.content(fields, digest(fields[fieldHash]))
	return r.add(f)
}

// person takes a contact or company with the row that it is bound to.
func (r *reader) person(fields [][]byte) error {
	f := record.Fingerprint{SourceID: r.name(fields[fieldKey]), UpdatedAt: micros(fields[fieldUpdated]), FetchedAt: micros(fields[fieldFetched]), Count: 1,
		State: personState(fields), Hash: digest(fields[fieldHash])}
	if r.full && f.State == record.FingerprintLive {
		h, sealed := r.content(fields, digest(fields[fieldShownHash]))
		if sealed && h != f.Hash {
			h = unsealed(h)
		}
		f.Hash = h
	}
	return r.add(f)
}

// personState says how a contact or company is there. Its row is marked as deleted when all on it are gone, and never if it is Halo's own.
func personState(fields [][]byte) record.FingerprintState {
	gone, rowGone, native := fields[fieldDeleted] != nil, fields[fieldRowDeleted] != nil, truth(fields[fieldNative])
	shows := string(fields[fieldShown]) == string(fields[fieldKey]) && !truth(fields[fieldHeir])
	switch {
	case gone && (rowGone || native || truth(fields[fieldOthers])):
		return record.FingerprintDeleted
	case rowGone && !native:
		return record.FingerprintDeleted
	case shows:
		return record.FingerprintLive
	}
	return record.FingerprintShared
}

// unbound takes a row of end_users or companies that no object is bound to.
func (r *reader) unbound(fields [][]byte) error {
	switch {
	case fields[fieldKey] == nil:
		r.side.own[r.l.entity]++
		return nil
	case truth(fields[fixedFields]):
		r.side.left[r.l.entity]++
		return nil
	}
	return r.add(record.Fingerprint{SourceID: diff.StrayPrefix + uuid(fields[fieldID]).String(), UpdatedAt: micros(fields[fieldUpdated]),
		FetchedAt: micros(fields[fieldFetched]), Count: 1, Hash: digest(fields[fieldHash])})
}

// knowledge takes a row of knowledge: a part of what its conversation has.
func (r *reader) knowledge(fields [][]byte) error {
	switch {
	case fields[fieldKey] == nil:
		r.side.own[r.l.entity]++
		return nil
	case fields[fieldDeleted] != nil:
		return nil
	}
	f := record.Fingerprint{SourceID: r.name(fields[fieldKey]), Count: 1}
	if r.hasher.strayKnowledge(r.l, fields, r.full) {
		f.SourceID = diff.StrayPrefix + uuid(fields[fieldID]).String()
	}
	f.Hash, _ = r.content(fields, digest(fields[fieldHash]))
	return r.add(f)
}

// strayKnowledge reports whether a row of knowledge is not where its conversation's are, or has not the id that its key gives it.
func (h *rowHasher) strayKnowledge(l *layout, fields [][]byte, full bool) bool {
	if h.conversationRow(fields[fieldKey]) != uuid(fields[fieldTranscript]) {
		return true
	}
	if !full {
		return false
	}
	key, kind, chunk := fields[l.at[0]], fields[l.at[1]], fields[l.at[3]]
	return h.namer.Knowledge(h.org, key, kind, integer(chunk)) != uuid(fields[fieldID])
}

// gone takes word that an object is gone. Without a version it counts only where there is no row: a row says itself whether it is marked.
func (r *reader) gone(fields [][]byte) error {
	return r.add(record.Fingerprint{SourceID: r.name(fields[0]), State: record.FingerprintGone})
}

// doubtful takes the id of an object that is to be looked at whatever its hash says.
func (r *reader) doubtful(fields [][]byte) error {
	if fields[0] == nil {
		return nil
	}
	return r.add(record.Fingerprint{SourceID: r.name(fields[0]), State: record.FingerprintDoubtful})
}

// Count counts the objects of an entity in the database's own way. Of knowledge it counts conversations, as if no row were out of place:
// exact says whether the count is of the same things as Fingerprints.
func (s *Side) Count(ctx context.Context, entity string) (n int64, exact bool, err error) {
	l := s.layouts[entity]
	if l == nil {
		return 0, false, fmt.Errorf("there is no entity %q", entity)
	}
	if err := s.tx.QueryRow(ctx, countSQL(l), s.org.String()).Scan(&n); err != nil {
		return 0, false, fmt.Errorf("count %s: %w", entity, err)
	}
	return n, entity != "knowledge", nil
}

var _ interface {
	diff.Side
	diff.Counter
	diff.Noter
	diff.Meter
} = (*Side)(nil)
