package ingest

import (
	"context"
	"maps"
	"slices"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// countRejects adds the objects that the source and the stages have rejected to the outcomes that the sink
// counts of those that it was given, in the same transaction: so the outcomes of a table add up to the
// objects that were read, and a run that rejected something can be told by its counts alone.
type countRejects struct {
	*postgres.Sink
	kind record.Kind // of the stream
}

// Commit is the sink's.
func (s countRejects) Commit(ctx context.Context, b pipeline.Batch[record.Change]) error {
	files := countAttachments(b.Files)
	if len(b.Rejects) > 0 || len(files) > 0 {
		b.Counts = maps.Clone(b.Counts) // the batch is the pipeline's
		b.Counts.Merge(files)
	}
	for _, r := range b.Rejects {
		kind := s.kind
		if k := record.Kind(r.Kind); slices.Contains(record.Kinds[:], k) {
			kind = k // a stream of webhooks has all kinds
		}
		b.Counts.Add("load/"+kind.Table()+"/"+Rejected, 1)
	}
	return s.Sink.Commit(ctx, b)
}
