package compare

import (
	"context"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
)

// walk is one stream of the workspace on its way through the stages of a backfill. Where a backfill has the
// loading sink, there is one that hands the batches to whoever compares them.
type walk struct {
	pipeline *pipeline.Pipeline
	batches  chan pipeline.Batch[record.Change]
	stop     context.CancelFunc
	ended    chan error
}

// handOver is the sink of a walk.
type handOver chan<- pipeline.Batch[record.Change]

func (handOver) Name() string { return "compare" }

// Commit hands the batch over.
func (h handOver) Commit(ctx context.Context, b pipeline.Batch[record.Change]) error {
	select {
	case h <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin builds the pipeline and runs it beside the caller, who takes its batches until there are no more and then
// asks end how it went. With a keeper, what is read is kept under the stream's name.
func (l *Live) begin(ctx context.Context, k *keeper, stream string, source pipeline.Source[record.Object],
	details pipeline.Stage[record.Object, record.Object],
) (*walk, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &walk{
		// What a comparison cannot map counts as rejected, however much of it there is.
		pipeline: pipeline.New(pipeline.Options{Buffer: -1, RejectLimit: pipeline.RejectLimit{Share: -1}}),
		batches:  make(chan pipeline.Batch[record.Change]),
		stop:     stop,
		ended:    make(chan error, 1),
	}
	objects := pipeline.From(w.pipeline, source, nil)
	if details != nil {
		objects = pipeline.Via(objects, details, 2)
	}
	if k != nil {
		objects = k.pages(objects)
	}
	changes, err := ingest.Stages(objects, *l.mapping)
	if err != nil {
		stop()
		return nil, err
	}
	if k != nil {
		changes = k.rows(changes, stream)
	}
	pipeline.Into(changes, handOver(w.batches))
	go func() {
		err := w.pipeline.Run(ctx, ctx)
		w.ended <- err
		close(w.batches)
	}()
	return w, nil
}

// end waits until nothing of the walk runs any more and returns how it went; nil if the caller gave it up.
func (w *walk) end(gaveUp bool) error {
	w.stop()
	for range w.batches {
	}
	if err := <-w.ended; !gaveUp {
		return err
	}
	return nil
}

// source returns the stream of a kind as a backfill reads it, and the stage that makes whole objects of its rows.
func (l *Live) source(ctx context.Context, kind record.Kind) (pipeline.Source[record.Object], pipeline.Stage[record.Object, record.Object], int64, error) {
	client := l.o.Client
	details := intercom.NewDetails(client, intercom.DetailOptions{Concurrency: l.o.Concurrency})
	if kind == record.KindCompany {
		return intercom.NewCompanies(client, intercom.CompanyOptions{}), nil, 0, nil
	}
	now, err := client.ServerTime(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	o := intercom.StreamOptions{Until: now}
	switch kind {
	case record.KindContact:
		return intercom.NewContacts(client, o), details, now.Unix(), nil
	case record.KindConversation:
		return intercom.NewConversations(client, o), details, now.Unix(), nil
	default:
		return intercom.NewTickets(client, o), details, now.Unix(), nil
	}
}
