package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Checkpoint is where a stream of a run stands.
type Checkpoint struct {
	Cursor   pipeline.Cursor // just behind the last committed batch; nil at the beginning
	Seq      uint64          // batches committed so far, over all attempts
	Complete bool
	Skipped  string // why the stream was left out, or ""
	Counts   pipeline.Counts
}

// Checkpoint returns where the stream stands, making its row on first use, and claims it: from here on no earlier holder of the
// lease can move it. It fails with ErrFenced if the lease is lost.
func (r *Run) Checkpoint(ctx context.Context, stream string) (Checkpoint, error) {
	var c Checkpoint
	var seq int64
	var counts []byte
	err := r.guarded(ctx, "read checkpoint "+stream, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq) VALUES ($1, $2, $3, $4, 0)
			ON CONFLICT (org_id, run_id, stream) DO UPDATE SET epoch = excluded.epoch
			RETURNING cursor, seq, complete, coalesce(skipped, ''), counts`,
			r.lease.org, r.ID, stream, r.lease.epoch).Scan((*[]byte)(&c.Cursor), &seq, &c.Complete, &c.Skipped, &counts)
	})
	if err != nil {
		return Checkpoint{}, err
	}
	c.Seq = uint64(seq)
	if err := json.Unmarshal(counts, &c.Counts); err != nil {
		return Checkpoint{}, fmt.Errorf("read checkpoint %s: counts: %w", stream, err)
	}
	return c, nil
}

// CompleteStream says that the stream has been read to its end.
func (r *Run) CompleteStream(ctx context.Context, stream string) error {
	return r.closeStream(ctx, stream, true, "")
}

// SkipStream says that the stream is left out in this attempt, and why. A later attempt may still read it.
func (r *Run) SkipStream(ctx context.Context, stream, why string) error {
	return r.closeStream(ctx, stream, false, record.CleanText(why))
}

func (r *Run) closeStream(ctx context.Context, stream string, complete bool, skipped string) error {
	// The lease is known to be ours in this transaction; a row of a lower epoch is of a holder that died with its last batch under way.
	return r.guarded(ctx, "close stream "+stream, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `INSERT INTO ingest.checkpoints AS c (org_id, run_id, stream, epoch, seq, complete, skipped)
			VALUES ($1, $2, $3, $4, 0, $5, nullif($6, ''))
			ON CONFLICT (org_id, run_id, stream) DO UPDATE SET epoch = excluded.epoch, complete = $5, skipped = nullif($6, ''), updated_at = clock_timestamp()
				WHERE c.epoch <= $4`,
			r.lease.org, r.ID, stream, r.lease.epoch, complete, skipped)
		if err == nil && tag.RowsAffected() == 0 {
			return ErrFenced
		}
		return err
	})
}

// step is how one batch moves a checkpoint.
type step struct {
	Seq    uint64          // the checkpoint's Seq after the batch: its Seq when the stream was opened + Batch.Seq + 1
	Cursor pipeline.Cursor // nil leaves the stored one
	Counts pipeline.Counts // added to the stored ones
}

// advance moves the checkpoint of stream by one batch. It is the first statement of the batch's transaction: its row lock keeps
// a second writer out until the transaction ends. done means that this batch was committed before, by a COMMIT whose answer
// was lost; the caller then rolls back and goes on with the next batch. ErrFenced means that the lease is lost.
func (r *Run) advance(ctx context.Context, tx pgx.Tx, stream string, s step) (done bool, err error) {
	counts, err := encodeCounts(s.Counts)
	if err != nil {
		return false, err
	}
	tag, err := tx.Exec(ctx, `UPDATE ingest.checkpoints c SET cursor = coalesce($5::bytea, c.cursor), seq = $6::bigint, skipped = NULL, updated_at = clock_timestamp(),
			counts = CASE WHEN $7::jsonb IS NULL THEN c.counts ELSE (
				SELECT coalesce(jsonb_object_agg(key, n), '{}') FROM (
					SELECT key, sum(value::bigint)::bigint AS n
					FROM (SELECT * FROM jsonb_each_text(c.counts) UNION ALL SELECT * FROM jsonb_each_text($7::jsonb)) a
					GROUP BY key) b) END
		WHERE c.org_id = $1 AND c.run_id = $2 AND c.stream = $3 AND c.epoch = $4 AND c.seq = $6::bigint - 1`,
		r.lease.org, r.ID, stream, r.lease.epoch, []byte(s.Cursor), int64(s.Seq), counts)
	if err != nil {
		return false, err
	}
	if tag.RowsAffected() == 1 {
		return false, nil
	}
	var epoch, seq int64
	err = tx.QueryRow(ctx, `SELECT epoch, seq FROM ingest.checkpoints WHERE org_id = $1 AND run_id = $2 AND stream = $3`,
		r.lease.org, r.ID, stream).Scan(&epoch, &seq)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, fmt.Errorf("advance stream %s: it has no checkpoint", stream)
	case err != nil:
		return false, err
	case epoch != r.lease.epoch:
		return false, ErrFenced
	case seq == int64(s.Seq):
		return true, nil
	}
	return false, fmt.Errorf("advance stream %s: batch %d cannot follow batch %d: %w", stream, s.Seq, seq, errSequence)
}

// errSequence says that a batch is missing or was presented again after its successor: the engine's order is broken.
var errSequence = errors.New("batches are out of order")

// encodeCounts returns jsonb text, or nil if nothing is to be added. Names come from the source's data in part, so they are
// made fit for jsonb here.
func encodeCounts(counts pipeline.Counts) ([]byte, error) {
	var clean pipeline.Counts
	for name, n := range counts {
		if n != 0 {
			clean.Add(clip(record.CleanText(name), 500), n)
		}
	}
	if len(clean) == 0 {
		return nil, nil
	}
	return json.Marshal(clean)
}
