package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Bulk loading. Where it is known beforehand what there is to load (the files of a snapshot), no cursor is needed: the whole is cut into segments, each
// is one transaction, and ingest.segments says which are there. Segments may be loaded in any order and by several sinks at once. A sink still has
// a checkpoint of its own, which every one of its transactions moves by one: it fences, holds the counts, and tells what became of a COMMIT
// whose answer was lost. Nothing is read from it to resume.
//
// Rows do not depend on the order of segments, except where the rules of identity do (see identity.go): contacts and companies that
// share rows are bound as they come, so their segments are best loaded by one sink in the order in which they were made. They exclude
// other batches of the organisation anyway; conversations do not.

// CommitSegment loads the batch as the segment of that name, which is everything that Commit does, exactly once in a run: loaded is false, and nothing
// is changed, if the segment is complete already, by whichever sink and attempt. b.Seq and b.Cursor are not used. A sink is used
// with either CommitSegment or Commit. Names are of the caller's choice, e.g. a file's path, at most 500 bytes.
func (s *Sink) CommitSegment(ctx context.Context, name string, b pipeline.Batch[record.Change]) (loaded bool, err error) {
	op := fmt.Sprintf("load segment %s of %s", name, s.stream)
	if name == "" || len(name) > 500 || name != record.CleanText(name) {
		return false, fmt.Errorf("%s: %w", op, invariant("this is no name of a segment"))
	}
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	b.Cursor = nil
	w := work{batch: b, seq: s.base + 1, segment: name, op: op}
	err = s.commit(ctx, &w)
	if err != nil || w.known {
		// Whether the checkpoint has moved is not known, or it has not: the next segment asks.
		s.begun = false
		return false, err
	}
	s.base++
	return true, nil
}

// Segments returns the names of the run's complete segments, of all attempts.
func (r *Run) Segments(ctx context.Context) (map[string]bool, error) {
	rows, err := r.lease.db.pool.Query(ctx, `SELECT name FROM ingest.segments WHERE org_id = $1 AND run_id = $2`, r.lease.org, r.ID)
	if err != nil {
		return nil, wrap(ctx, err, "list the segments of run %s", r.ID)
	}
	done := make(map[string]bool)
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error { done[name] = true; return nil })
	return done, wrap(ctx, err, "list the segments of run %s", r.ID)
}

// enter makes the segment's row, after the checkpoint was moved. known means that it is there.
func (w *work) enter(ctx context.Context, tx pgx.Tx, r *Run, stream string) (known bool, err error) {
	tag, err := tx.Exec(ctx, `INSERT INTO ingest.segments (org_id, run_id, name, stream, items) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
		r.lease.org, r.ID, w.segment, stream, len(w.batch.Items))
	return tag.RowsAffected() == 0, err
}

// entered checks that it was this segment which has moved the checkpoint.
func (w *work) entered(ctx context.Context, tx pgx.Tx, r *Run, stream string) error {
	var by string
	err := tx.QueryRow(ctx, `SELECT stream FROM ingest.segments WHERE org_id = $1 AND run_id = $2 AND name = $3`, r.lease.org, r.ID, w.segment).Scan(&by)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && by != stream {
		return fmt.Errorf("stream %s has moved to batch %d without segment %s: %w", stream, w.seq, w.segment, errSequence)
	}
	return err
}
