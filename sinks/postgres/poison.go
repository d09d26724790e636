package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// A batch is first loaded as if all were well. If the database refuses a row, the whole transaction is repeated with care: halves of the batch at
// savepoints, and halves of the half that is refused, until what is refused is one object. That is rare, so the usual batch pays nothing
// for it.

// loadCareful loads items so that what cannot be loaded is found: all of them at a savepoint, and if the database refuses, each half of
// them on its own. One object alone that is refused becomes a reject.
func (l *loader) loadCareful(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	var err error
	for try := 0; ; try++ {
		err = l.atSavepoint(ctx, func() error { return l.load(ctx, items) })
		// Somebody else may have taken the key between the probe and the write; then the next probe sees it.
		if try > 0 || len(items) > 1 || SQLState(err) != "23505" {
			break
		}
	}
	if err == nil || !poison(err) {
		return err
	}
	for _, it := range items {
		it.outcome, it.transcript = 0, it.change.Transcript
	}
	if len(items) == 1 {
		items[0].refuse(err)
		return l.flood(items[0].reject)
	}
	half := len(items) / 2
	if err := l.loadCareful(ctx, items[:half]); err != nil {
		return err
	}
	return l.loadCareful(ctx, items[half:])
}

// tally counts what one sink has loaded and refused.
type tally struct{ items, rejects int64 }

// flood counts a reject and says whether it is one too many. It names the last one: as a rule all are the same.
func (l *loader) flood(r pipeline.Reject) error {
	l.tally.rejects++
	n := l.tally
	if l.limit.Share < 0 || n.rejects < int64(l.limit.Min) || float64(n.rejects) <= l.limit.Share*float64(n.items) {
		return nil
	}
	return &pipeline.RejectFlood{Rejects: n.rejects, Items: n.items, Limit: l.limit, Stage: r.Stage, Reason: r.Reason, Count: 1}
}

// atSavepoint runs f, and undoes what it has done if it fails.
func (l *loader) atSavepoint(ctx context.Context, f func() error) error {
	before := make(pipeline.Counts, len(l.counts))
	before.Merge(l.counts)
	sp, err := l.tx.Begin(ctx)
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		l.counts = before
		if poison(err) {
			if undo := sp.Rollback(ctx); undo != nil {
				return undo
			}
		}
		return err
	}
	return sp.Commit(ctx)
}

// poison reports whether the database refused a value, so that the fault is in one of the rows and not in the connection or
// the server: bad data, a broken constraint, something too large, an exception of a trigger.
func poison(err error) bool {
	var bad *encodeError
	if errors.As(err, &bad) {
		return true
	}
	code := SQLState(err)
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "22", "23", "54", "P0":
		return true
	}
	return code == "XX000" // a size that the server cannot handle inside; XX001 and XX002 are a broken disk
}

// refuse makes the item a reject. The reason is the server's message, which is about this row only; its detail and context, which quote
// rows, are left out.
func (it *item) refuse(err error) {
	c := it.change
	it.outcome = rejected
	it.reject = pipeline.Reject{Stage: stageName, Kind: string(c.Kind), ID: c.SourceID}
	if c.Object != nil {
		it.reject.Payload = c.Object.Body
	}
	var bad *encodeError
	if errors.As(err, &bad) {
		it.reject.Field, it.reject.Reason = bad.Column, bad.Reason
		return
	}
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		it.reject.Reason = record.CleanText(err.Error())
		return
	}
	it.reject.Field = server.ColumnName
	if _, column, ok := strings.Cut(server.Where, ", column "); ok && it.reject.Field == "" {
		column, _, _ = strings.Cut(column, ":")
		column, _, _ = strings.Cut(column, "\n")
		it.reject.Field = strings.TrimSpace(column)
	}
	it.reject.Reason = record.CleanText(server.Message) + " (SQLSTATE " + server.Code + ")"
	if server.ConstraintName != "" {
		it.reject.Reason += ", constraint " + server.ConstraintName
	}
}
