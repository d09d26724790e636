package parquet

import (
	"context"
	"slices"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// held are the objects of a batch on their way to the segment that they become a part of. They travel as the Meta of a pipeline.File, so
// that a Rebatch joins them with the changes that were made of them: the stages work on small batches, and only what is about to be
// written is as large as a segment.
type held []record.Object

// Hold is the tap behind the source: it keeps the objects of each batch with it, as they came. Nothing is written.
type Hold struct{}

// Name is the tap's name in metrics.
func (Hold) Name() string { return "hold-pages" }

// Write keeps the objects. Bodies that lie in much larger buffers are moved to buffers of their size, in the batch, too: they are in
// memory for longer than anything else.
func (Hold) Write(_ context.Context, b pipeline.Batch[record.Object]) ([]pipeline.File, error) {
	if len(b.Items) == 0 {
		return nil, nil
	}
	for i := range b.Items {
		if body := &b.Items[i].Body; cap(*body) > len(*body)+len(*body)/8 {
			*body = append(make([]byte, 0, len(*body)), *body...)
		}
	}
	return []pipeline.File{{Meta: held(slices.Clone(b.Items))}}, nil
}

// Segments is the tap in front of the sink: it writes the objects that Hold has kept with a batch as pages, and its changes and rejects as rows.
// What it is given has the size of a transaction. What follows must be given to Written.
type Segments struct {
	pages *Pages
	rows  *Rows
}

// NewSegments returns the tap of a stream; see NewPages.
func NewSegments(to Target, stream string, base uint64) *Segments {
	s := &Segments{pages: NewPages(to, stream, base), rows: NewRows(to, stream, base)}
	s.pages.codec = s.rows.rejects.codec // they are written one after the other
	return s
}

// Name is the tap's name in metrics.
func (s *Segments) Name() string { return "keep" }

// Write makes pages and rows durable. An error of the store is a *StoreError.
func (s *Segments) Write(ctx context.Context, b pipeline.Batch[record.Change]) ([]pipeline.File, error) {
	objects := pipeline.Batch[record.Object]{Seq: b.Seq}
	for _, f := range b.Files {
		if h, ok := f.Meta.(held); ok {
			objects.Items = append(objects.Items, h...)
		}
	}
	files, err := s.pages.Write(ctx, objects)
	if err != nil {
		return nil, err
	}
	rows, err := s.rows.Write(ctx, b)
	if err != nil {
		return nil, err
	}
	return append(files, rows...), nil
}

// Written returns the files of a batch that was written, without what was only held.
func Written(files []pipeline.File) []pipeline.File {
	return slices.DeleteFunc(slices.Clone(files), func(f pipeline.File) bool {
		_, ok := f.Meta.(held)
		return ok
	})
}
