// Package dedupe is the third stage: of several states of one object in one batch it keeps the newest.
//
// Pages overlap by design (search windows do, rows move while they are paged, a webhook and a sync may
// read the same object), so a batch may hold an object twice, and a row can be written once per
// statement only. The stage looks at one batch at a time and keeps no memory between batches: a set of
// everything seen would grow with the workspace and be lost in a crash. Across batches and runs the
// sink's guarded merge decides, by the same order of versions, against the state that is committed.
//
// One object is one (kind, id). Contacts that are one person are different objects here; whether they
// share a row is known only in the sink's transaction.
package dedupe

import (
	"context"
	"fmt"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// StageName is the stage's name.
const StageName = "dedupe"

// Superseded is the counter of states that a newer or equal one in the same batch replaced.
const Superseded = "dedupe/superseded"

// Stage is a pipeline.Stage without state; the zero value is ready and several goroutines may use it.
type Stage struct{}

// New returns the stage.
func New() *Stage { return &Stage{} }

// Name returns StageName.
func (*Stage) Name() string { return StageName }

type key struct {
	kind record.Kind
	id   string
}

// Process keeps the newest version of each object, of equal ones the later in the batch, in the place
// where the object came first. The result reuses the slice of the input.
func (*Stage) Process(ctx context.Context, in []record.Change) (pipeline.Result[record.Change], error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Result[record.Change]{}, fmt.Errorf("dedupe: %w", context.Cause(ctx))
	}
	result := pipeline.Result[record.Change]{Items: in[:0]}
	place := make(map[key]int, len(in))
	for _, c := range in {
		k := key{c.Kind, c.SourceID}
		i, seen := place[k]
		if !seen {
			place[k] = len(result.Items)
			result.Items = append(result.Items, c)
			continue
		}
		result.Counts.Add(Superseded, 1)
		if c.Supersedes(&result.Items[i]) {
			result.Items[i] = c
		}
	}
	clear(in[len(result.Items):]) // let go of what was replaced
	return result, nil
}
