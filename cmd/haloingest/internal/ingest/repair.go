package ingest

import (
	"context"
	"iter"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
)

// KindRepair is a run that mends what a diff found: it reads the objects concerned by id and loads them, whether their
// stored hash says that they are equal or not.
const KindRepair = "repair"

// Repair names what a run of KindRepair mends.
type Repair struct {
	Diff record.UUID
	// IDs yields the objects of a kind, each once and in the same order every time: a run that was stopped goes on
	// by their number.
	IDs func(ctx context.Context, kind record.Kind) iter.Seq2[string, error]
	// Strays are rows that name one of these objects without being the row that it is bound to. They are marked deleted
	// when the objects have been read.
	Strays func(kind record.Kind) []record.UUID
	// StrayKnowledge names conversations of which there is knowledge that they do not have, and rows of it that hang
	// elsewhere. They are deleted where the conversation was read and has them not, or is confirmed to be gone.
	StrayKnowledge func() (conversations []string, rows []record.UUID)
}

// strayStream reads nothing: when its turn comes, all objects have been read.
func (r *Run) strayStream() stream {
	return stream{name: "repair-strays", anew: true, open: func(ctx context.Context) (pipeline.Source[record.Object], error) {
		return nil, r.buryStrays(ctx)
	}}
}

func (r *Run) buryStrays(ctx context.Context) error {
	for _, kind := range record.Kinds {
		rows := r.request.Repair.Strays(kind)
		if len(rows) == 0 {
			continue
		}
		n, err := r.run.BuryStrays(ctx, kind, rows, time.Now())
		if err != nil {
			return err
		}
		if n > 0 {
			r.runner.Log.Info("marked rows as deleted that no object is bound to", "table", kind.Table(), "rows", n)
		}
	}
	conversations, rows := r.request.Repair.StrayKnowledge()
	if len(conversations) == 0 {
		return nil
	}
	n, err := r.run.DropStrayKnowledge(ctx, conversations, rows)
	if err == nil && n > 0 {
		r.runner.Log.Info("deleted knowledge that its conversation does not have", "rows", n)
	}
	return err
}

// repairStream reads the objects of a kind by id. What is gone becomes a tombstone: nothing is marked deleted that was
// not asked for.
func (r *Run) repairStream(kind record.Kind) stream {
	return stream{
		name: "repair-" + kind.Stream(),
		kind: kind,
		open: func(ctx context.Context) (pipeline.Source[record.Object], error) {
			return intercom.NewConfirm(r.runner.Client, kind, r.request.Repair.IDs(ctx, kind)), nil
		},
	}
}
