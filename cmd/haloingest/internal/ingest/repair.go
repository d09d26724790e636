package ingest

import (
	"context"
	"iter"

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
