package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres"
	"haloingest/sources/snapshot"
)

// load loads run by run, and in a run stream by stream, in the order in which they were read: identity depends on the order of contacts, and of the
// states of an object the order of runs decides where their versions do not. Only conversations and tickets of one stream are
// loaded several segments at once.
func (r *Run) load(ctx, read context.Context) error {
	var err error
	if r.refusals, err = r.readRefusals(ctx); err != nil {
		return err
	}
	for i, s := range r.runner.Snapshot.Runs {
		if !s.Complete {
			r.runner.Log.Warn("a run of the snapshot is not complete; what it has is loaded", "run", s.Manifest.Run, "kind", s.Kind, "started", s.StartedAt)
		}
		for j, stream := range r.streams(s) {
			if read.Err() != nil {
				return pipeline.ErrStopped
			}
			r.progress.start(stream.Name)
			r.at = position{run: i, stream: j}
			r.pages = pagesOf(s, stream.Name)
			err := r.stream(ctx, read, s, stream)
			if err != nil {
				return fmt.Errorf("load %s of run %s: %w", stream.Name, s.Manifest.Run, err)
			}
		}
		r.runner.Log.Debug("loaded", "run", s.Manifest.Run, "kind", s.Kind)
	}
	for _, name := range slices.Sorted(maps.Keys(r.sinks)) {
		if err := r.run.CompleteStream(ctx, name); err != nil {
			return err
		}
	}
	r.progress.complete()
	return nil
}

// pagesOf are the segments of a stream's pages by number.
func pagesOf(s *snapshot.Run, stream string) map[int64]snapshot.Segment {
	list := make(map[int64]snapshot.Segment)
	for _, x := range s.Streams(parquet.LayerPages) {
		if x.Name == stream {
			for _, seg := range x.Segments {
				list[seg.Seq] = seg
			}
		}
	}
	return list
}

// lanes is how many segments are loaded at once where their order does not matter; more gain nothing (performance.md, item 7).
const lanes = 2

func (r *Run) stream(ctx, read context.Context, s *snapshot.Run, stream snapshot.Stream) error {
	if r.request.Remap {
		return r.remap(ctx, read, s, stream)
	}
	all := r.runner.Snapshot
	left, _ := snapshot.Left(stream.Segments, r.done)
	r.progress.skip(stream.Name, stream.Segments, left)
	if stream.Kind != record.KindConversation && stream.Kind != record.KindTicket {
		return r.flow(ctx, read, all.Rows(left), r.sink(stream.Name, 0))
	}
	if refused := snapshot.Refused(stream.Segments, r.done); len(refused) > 0 {
		if err := r.flow(ctx, read, all.Rejects(refused), r.sink(stream.Name, 0)); err != nil {
			return err
		}
	}
	lanes := max(1, min(lanes, len(left)))
	sources := all.Lanes(left, lanes)
	held := make([][]string, lanes)
	stopped := make([]bool, lanes)
	sinks := make([]*laneSink, lanes)
	for i := range sinks {
		sinks[i] = r.sink(stream.Name, i)
	}
	err := pipeline.ForEach(ctx, lanes, lanes, func(ctx context.Context, i int) error {
		sinks[i].part = func(name string) { held[i] = append(held[i], name) }
		err := r.flow(ctx, read, sources[i], sinks[i])
		if errors.Is(err, pipeline.ErrStopped) { // the other lane ends what it has begun, too
			stopped[i] = true
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case slices.Contains(stopped, true):
		return pipeline.ErrStopped
	}
	for _, name := range slices.Concat(held...) {
		r.done[name] = true
	}
	if _, later := snapshot.Left(stream.Segments, r.done); len(later) > 0 {
		return r.flow(ctx, read, all.Later(later), r.sink(stream.Name, 0))
	}
	return nil
}

// everyReject lets all rejects through: they have been counted when they were made.
var everyReject = pipeline.RejectLimit{Share: -1}

func (r *Run) flow(ctx, read context.Context, source pipeline.Source[record.Change], sink *laneSink) error {
	p := pipeline.New(pipeline.Options{Buffer: -1, RejectLimit: everyReject})
	pipeline.Into(pipeline.From(p, source, nil), sink)
	return p.Run(ctx, read)
}

// remap runs the stages again on the objects of a stream.
func (r *Run) remap(ctx, read context.Context, s *snapshot.Run, stream snapshot.Stream) error {
	left, _ := snapshot.Left(stream.Segments, r.done)
	r.progress.skip(stream.Name, stream.Segments, left)
	var reference record.Reference
	switch names, err := s.Reference(); {
	case err != nil:
		return err
	case names != nil:
		reference = *names
	}
	p := pipeline.New(pipeline.Options{Buffer: -1, RejectLimit: everyReject})
	objects := pipeline.From(p, r.runner.Snapshot.Objects(left, ingest.Remade...), nil)
	changes, err := ingest.Stages(objects, ingest.Mapping{
		Org: r.runner.Snapshot.Org, UserIDField: r.mapping(parquet.MappingUserIDField), CompanyIDField: r.mapping(parquet.MappingCompanyIDField),
		Reference: reference, Rules: r.rules, Distiller: r.runner.Distiller, Log: r.runner.Log,
	})
	if err != nil {
		return err
	}
	pipeline.Into(changes, r.sink(stream.Name, 0))
	return p.Run(ctx, read)
}

// laneSink commits each batch as the segment that its cursor names.
type laneSink struct {
	*postgres.Sink
	again    *again
	progress *progress
	stream   string
	part     func(name string) // told of pages that have left something for later; nil: there are none
}

// sink returns a sink for a stream. The first has the name of the stream, so that rejects name the stream that they were of. Its connection is kept until
// the run ends.
func (r *Run) sink(stream string, lane int) *laneSink {
	name := stream
	if lane > 0 {
		name = fmt.Sprintf("%s (%d)", stream, lane+1)
	}
	s := r.sinks[name]
	if s == nil {
		a := &again{run: r, reader: r.runner.Snapshot.NewReader()}
		s = &laneSink{Sink: r.run.Sink(name, postgres.SinkOptions{Again: a.options()}), again: a, progress: r.progress, stream: stream}
		r.sinks[name] = s
	}
	s.again.at, s.again.segments, s.part = r.at, r.pages, nil
	return s
}

// Commit loads the batch unless it is there. The objects that were rejected before count as rejected, as in the run that read them.
func (s *laneSink) Commit(ctx context.Context, b pipeline.Batch[record.Change]) error {
	if len(b.Rejects) > 0 {
		b.Counts = maps.Clone(b.Counts) // the batch is the pipeline's
		for _, x := range b.Rejects {
			b.Counts.Add("load/"+record.Kind(x.Kind).Table()+"/"+ingest.Rejected, 1)
		}
	}
	name := string(b.Cursor)
	var err error
	if s.again.at.seq, err = snapshot.SeqOf(name); err != nil {
		return err
	}
	s.again.objects = nil
	if _, err := s.CommitSegment(ctx, name, b); err != nil {
		return err
	}
	s.progress.add(s.stream, int64(len(b.Items)+len(b.Rejects)))
	if s.part != nil && snapshot.IsPart(name) {
		s.part(name)
	}
	return nil
}
