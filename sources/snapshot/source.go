package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// Position is what a cursor of a source of this package says: everything up to and with segment Seq has been yielded.
type Position struct {
	Seq int64
	// Held are the segments up to there of which something was left for later; see Lane.
	Held []int64
}

const cursorVersion = 1

var errCursor = errors.New("the cursor is none of a snapshot's source")

func (p Position) cursor() pipeline.Cursor {
	c := binary.AppendVarint(pipeline.Cursor{cursorVersion}, p.Seq)
	last := int64(0)
	for _, seq := range p.Held {
		c, last = binary.AppendUvarint(c, uint64(seq-last)), seq
	}
	return c
}

// ParsePosition reads a cursor; nil is the beginning, which is before every segment.
func ParsePosition(c pipeline.Cursor) (Position, error) {
	if len(c) == 0 {
		return Position{Seq: -1}, nil
	}
	if c[0] != cursorVersion {
		return Position{}, errCursor
	}
	seq, n := binary.Varint(c[1:])
	if n <= 0 {
		return Position{}, errCursor
	}
	p, rest, last := Position{Seq: seq}, c[1+n:], int64(0)
	for len(rest) > 0 {
		step, n := binary.Uvarint(rest)
		if n <= 0 {
			return Position{}, errCursor
		}
		last += int64(step)
		p.Held, rest = append(p.Held, last), rest[n:]
	}
	return p, nil
}

// Rows is a source of the changes of a stream, a page per segment, so that a segment is a transaction again. Segments that are read at once by
// several sources (Lane) may be committed in any order, and end with the same rows, but for one thing: of a conversation that Intercom cuts,
// an older state that came after a newer one would not be joined with it. Such conversations (complete = false) are left out by lanes
// and named in their cursors, and Later reads them, in order, when all lanes have ended.
type Rows struct {
	s        *Snapshot
	segments []Segment
	part     part
}

// part is what of a segment a source yields.
type part uint8

const (
	everything part = iota
	allButCut       // no conversations that are cut
	onlyCut         // nothing but them
)

// Rows returns the source of a whole stream.
func (s *Snapshot) Rows(stream Stream) *Rows { return &Rows{s: s, segments: stream.Segments} }

// Lane returns the source of every lanes-th segment of a stream, from segment number lane on.
func (s *Snapshot) Lane(stream Stream, lane, lanes int) *Rows {
	r := &Rows{s: s, part: allButCut}
	for i := lane; i < len(stream.Segments); i += lanes {
		r.segments = append(r.segments, stream.Segments[i])
	}
	return r
}

// Later returns the source of what lanes have left out of the segments that they held.
func (s *Snapshot) Later(stream Stream, held []int64) *Rows {
	r := &Rows{s: s, part: onlyCut}
	for _, seg := range stream.Segments {
		if slices.Contains(held, seg.Seq) {
			r.segments = append(r.segments, seg)
		}
	}
	return r
}

// Name is the source's name in metrics.
func (r *Rows) Name() string { return "snapshot" }

// Segments are what the source reads.
func (r *Rows) Segments() []Segment { return r.segments }

// Pages yields the segments behind the cursor.
func (r *Rows) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Change], error] {
	return func(yield func(pipeline.Page[record.Change], error) bool) {
		at, err := ParsePosition(from)
		if err != nil {
			yield(pipeline.Page[record.Change]{}, err)
			return
		}
		reader := r.s.NewReader()
		for _, seg := range r.segments {
			if seg.Seq <= at.Seq {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			c, err := reader.Changes(ctx, seg)
			if err != nil {
				yield(pipeline.Page[record.Change]{}, err)
				return
			}
			if r.leave(&c) {
				at.Held = append(slices.Clone(at.Held), seg.Seq)
			}
			at.Seq = seg.Seq
			if !yield(pipeline.Page[record.Change]{Items: c.Items, Rejects: c.Rejects, Cursor: at.cursor()}, nil) {
				return
			}
		}
	}
}

// leave takes out what the source is not to yield, and reports whether that is to be read later.
func (r *Rows) leave(c *Changes) bool {
	isCut := func(x record.Change) bool { return x.Transcript != nil && !x.Transcript.Complete }
	switch r.part {
	case allButCut:
		n := len(c.Items)
		c.Items = slices.DeleteFunc(c.Items, isCut)
		return len(c.Items) < n
	case onlyCut:
		c.Items, c.Rejects = slices.DeleteFunc(c.Items, func(x record.Change) bool { return !isCut(x) }), nil
	}
	return false
}

// Objects is a source of the objects of a stream as Intercom sent them, a page per segment, for the stages to run again. Rejects of the
// stages that are not run again, because they were of the source or the sink, come with their segment; remade says which stages are.
type Objects struct {
	s        *Snapshot
	segments []Segment
	rejects  []Segment
	remade   []string
}

// Objects returns the source of a stream of run, by name.
func (s *Snapshot) Objects(run *Run, stream string, remade ...string) *Objects {
	o := &Objects{s: s, remade: remade}
	for _, x := range run.Streams(file.LayerPages) {
		if x.Name == stream {
			o.segments = x.Segments
		}
	}
	for _, x := range run.Streams(file.LayerRows) {
		if x.Name != stream {
			continue
		}
		for _, seg := range x.Segments {
			if seg.Files = only(seg.Files, file.TableRejects); len(seg.Files) > 0 {
				o.rejects = append(o.rejects, seg)
			}
		}
	}
	return o
}

func only(files []*file.FileInfo, table string) []*file.FileInfo {
	return slices.DeleteFunc(slices.Clone(files), func(f *file.FileInfo) bool { return f.Table != table })
}

// Name is the source's name in metrics.
func (o *Objects) Name() string { return "snapshot" }

// Pages yields the segments behind the cursor.
func (o *Objects) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		at, err := ParsePosition(from)
		if err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		reader := o.s.NewReader()
		pages, rejects := o.segments, o.rejects
		for len(pages) > 0 || len(rejects) > 0 {
			var page pipeline.Page[record.Object]
			seq := int64(-1)
			for _, list := range [][]Segment{pages, rejects} {
				if len(list) > 0 && (seq < 0 || list[0].Seq < seq) {
					seq = list[0].Seq
				}
			}
			var objects, refused Segment
			if len(pages) > 0 && pages[0].Seq == seq {
				objects, pages = pages[0], pages[1:]
			}
			if len(rejects) > 0 && rejects[0].Seq == seq {
				refused, rejects = rejects[0], rejects[1:]
			}
			if seq <= at.Seq {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			if page.Items, err = reader.Objects(ctx, objects); err == nil {
				page.Rejects, err = o.refused(ctx, reader, refused)
			}
			if err != nil {
				yield(pipeline.Page[record.Object]{}, err)
				return
			}
			page.Cursor = Position{Seq: seq}.cursor()
			if !yield(page, nil) {
				return
			}
		}
	}
}

func (o *Objects) refused(ctx context.Context, reader *Reader, seg Segment) ([]pipeline.Reject, error) {
	if len(seg.Files) == 0 {
		return nil, nil
	}
	c, err := reader.Changes(ctx, seg)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(c.Rejects, func(x pipeline.Reject) bool { return slices.Contains(o.remade, x.Stage) }), nil
}

var (
	_ pipeline.Source[record.Change] = (*Rows)(nil)
	_ pipeline.Source[record.Object] = (*Objects)(nil)
)
