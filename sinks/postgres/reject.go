package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Bounds of what is indexed or shown; PostgreSQL refuses index entries of more than some 2,700 bytes, and a reject must never
// fail because of what it is about.
const (
	maxRejectID     = 250
	maxRejectField  = 500
	maxRejectReason = 4000
)

// rejectBytes bounds the payloads of one statement: all of its parameters together must stay below 1 GiB, and a batch of
// monstrous objects should not need as much memory at once.
const rejectBytes = 16 << 20

// rejectRow is a reject as it is stored.
type rejectRow struct {
	cause                          [16]byte
	stage, kind, id, field, reason string
	payload                        []byte
	times                          int32
}

// insertRejects stores the rejects of a batch, in its transaction. The same object refused by the same stage for the same field is one
// open row: it keeps the newest reason and payload and counts how often. Objects without a readable id are told apart by their
// payload.
func (r *Run) insertRejects(ctx context.Context, tx pgx.Tx, stream string, rejects []pipeline.Reject) error {
	if len(rejects) == 0 {
		return nil
	}
	r.rejected.Store(true)
	rows := rejectRows(rejects)
	for len(rows) > 0 {
		n, size := 1, len(rows[0].payload)
		for n < len(rows) && size+len(rows[n].payload) <= rejectBytes {
			size += len(rows[n].payload)
			n++
		}
		if err := r.insertRejectRows(ctx, tx, stream, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// rejectRows makes one row of the rejects that are the same, as one statement cannot bump a row twice.
func rejectRows(rejects []pipeline.Reject) []rejectRow {
	rows := make([]rejectRow, 0, len(rejects))
	index := make(map[[16]byte]int, len(rejects))
	for _, x := range rejects {
		row := rejectRow{
			cause: rejectCause(x), stage: clip(record.CleanText(x.Stage), maxRejectID), kind: rejectKind(x.Kind), id: rejectID(x.ID),
			field: clip(record.CleanText(x.Field), maxRejectField), reason: clip(record.CleanText(x.Reason), maxRejectReason), payload: x.Payload, times: 1,
		}
		if row.payload == nil {
			row.payload = []byte{}
		}
		if i, twice := index[row.cause]; twice {
			row.times += rows[i].times
			rows[i] = row
			continue
		}
		index[row.cause] = len(rows)
		rows = append(rows, row)
	}
	return rows
}

func (r *Run) insertRejectRows(ctx context.Context, tx pgx.Tx, stream string, rows []rejectRow) error {
	n := len(rows)
	causes, payloads, times := make([][]byte, n), make([][]byte, n), make([]int32, n)
	stages, kinds, ids, fields, reasons := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i, row := range rows {
		causes[i], payloads[i], times[i] = row.cause[:], row.payload, row.times
		stages[i], kinds[i], ids[i], fields[i], reasons[i] = row.stage, row.kind, row.id, row.field, row.reason
	}
	err := r.keepRejects(ctx, tx, `unnest($3::bytea[]) AS k(cause) JOIN ingest.rejects t ON t.org_id = $1::uuid AND t.cause = k.cause WHERE t.resolved_at IS NULL`, causes)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO ingest.rejects AS r (org_id, run_id, stream, cause, stage, kind, source_id, field, reason, payload, times)
		SELECT $1, $2, $3, u.* FROM unnest($4::bytea[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[], $11::integer[]) u
		ON CONFLICT (org_id, cause) WHERE resolved_at IS NULL DO UPDATE SET
			run_id = excluded.run_id, stream = excluded.stream, reason = excluded.reason, last_seen_at = now(), times = r.times + excluded.times,
			payload = CASE WHEN r.payload = excluded.payload THEN r.payload ELSE excluded.payload END`,
		r.lease.org, r.ID, stream, causes, stages, kinds, ids, fields, reasons, payloads, times)
	return err
}

// resolveRejects closes the open rejects of objects that this batch has loaded, in its transaction and after insertRejects. Objects
// that the batch itself rejects (rejects) stay open. It costs nothing while the organisation has no open reject.
func (r *Run) resolveRejects(ctx context.Context, tx pgx.Tx, kind record.Kind, ids []string, rejects []pipeline.Reject) error {
	if len(ids) == 0 || !r.rejected.Load() {
		return nil
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = rejectID(id)
	}
	var still [][]byte
	for _, x := range rejects {
		cause := rejectCause(x)
		still = append(still, cause[:])
	}
	err := r.keepRejects(ctx, tx, `unnest($3::text[]) AS u(id) JOIN ingest.rejects t ON t.org_id = $1::uuid AND t.source_id = u.id
		WHERE t.kind = $4::text AND t.resolved_at IS NULL AND NOT t.cause = ANY (coalesce($5::bytea[], '{}'))`, keys, string(kind), still)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE ingest.rejects r SET resolved_at = now() FROM unnest($3::text[]) AS u(id)
		WHERE r.org_id = $1 AND r.kind = $2 AND r.source_id = u.id AND r.resolved_at IS NULL AND NOT r.cause = ANY (coalesce($4::bytea[], '{}'))`,
		r.lease.org, string(kind), keys, still)
	return err
}

// rejectCause is what makes two rejects the same.
func rejectCause(x pipeline.Reject) [16]byte {
	h := sha256.New()
	for _, part := range []string{x.Kind, x.ID, x.Stage, x.Field} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	if x.ID == "" {
		h.Write(x.Payload)
	}
	return [16]byte(h.Sum(nil)[:16])
}

func rejectKind(kind string) string { return clip(record.CleanText(kind), 100) }

// rejectID is an object's id as it is stored: a monstrous one is cut and told apart by its hash.
func rejectID(id string) string {
	id = record.CleanText(id)
	if len(id) <= maxRejectID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return clip(id, maxRejectID-40) + "…" + hex.EncodeToString(sum[:8])
}

// RejectInfo is a reject without its payload.
type RejectInfo struct {
	ID           int64       `json:"id"`
	RunID        record.UUID `json:"run_id"`
	Stream       string      `json:"stream"`
	Stage        string      `json:"stage"`
	Kind         string      `json:"kind"`
	SourceID     string      `json:"source_id"` // "" if the object has none that can be read
	Field        string      `json:"field"`
	Reason       string      `json:"reason"`
	PayloadBytes int         `json:"payload_bytes"`
	Times        int         `json:"times"`
	CreatedAt    time.Time   `json:"created_at"`
	LastSeenAt   time.Time   `json:"last_seen_at"`
	ResolvedAt   time.Time   `json:"resolved_at,omitzero"` // zero while open
}

// RejectFilter selects rejects. The zero value selects all open ones.
type RejectFilter struct {
	Kind     string      // "": all
	SourceID string      // "": all
	Stage    string      // "": all
	Field    string      // "": all
	RunID    record.UUID // the run that saw it last; zero: all
	IDs      []int64     // empty: all
	Resolved bool        // include those that were loaded since
	Limit    int         // 0: no limit
}

// rejectPage is how many rejects are read at a time without payloads; with payloads they are read one by one, for one may be large.
const rejectPage = 500

const rejectColumns = `id, run_id, stream, stage, kind, source_id, field, reason, length(payload), times, created_at, last_seen_at, resolved_at`

func scanReject(row pgx.CollectableRow) (x RejectInfo, err error) {
	var resolved *time.Time
	err = row.Scan(&x.ID, (*[16]byte)(&x.RunID), &x.Stream, &x.Stage, &x.Kind, &x.SourceID, &x.Field, &x.Reason, &x.PayloadBytes, &x.Times,
		&x.CreatedAt, &x.LastSeenAt, &resolved)
	if resolved != nil {
		x.ResolvedAt = *resolved
	}
	return x, err
}

// Rejects lists the rejects of org, oldest first. It holds no connection between pages, and stops after yielding an error.
func (db *DB) Rejects(ctx context.Context, org record.UUID, f RejectFilter) iter.Seq2[RejectInfo, error] {
	return func(yield func(RejectInfo, error) bool) {
		var after int64
		for left := f.Limit; ; {
			n := rejectPage
			if f.Limit > 0 {
				n = min(n, left)
			}
			page, err := db.rejectPage(ctx, org, f, after, n)
			if err != nil {
				yield(RejectInfo{}, err)
				return
			}
			for _, x := range page {
				if !yield(x, nil) {
					return
				}
				after = x.ID
			}
			left -= len(page)
			if len(page) < n || f.Limit > 0 && left <= 0 {
				return
			}
		}
	}
}

func (db *DB) rejectPage(ctx context.Context, org record.UUID, f RejectFilter, after int64, n int) ([]RejectInfo, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+rejectColumns+` FROM ingest.rejects
		WHERE org_id = $1 AND id > $2 AND ($3 OR resolved_at IS NULL) AND ($4 = '' OR kind = $4) AND ($5 = '' OR source_id = $5)
			AND ($6 = '' OR stage = $6) AND ($7 = '' OR field = $7) AND ($8::uuid IS NULL OR run_id = $8) AND ($9::bigint[] IS NULL OR id = ANY ($9))
		ORDER BY id LIMIT $10`,
		org, after, f.Resolved, f.Kind, rejectID(f.SourceID), f.Stage, f.Field, orNull(f.RunID), f.IDs, n)
	if err == nil {
		var list []RejectInfo
		if list, err = pgx.CollectRows(rows, scanReject); err == nil {
			return list, nil
		}
	}
	return nil, wrap(ctx, err, "list rejects")
}

// Reject returns one reject with its payload, open or not. ErrNotFound if org has none of that id.
func (db *DB) Reject(ctx context.Context, org record.UUID, id int64) (RejectInfo, []byte, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+rejectColumns+`, payload FROM ingest.rejects WHERE org_id = $1 AND id = $2`, org, id)
	if err != nil {
		return RejectInfo{}, nil, wrap(ctx, err, "read reject %d", id)
	}
	var payload []byte
	info, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (RejectInfo, error) {
		return scanReject(withPayload{row, &payload})
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return RejectInfo{}, nil, fmt.Errorf("reject %d: %w", id, ErrNotFound)
	}
	return info, payload, wrap(ctx, err, "read reject %d", id)
}

// withPayload scans one column more.
type withPayload struct {
	pgx.CollectableRow
	payload *[]byte
}

func (w withPayload) Scan(dest ...any) error {
	return w.CollectableRow.Scan(append(dest, w.payload)...)
}

// RejectedObject is an object to try again.
type RejectedObject struct {
	Reject RejectInfo
	Object record.Object // Body is the payload, FetchedAt when it was last seen
}

// OpenRejectObjects yields the objects of the open rejects that f selects, oldest first and each object once, with their payloads read one by
// one. Rejects of a kind that is no record.Kind are left out. Loading an object resolves all of its rejects.
func (db *DB) OpenRejectObjects(ctx context.Context, org record.UUID, f RejectFilter) iter.Seq2[RejectedObject, error] {
	f.Resolved = false
	return func(yield func(RejectedObject, error) bool) {
		last := make(map[string]string) // kind and id of each object that was yielded; ids only, so small
		for info, err := range db.Rejects(ctx, org, f) {
			if err != nil {
				yield(RejectedObject{}, err)
				return
			}
			kind, known := kindOf(info.Kind)
			key := info.Kind + " " + info.SourceID
			if _, twice := last[key]; !known || twice && info.SourceID != "" {
				continue
			}
			last[key] = ""
			x, err := db.newestPayload(ctx, org, info)
			if errors.Is(err, ErrNotFound) {
				continue // resolved since the page was read
			}
			if err != nil {
				yield(RejectedObject{}, err)
				return
			}
			x.Object.Kind = kind
			if !yield(x, nil) {
				return
			}
		}
	}
}

// newestPayload reads the object of a reject in the state that was seen last, by whichever of its open rejects.
func (db *DB) newestPayload(ctx context.Context, org record.UUID, info RejectInfo) (RejectedObject, error) {
	x := RejectedObject{Reject: info, Object: record.Object{ID: info.SourceID, Request: "reject"}}
	err := db.pool.QueryRow(ctx, `SELECT payload, last_seen_at FROM ingest.rejects
		WHERE org_id = $1 AND resolved_at IS NULL AND kind = $2 AND source_id = $3 AND ($3 <> '' OR id = $4) ORDER BY last_seen_at DESC, id DESC LIMIT 1`,
		org, info.Kind, info.SourceID, info.ID).Scan(&x.Object.Body, &x.Object.FetchedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return x, ErrNotFound
	}
	return x, wrap(ctx, err, "read reject %d", info.ID)
}

func kindOf(name string) (record.Kind, bool) {
	for _, k := range record.Kinds {
		if string(k) == name {
			return k, true
		}
	}
	return "", false
}

// RejectCount is how many open rejects have one cause.
type RejectCount struct {
	Kind   string `json:"kind"`
	Stage  string `json:"stage"`
	Field  string `json:"field"`
	Reason string `json:"reason"` // of the newest
	Open   int64  `json:"open"`
}

// RejectCounts tallies the open rejects of org by kind, stage and field, the most frequent first.
func (db *DB) RejectCounts(ctx context.Context, org record.UUID) ([]RejectCount, error) {
	rows, err := db.pool.Query(ctx, `SELECT kind, stage, field, (array_agg(reason ORDER BY last_seen_at DESC, id DESC))[1], count(*)
		FROM ingest.rejects WHERE org_id = $1 AND resolved_at IS NULL GROUP BY kind, stage, field ORDER BY count(*) DESC, kind, stage, field`, org)
	if err != nil {
		return nil, wrap(ctx, err, "count rejects")
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RejectCount])
	return list, wrap(ctx, err, "count rejects")
}

// orNull makes the zero UUID NULL.
func orNull(id record.UUID) *[16]byte {
	if id.IsZero() {
		return nil
	}
	return (*[16]byte)(&id)
}
