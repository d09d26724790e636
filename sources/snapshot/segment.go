package snapshot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// Segment is what one transaction committed: the files of one layer with one number within a stream.
type Segment struct {
	Run    *Run
	Stream string
	Seq    int64
	Files  []*file.FileInfo // of the run; not to be changed
}

// Rows is how many rows the segment has in the named table.
func (s *Segment) Rows(table string) (n int64) {
	for _, f := range s.Files {
		if f.Table == table {
			n += f.Rows
		}
	}
	return n
}

// Stream is the segments of one stream of a run in the order in which they were committed.
type Stream struct {
	Name     string
	Kind     record.Kind // of its objects, as far as the name tells; "" if it does not
	Segments []Segment
}

// Streams returns the streams of a layer in the order in which a run reads them: what is referred to before what refers to it, and word of
// deletions after the objects. Within a run that order is the only one that gives the same rows again.
func (r *Run) Streams(layer string) []Stream {
	return r.streams(func(f *file.FileInfo) bool { return f.Layer == layer })
}

func (r *Run) streams(of func(*file.FileInfo) bool) []Stream {
	var list []*Stream
	byName := make(map[string]*Stream)
	for i := range r.Files {
		f := &r.Files[i]
		if !of(f) {
			continue
		}
		s := byName[f.Stream]
		if s == nil {
			s = &Stream{Name: f.Stream, Kind: kindOfStream(f.Stream)}
			byName[f.Stream] = s
			list = append(list, s)
		}
		s.Segments = append(s.Segments, Segment{Run: r, Stream: f.Stream, Seq: f.Seq, Files: []*file.FileInfo{f}})
	}
	slices.SortStableFunc(list, func(a, b *Stream) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Name, b.Name)) })
	out := make([]Stream, len(list))
	for i, s := range list {
		slices.SortStableFunc(s.Segments, func(a, b Segment) int { return cmp.Compare(a.Seq, b.Seq) })
		joined := s.Segments[:0]
		for _, g := range s.Segments {
			if n := len(joined); n > 0 && joined[n-1].Seq == g.Seq {
				joined[n-1].Files = append(joined[n-1].Files, g.Files...)
				continue
			}
			joined = append(joined, g)
		}
		s.Segments = joined
		out[i] = *s
	}
	return out
}

func kindOfStream(name string) record.Kind {
	for _, kind := range record.Kinds {
		if name == kind.Stream() || strings.HasSuffix(name, "-"+kind.Stream()) {
			return kind
		}
	}
	return ""
}

// rank orders streams: the kinds in the order of a backfill, then what is deleted, then what a walk missed, then anything else.
func rank(s *Stream) int {
	kind := slices.Index(record.Kinds[:], s.Kind)
	if kind < 0 {
		kind = len(record.Kinds)
	}
	group := 3
	switch prefix, _, _ := strings.Cut(s.Name, "-"); {
	case s.Kind != "" && s.Name == s.Kind.Stream():
		group = 0
	case prefix == "deleted":
		group = 1
	case prefix == "missing":
		group = 2
	}
	return group*(len(record.Kinds)+1) + kind
}

// Changes is what a segment of rows/ holds. Nothing of it is shared with another segment.
type Changes struct {
	Items   []record.Change // in the order in which the sink was given them, as far as it matters to the sink
	Rejects []pipeline.Reject
}

// Reader reads segments one after the other and keeps its buffers between them. Not safe for concurrent use.
type Reader struct {
	s      *Snapshot
	cursor reader
	data   []byte
}

// NewReader returns a reader of the snapshot's segments.
func (s *Snapshot) NewReader() *Reader { return &Reader{s: s} }

// maxKept bounds the buffer for files that is kept from segment to segment.
const maxKept = 8 << 20

// fetch reads a file whole and checks that it is the one that was written. The bytes are good until the next call.
func (r *Reader) fetch(ctx context.Context, info *file.FileInfo) ([]byte, error) {
	if cap(r.data) > maxKept {
		r.data = nil
	}
	data, err := readAll(ctx, r.s.store, info.Path, info.Bytes, r.data)
	if err != nil {
		return nil, err
	}
	r.data = data
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != info.SHA256 {
		return nil, corrupt(info.Path, "is not the file that was written: its SHA-256 is %x and should be %s", sum, info.SHA256)
	}
	return r.s.plain(info, data)
}

// ErrSealed is wrapped when a snapshot is encrypted and there is nothing to open it with.
var ErrSealed = errors.New("the snapshot is encrypted")

// plain decrypts a file that is encrypted.
func (s *Snapshot) plain(info *file.FileInfo, data []byte) ([]byte, error) {
	if len(info.Key) == 0 {
		return data, nil
	}
	if s.unseal == nil {
		return nil, fmt.Errorf("read %s: %w", info.Path, ErrSealed)
	}
	key, err := s.unseal(info.Path, info.Key)
	if err != nil {
		return nil, err
	}
	if data, err = file.Decrypt(data, key, info.Path); err != nil {
		return nil, &CorruptError{File: info.Path, What: "cannot be decrypted", Err: err}
	}
	return data, nil
}

// table reads all rows of one file.
func table[T any](ctx context.Context, r *Reader, info *file.FileInfo, l *layout[T], a *arena) ([]T, error) {
	data, err := r.fetch(ctx, info)
	if err != nil {
		return nil, err
	}
	var rows []T
	err = contained(info.Path, func() error {
		f, err := r.cursor.open(info.Path, data, l.schema)
		if err != nil {
			return err
		}
		if f.NumRows() != info.Rows {
			return corrupt(info.Path, "has %d rows and should have %d", f.NumRows(), info.Rows)
		}
		rows = make([]T, info.Rows)
		return read(&r.cursor, info.Path, f, l, rows, a)
	})
	return rows, err
}

// Changes reads a segment of rows/.
func (r *Reader) Changes(ctx context.Context, seg Segment) (Changes, error) {
	c := &collector{r: r, seg: seg}
	for _, info := range seg.Files {
		if err := c.add(ctx, info); err != nil {
			return Changes{}, err
		}
	}
	return c.done()
}

// Objects reads a segment of pages/.
func (r *Reader) Objects(ctx context.Context, seg Segment) ([]record.Object, error) {
	var list []record.Object
	for _, info := range seg.Files {
		rows, err := table(ctx, r, info, &pageRows, new(arena))
		if err != nil {
			return nil, err
		}
		list = slices.Grow(list, len(rows))
		for i := range rows {
			p := &rows[i]
			list = append(list, record.Object{
				Kind: record.Kind(p.Kind), ID: p.SourceID, Body: p.Body, FetchedAt: p.FetchedAt, Request: p.Request, APIVersion: p.APIVersion,
				Gone: record.Gone(p.Gone), GoneAt: p.GoneAt, MergedInto: p.MergedInto,
			})
		}
	}
	return list, nil
}

// Refused reads the rejects of a segment alone.
func (r *Reader) Refused(ctx context.Context, seg Segment) ([]pipeline.Reject, error) {
	seg.Files = slices.DeleteFunc(slices.Clone(seg.Files), func(f *file.FileInfo) bool { return !isRejects(f) })
	c, err := r.Changes(ctx, seg)
	return c.Rejects, err
}

// Check hashes the files of a layer of all runs, so that it is known before anything is loaded that they are those that were written. It reads them all, and
// decodes nothing.
func (s *Snapshot) Check(ctx context.Context, layer string, workers int) error {
	var files []*file.FileInfo
	for _, run := range s.Runs {
		for i := range run.Files {
			if run.Files[i].Layer == layer {
				files = append(files, &run.Files[i])
			}
		}
	}
	return pipeline.ForEach(ctx, len(files), workers, func(ctx context.Context, i int) error { return s.hash(ctx, files[i]) })
}

func (s *Snapshot) hash(ctx context.Context, info *file.FileInfo) (err error) {
	f, err := s.store.Open(ctx, info.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(info.Path, "is missing")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, f.Size())); err != nil {
		return &file.StoreError{Op: "read", Location: s.Location(), Path: info.Path, Err: err}
	}
	if sum := h.Sum(nil); hex.EncodeToString(sum) != info.SHA256 {
		return corrupt(info.Path, "is not the file that was written: its SHA-256 is %x and should be %s", sum, info.SHA256)
	}
	return nil
}
