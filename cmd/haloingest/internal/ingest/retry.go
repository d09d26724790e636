package ingest

import (
	"context"
	"iter"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// retryPage is how many rejects are read again at a time.
const retryPage = 20

// rejected is the source of a retry: the open rejects of one kind, each read anew from Intercom, since
// the object may have been mended there. An object without an id, or any while there is no token, is tried
// again as it was received.
type rejected struct {
	db     *postgres.DB
	client *intercom.Client // nil: no token
	org    record.UUID
	filter postgres.RejectFilter
	limit  int // requests at once
}

func (s *rejected) Name() string { return "rejects" }

// Pages ignores the cursor: what was loaded is no open reject any more.
func (s *rejected) Pages(ctx context.Context, _ pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		var batch []postgres.RejectedObject
		flush := func() bool {
			page, err := s.read(ctx, batch)
			batch = batch[:0]
			return yield(page, err) && err == nil
		}
		for x, err := range s.db.OpenRejectObjects(ctx, s.org, s.filter) {
			if err != nil {
				yield(pipeline.Page[record.Object]{}, err)
				return
			}
			if batch = append(batch, x); len(batch) == retryPage && !flush() {
				return
			}
		}
		if len(batch) > 0 {
			flush()
		}
	}
}

// read fetches a page of objects. One that cannot be read stays rejected, with what was received before.
func (s *rejected) read(ctx context.Context, batch []postgres.RejectedObject) (pipeline.Page[record.Object], error) {
	objects := make([]record.Object, len(batch))
	failed := make([]error, len(batch))
	err := pipeline.ForEach(ctx, len(batch), s.limit, func(ctx context.Context, i int) error {
		objects[i] = batch[i].Object
		if s.client == nil || objects[i].ID == "" {
			return nil
		}
		o, err := s.client.Fetch(ctx, objects[i].Kind, objects[i].ID)
		if class, ok := intercom.ClassOf(err); ok && class != intercom.ClassStop && class != intercom.ClassScope {
			failed[i] = err
			return nil
		}
		if err == nil {
			objects[i] = o
		}
		return err
	})
	if err != nil {
		return pipeline.Page[record.Object]{}, err
	}
	page := pipeline.Page[record.Object]{}
	for i, o := range objects {
		if failed[i] != nil {
			r := batch[i].Reject
			page.Rejects = append(page.Rejects, pipeline.Reject{
				Stage: r.Stage, Kind: r.Kind, ID: r.SourceID, Field: r.Field, Reason: failed[i].Error(), Payload: batch[i].Object.Body,
			})
			continue
		}
		page.Items = append(page.Items, o)
	}
	return page, nil
}
