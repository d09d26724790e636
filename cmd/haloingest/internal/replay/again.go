package replay

import (
	"context"

	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres"
	"haloingest/sources/snapshot"
)

// position orders what is loaded: by run, stream and segment.
type position struct {
	run, stream int
	seq         int64
}

func (p position) after(q position) bool {
	switch {
	case p.run != q.run:
		return p.run > q.run
	case p.stream != q.stream:
		return p.stream > q.stream
	}
	return p.seq > q.seq
}

type object struct {
	kind record.Kind
	id   string
}

// refusals are the objects that the snapshot has rejects of, with the place of their last one. There are few: a run that rejects more than one in a hundred
// is stopped.
type refusals map[object]position

func (r *Run) readRefusals(ctx context.Context) (refusals, error) {
	all := make(refusals)
	reader := r.runner.Snapshot.NewReader()
	for i, run := range r.runner.Snapshot.Runs {
		for j, stream := range r.streams(run) {
			for _, seg := range snapshot.Refused(stream.Segments, nil) {
				list, err := reader.Refused(ctx, seg)
				if err != nil {
					return nil, err
				}
				for _, x := range list {
					k := object{record.Kind(x.Kind), x.ID}
					at := position{i, j, seg.Seq}
					if old, ok := all[k]; !ok || at.after(old) {
						all[k] = at
					}
				}
			}
		}
	}
	return all, nil
}

// streams are those of a run of the snapshot, of the layer that is loaded.
func (r *Run) streams(run *snapshot.Run) []snapshot.Stream {
	if r.request.Remap {
		return run.ObjectStreams()
	}
	return run.Streams(parquet.LayerRows)
}

// again tells a sink about the segment that it loads. It is changed between the sink's batches.
type again struct {
	run      *Run
	at       position
	segments map[int64]snapshot.Segment // of the stream, with its pages
	reader   *snapshot.Reader
	objects  map[object]record.Object // of the segment, once asked for
}

func (a *again) options() *postgres.Again {
	return &postgres.Again{Rejected: a.rejected, Payload: a.payload}
}

func (a *again) rejected(kind record.Kind, id string) (among bool, order int) {
	last, among := a.run.refusals[object{kind, id}]
	switch {
	case !among, last == a.at:
		if a.run.request.Remap {
			return among, 1 // the state that was rejected may be good now
		}
		return among, 0
	case a.at.after(last):
		return true, 1
	}
	return true, -1
}

// payload reads the object from the pages of the segment, which the snapshot need not have any more.
func (a *again) payload(ctx context.Context, kind record.Kind, id string) ([]byte, error) {
	if a.objects == nil {
		a.objects = make(map[object]record.Object)
		seg, ok := a.segments[a.at.seq]
		if !ok {
			return nil, nil
		}
		list, err := a.reader.Objects(ctx, seg)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			a.objects[object{o.Kind, o.ID}] = o
		}
	}
	return a.objects[object{kind, id}].Body, nil
}
