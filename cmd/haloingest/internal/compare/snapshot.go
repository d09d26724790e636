package compare

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

// Snapshot is the rows of a snapshot as a side of a diff: all its runs together, of each object the newest state. It does
// not move. Close it.
//
// Every file is read whole and is what its SHA-256 says. At diff.LevelFull the hashes are made anew from the values,
// below that the stored ones count. The knowledge of conversations is kept aside when they are read.
type Snapshot struct {
	name      string
	s         *snapshot.Snapshot
	dir       string
	reader    *snapshot.Reader
	encoder   record.Encoder
	segments  []snapshot.Segment
	knowledge *spill
	bytes     int64
	index     index
}

// index says in which segments the objects of one kind are. 16 bytes an object and state.
type index struct {
	kind record.Kind
	seed maphash.Seed
	at   []place
}

type place struct {
	id      uint64 // hashed
	segment int32
}

// NewSnapshot returns the side. dir is for a temporary file; "" is the system's.
func NewSnapshot(name string, s *snapshot.Snapshot, dir string) *Snapshot {
	out := &Snapshot{name: name, s: s, dir: dir, reader: s.NewReader()}
	for _, run := range s.Runs {
		for _, stream := range run.Streams(parquet.LayerRows) {
			out.segments = append(out.segments, stream.Segments...)
		}
	}
	return out
}

// Close removes the temporary file.
func (s *Snapshot) Close() error {
	if s.knowledge == nil {
		return nil
	}
	err := s.knowledge.close()
	s.knowledge = nil
	return err
}

// Name is what the user called it.
func (s *Snapshot) Name() string { return s.name }

// Moves is false.
func (s *Snapshot) Moves() bool { return false }

// Requests is 0.
func (s *Snapshot) Requests() int64 { return 0 }

// BytesRead is the size of the files that were read.
func (s *Snapshot) BytesRead() int64 { return s.bytes }

// Notes says what of the snapshot is not a whole account of the workspace.
func (s *Snapshot) Notes() []string {
	var notes []string
	whole := false
	for _, r := range s.s.Runs {
		whole = whole || r.Complete && r.Since.IsZero() && !r.SyncedTo.IsZero()
		if !r.Complete {
			notes = append(notes, fmt.Sprintf("Run %s of %s is not complete: the snapshot has what was committed of it.", r.Manifest.Run, s.name))
		}
	}
	if !whole {
		notes = append(notes, fmt.Sprintf("No run of %s is a whole backfill: it lacks what no run of it has read.", s.name))
	}
	return notes
}

// holds reports whether a segment may have objects of the kind.
func holds(seg *snapshot.Segment, kind record.Kind) bool {
	return slices.ContainsFunc(seg.Files, func(f *parquet.FileInfo) bool {
		return f.Table == kind.Table() || f.Table == parquet.TableTombstones || f.Table == parquet.TableRejects
	})
}

// Fingerprints reads all segments that may have objects of the entity.
func (s *Snapshot) Fingerprints(ctx context.Context, entity string, level diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		kind, err := kindOf(entity)
		if err == nil && (entity != knowledge || s.knowledge == nil) {
			each := yield
			if entity == knowledge {
				each = func([]record.Fingerprint, error) bool { return true }
			}
			var more bool
			if more, err = s.walk(ctx, kind, level, each); err == nil && !more {
				return
			}
		}
		if err != nil {
			yield(nil, err)
			return
		}
		if entity != knowledge {
			return
		}
		for batch, err := range s.knowledge.all() {
			if !yield(batch, err) || err != nil {
				return
			}
		}
	}
}

// walk reads a kind; more is false if yield wants no more.
func (s *Snapshot) walk(ctx context.Context, kind record.Kind, level diff.Level, yield func([]record.Fingerprint, error) bool) (more bool, err error) {
	if kind == record.KindConversation {
		if err := s.Close(); err != nil {
			return true, err
		}
		if s.knowledge, err = newSpill(s.dir); err != nil {
			return true, err
		}
	}
	s.index = index{seed: maphash.MakeSeed()}
	for i := range s.segments {
		if !holds(&s.segments[i], kind) {
			continue
		}
		changes, err := s.read(ctx, i, level == diff.LevelFull)
		if err != nil {
			return true, err
		}
		var list []record.Fingerprint
		add := func(f record.Fingerprint) {
			list = append(list, f)
			s.index.at = append(s.index.at, place{maphash.String(s.index.seed, f.SourceID), int32(i)})
		}
		for j := range changes.Items {
			c := &changes.Items[j]
			if c.Kind != kind {
				continue
			}
			add(c.Fingerprint())
			if k, ok := c.KnowledgeFingerprint(); ok {
				if err := s.knowledge.add(k); err != nil {
					return true, err
				}
			}
		}
		for _, r := range changes.Rejects {
			if r.Kind == string(kind) && r.ID != "" {
				add(record.Fingerprint{SourceID: r.ID, Count: 1, State: record.FingerprintRejected})
			}
		}
		if len(list) > 0 && !yield(list, nil) {
			return false, nil
		}
	}
	slices.SortFunc(s.index.at, func(a, b place) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.segment, b.segment)) })
	s.index.kind = kind
	return true, nil
}

// read reads a segment. anew makes the hashes of its rows from their values.
func (s *Snapshot) read(ctx context.Context, i int, anew bool) (snapshot.Changes, error) {
	changes, err := s.reader.Changes(ctx, s.segments[i])
	if err != nil {
		return changes, err
	}
	for _, f := range s.segments[i].Files {
		s.bytes += f.Bytes
	}
	if !anew {
		return changes, nil
	}
	for j := range changes.Items {
		c := &changes.Items[j]
		switch {
		case c.EndUser != nil:
			c.EndUser.Seal(&s.encoder)
		case c.Company != nil:
			c.Company.Seal(&s.encoder)
		case c.Transcript != nil:
			c.Transcript.Seal(&s.encoder)
		case c.Ticket != nil:
			c.Ticket.Seal(&s.encoder)
		}
		for k := range c.Knowledge {
			c.Knowledge[k].Seal(&s.encoder)
		}
	}
	return changes, nil
}

// have makes the index of a kind, if there is another one.
func (s *Snapshot) have(ctx context.Context, kind record.Kind) error {
	if s.index.kind == kind {
		return nil
	}
	_, err := s.walk(ctx, kind, diff.LevelFast, func([]record.Fingerprint, error) bool { return true })
	return err
}

// Fetch reads the segments in which the objects are and returns of each its newest state.
func (s *Snapshot) Fetch(ctx context.Context, entity string, ids []string) ([]diff.Object, error) {
	kind, err := kindOf(entity)
	if err != nil {
		return nil, err
	}
	if err := s.have(ctx, kind); err != nil {
		return nil, err
	}
	changes, rejects, err := s.newest(ctx, kind, ids)
	if err != nil {
		return nil, err
	}
	var objects []diff.Object
	for _, id := range ids {
		c, ok := changes[id]
		o := diff.Object{SourceID: id}
		switch {
		case !ok && rejects[id] != "":
			o = refused(entity, id, record.FingerprintRejected, rejects[id])
		case !ok:
			continue
		case c.Gone != nil && c.Gone.Why == record.GoneMerged:
			o.State, o.Note = record.FingerprintExcluded, ruleMerged
		case c.Gone != nil:
			o.State = record.FingerprintGone
		case entity == knowledge && len(c.Knowledge) == 0:
			continue
		}
		if ok {
			o.Version, o.Change = c.Version, c
			if entity != knowledge {
				o.Change.Knowledge = nil
			} else {
				o.Change.Transcript = nil
			}
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// newest reads the newest state of each object, whole, and why those without one are rejected.
func (s *Snapshot) newest(ctx context.Context, kind record.Kind, ids []string) (map[string]record.Change, map[string]string, error) {
	wanted := make(map[string]bool, len(ids))
	segments := make(map[int32]bool)
	for _, id := range ids {
		wanted[id] = true
		h := maphash.String(s.index.seed, id)
		i, _ := slices.BinarySearchFunc(s.index.at, h, func(p place, h uint64) int { return cmp.Compare(p.id, h) })
		for ; i < len(s.index.at) && s.index.at[i].id == h; i++ {
			segments[s.index.at[i].segment] = true
		}
	}
	changes, rejects := make(map[string]record.Change), make(map[string]string)
	list := make([]int32, 0, len(segments))
	for i := range segments {
		list = append(list, i)
	}
	slices.Sort(list)
	for _, i := range list {
		read, err := s.read(ctx, int(i), true)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range read.Items {
			if c.Kind != kind || !wanted[c.SourceID] {
				continue
			}
			if old, ok := changes[c.SourceID]; !ok || c.Supersedes(&old) {
				changes[c.SourceID] = c
			}
		}
		for _, r := range read.Rejects {
			if r.Kind == string(kind) && wanted[r.ID] {
				rejects[r.ID] = reasonOf(r)
			}
		}
	}
	return changes, rejects, nil
}
