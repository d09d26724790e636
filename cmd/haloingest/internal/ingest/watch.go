package ingest

import (
	"context"
	"log/slog"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// Part is a run, or one stream of it.
type Part struct {
	Org    record.UUID
	Run    record.UUID
	Kind   string // of the run
	Stream string // "": the run itself
}

// Watch is called where a part begins, and what it returns is what the part works under and is called with what it ended with: the state and
// the error of a run, the error alone of a stream. It is called by the goroutine that runs the part.
type Watch func(ctx context.Context, part Part) (context.Context, func(state postgres.RunState, err error))

// Log is the runner's, with the run's id in each line.
func (r *Run) Log() *slog.Logger { return r.runner.Log }

// watch tells the runner's Watch, if there is one, that a part begins.
func (r *Run) watch(ctx context.Context, stream string) (context.Context, func(postgres.RunState, error)) {
	if r.runner.Watch == nil {
		return ctx, func(postgres.RunState, error) {}
	}
	return r.runner.Watch(ctx, Part{Org: r.runner.Connection.Org, Run: r.run.ID, Kind: r.run.Spec.Kind, Stream: stream})
}
