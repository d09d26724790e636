package snapshot

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// Name is the segment's name, the same whenever the snapshot is read.
func (s *Segment) Name() string {
	return fmt.Sprintf("%s/%s/%06d", s.Run.Manifest.Run, s.Stream, s.Seq)
}

// What is added to the names of pages that hold a part of their segment.
const (
	withoutCut   = " without the cut" // conversations that Intercom cuts are left out
	cutAlone     = " the cut alone"
	rejectsAlone = " the rejects alone"
)

// Rows is a source of the changes of segments, a page for each, so that a segment is a transaction again. The cursor of a page is its name: the
// segment's, or that with an addition where a part of it was left for Later.
type Rows struct {
	s        *Snapshot
	segments []Segment
	next     *atomic.Int64 // shared by the sources of one list
	part     part
}

// part is what of a segment a source yields.
type part uint8

const (
	everything  part = iota
	allButCut        // no conversations that are cut, and no rejects
	onlyCut          // nothing but those conversations
	onlyRejects      // nothing but the rejects
)

// Rows returns the source of segments in their order.
func (s *Snapshot) Rows(segments []Segment) *Rows {
	return &Rows{s: s, segments: segments, next: new(atomic.Int64)}
}

// Lanes returns n sources, of which each takes the next segment when it has room for it, so that several sinks can load them at once. In
// whatever order they are committed, the rows are the same in the end, but for two things. Of a conversation that Intercom cuts to its newest parts (complete is
// false), an older state that comes after a newer one is not joined with it: so lanes leave such conversations out, and Later reads them in order when
// all lanes have ended. And a reject that comes after the state that mended it stays open: so lanes leave rejects out, and Rejects reads them before.
func (s *Snapshot) Lanes(segments []Segment, n int) []*Rows {
	next, list := new(atomic.Int64), make([]*Rows, n)
	for i := range list {
		list[i] = &Rows{s: s, segments: segments, next: next, part: allButCut}
	}
	return list
}

// Later returns the source of what lanes have left out of the segments.
func (s *Snapshot) Later(segments []Segment) *Rows {
	return &Rows{s: s, segments: segments, next: new(atomic.Int64), part: onlyCut}
}

// Rejects returns the source of the rejects of segments.
func (s *Snapshot) Rejects(segments []Segment) *Rows {
	return &Rows{s: s, segments: segments, next: new(atomic.Int64), part: onlyRejects}
}

// Refused takes out of segments those that have no rejects, or whose rejects are complete.
func Refused(segments []Segment, done map[string]bool) (left []Segment) {
	for _, seg := range segments {
		if seg.Rows(file.TableRejects) > 0 && !done[seg.Name()+rejectsAlone] {
			left = append(left, seg)
		}
	}
	return left
}

// Left takes out of segments those that are complete by the names of their pages (done), for lanes and in order alike, and names those of
// which something is left for Later.
func Left(segments []Segment, done map[string]bool) (left, later []Segment) {
	for _, seg := range segments {
		name := seg.Name()
		cut := done[name+withoutCut]
		switch {
		case cut && !done[name+cutAlone]:
			later = append(later, seg)
		case !cut && !done[name]:
			left = append(left, seg)
		}
	}
	return left, later
}

// SeqOf is the number of the segment that a page's name is of.
func SeqOf(page string) (int64, error) {
	name, _, _ := strings.Cut(page, " ")
	number := name[strings.LastIndex(name, "/")+1:]
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("page %q: that is no name of a segment's page", page)
	}
	return seq, nil
}

// IsPart reports whether the page of that name has left something for Later.
func IsPart(page string) bool { return strings.HasSuffix(page, withoutCut) }

// Name is the source's name in metrics.
func (r *Rows) Name() string { return "snapshot" }

// Pages yields the segments, from the one behind the cursor on where there is one.
func (r *Rows) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Change], error] {
	return func(yield func(pipeline.Page[record.Change], error) bool) {
		r.next.Add(int64(behind(r.segments, from)))
		reader := r.s.NewReader()
		for ctx.Err() == nil {
			i := int(r.next.Add(1)) - 1
			if i >= len(r.segments) {
				return
			}
			c, err := reader.Changes(ctx, r.of(r.segments[i]))
			if err != nil {
				yield(pipeline.Page[record.Change]{}, err)
				return
			}
			name := r.segments[i].Name() + r.leave(&c)
			if !yield(pipeline.Page[record.Change]{Items: c.Items, Rejects: c.Rejects, Cursor: pipeline.Cursor(name)}, nil) {
				return
			}
		}
	}
}

// behind is how many segments come up to and with the one that the cursor names.
func behind(segments []Segment, from pipeline.Cursor) int {
	for i := range segments {
		if strings.HasPrefix(string(from)+" ", segments[i].Name()+" ") {
			return i + 1
		}
	}
	return 0
}

// of is the segment with those of its files that are needed.
func (r *Rows) of(seg Segment) Segment {
	switch r.part {
	case allButCut:
		seg.Files = slices.DeleteFunc(slices.Clone(seg.Files), isRejects)
	case onlyRejects:
		seg.Files = slices.DeleteFunc(slices.Clone(seg.Files), func(f *file.FileInfo) bool { return !isRejects(f) })
	}
	return seg
}

func isRejects(f *file.FileInfo) bool {
	return f.Layer == file.LayerRows && f.Table == file.TableRejects
}

// leave takes out what the source is not to yield, and returns what is to be added to the page's name.
func (r *Rows) leave(c *Changes) string {
	isCut := func(x record.Change) bool { return x.Transcript != nil && !x.Transcript.Complete }
	switch r.part {
	case allButCut:
		n := len(c.Items)
		if c.Items = slices.DeleteFunc(c.Items, isCut); len(c.Items) < n {
			return withoutCut
		}
	case onlyCut:
		c.Items, c.Rejects = slices.DeleteFunc(c.Items, func(x record.Change) bool { return !isCut(x) }), nil
		return cutAlone
	case onlyRejects:
		return rejectsAlone
	}
	return ""
}

// Objects is a source of the objects of segments of pages/ as Intercom sent them, a page for each, for the stages to run again. The cursor of a
// page is the segment's name.
type Objects struct {
	s        *Snapshot
	segments []Segment
	remade   []string
}

// Objects returns the source of segments in their order; see ObjectSegments. Rejects of the stages that remade names are left out, since they are made again; those
// of the source and the sink come with their segment.
func (s *Snapshot) Objects(segments []Segment, remade ...string) *Objects {
	return &Objects{s: s, segments: segments, remade: remade}
}

// ObjectStreams returns the streams of pages/, with the rejects of rows/ in the segments that they were committed with.
func (r *Run) ObjectStreams() []Stream {
	return r.streams(func(f *file.FileInfo) bool { return f.Layer == file.LayerPages || f.Table == file.TableRejects })
}

// Name is the source's name in metrics.
func (o *Objects) Name() string { return "snapshot" }

// Pages yields the segments, from the one behind the cursor on where there is one.
func (o *Objects) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		reader := o.s.NewReader()
		for _, seg := range o.segments[behind(o.segments, from):] {
			if ctx.Err() != nil {
				return
			}
			page, err := o.page(ctx, reader, seg)
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

func (o *Objects) page(ctx context.Context, reader *Reader, seg Segment) (page pipeline.Page[record.Object], err error) {
	objects, refused := seg, seg
	objects.Files = slices.DeleteFunc(slices.Clone(seg.Files), func(f *file.FileInfo) bool { return f.Layer != file.LayerPages })
	refused.Files = slices.DeleteFunc(slices.Clone(seg.Files), func(f *file.FileInfo) bool { return f.Layer == file.LayerPages })
	if page.Items, err = reader.Objects(ctx, objects); err != nil {
		return page, err
	}
	c, err := reader.Changes(ctx, refused)
	if err != nil {
		return page, err
	}
	page.Rejects = slices.DeleteFunc(c.Rejects, func(x pipeline.Reject) bool { return slices.Contains(o.remade, x.Stage) })
	page.Cursor = pipeline.Cursor(seg.Name())
	return page, nil
}

var (
	_ pipeline.Source[record.Change] = (*Rows)(nil)
	_ pipeline.Source[record.Object] = (*Objects)(nil)
)
