package parquet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Keys of a file's own metadata, which say of a file that was renamed or copied what it is part of.
const (
	MetaOrg    = "haloingest.org"
	MetaRun    = "haloingest.run"
	MetaLayer  = "haloingest.layer"
	MetaTable  = "haloingest.table"
	MetaStream = "haloingest.stream"
	MetaSeq    = "haloingest.seq"
	MetaSchema = "haloingest.schema" // SchemaVersion
	MetaDigest = "haloingest.digest" // record.DigestVersion
)

// Target says which run's snapshot is written, and where.
type Target struct {
	Store    Store
	Org, Run record.UUID
	Attempt  int      // of the run, from 1
	Seal     SealFunc // nil: files are not encrypted
}

const digestVersion = record.DigestVersion

// pageBuffer is how much of a column is one page: fewer, larger pages compress better.
const pageBuffer = 5 << 18

// table collects the rows of one table of a segment and writes them as a file. It is reused from segment to segment.
type table[T any] struct {
	layer, name string
	large       []string // columns whose least and greatest value nobody looks for
	rows        []T
	prints      Fingerprints
	first, last string
	codec       *codec
	writer      *parquet.GenericWriter[T]
	hash        hash.Hash
}

// newTable makes a table. Those that are written one after the other may share a codec.
func newTable[T any](layer, name string, c *codec, large ...string) *table[T] {
	return &table[T]{layer: layer, name: name, large: large, codec: c, hash: sha256.New()}
}

// add makes room for one row and returns it, zero, to be filled in.
func (t *table[T]) add(sourceID string) *T {
	if len(t.rows) == 0 {
		t.first, t.last = sourceID, sourceID
	}
	t.first, t.last = min(t.first, sourceID), max(t.last, sourceID)
	var zero T
	t.rows = append(t.rows, zero)
	return &t.rows[len(t.rows)-1]
}

// hashed adds a row of a table of objects to the fingerprints.
func (t *table[T]) hashed(h *Head) { t.prints.AddBytes(h.SourceID, h.FetchedAt, h.ContentHash[:]) }

// forget drops the rows, so that what they refer to can be freed.
func (t *table[T]) forget() {
	clear(t.rows)
	t.rows = t.rows[:0]
	t.prints.reset()
}

// flush writes the rows, if there are any, as the file of a segment and appends it to files.
func (t *table[T]) flush(ctx context.Context, to Target, stream string, seq int64, files []pipeline.File) ([]pipeline.File, error) {
	if len(t.rows) == 0 {
		return files, nil
	}
	name := Name{Layer: t.layer, Org: to.Org, Run: to.Run, Table: t.name, Stream: stream, Seq: seq, Attempt: to.Attempt, Encrypted: to.Seal != nil}
	info := FileInfo{
		Path: name.Path(), Layer: t.layer, Stream: stream, Table: t.name, Seq: seq,
		Rows: int64(len(t.rows)), First: t.first, Last: t.last, Buckets: t.prints.Texts(),
	}
	var key []byte
	if to.Seal != nil {
		var err error
		if key, err = newKey(); err != nil {
			return files, err
		}
		if info.Key, err = to.Seal(info.Path, key); err != nil {
			return files, err
		}
	}
	err := to.Store.Put(ctx, info.Path, func(w io.Writer) error {
		t.hash.Reset()
		out := &measured{w: w, hash: t.hash}
		if err := t.write(out, name, key); err != nil {
			return err
		}
		info.Bytes, info.SHA256 = out.n, hex.EncodeToString(t.hash.Sum(nil))
		return nil
	})
	if err != nil {
		return files, err
	}
	return append(files, pipeline.File{Path: info.Path, Meta: info}), nil
}

// write writes the file, encrypted if there is a key.
func (t *table[T]) write(w io.Writer, n Name, key []byte) error {
	if key == nil {
		return t.encode(w, n)
	}
	sealed, err := Encrypt(w, key, n.Path())
	if err != nil {
		return err
	}
	if err := t.encode(sealed, n); err != nil {
		return err
	}
	return sealed.Close()
}

// encode writes the file with the writer of the last one, which has its buffers already.
func (t *table[T]) encode(w io.Writer, n Name) error {
	if t.writer == nil {
		t.writer = newWriter[T](w, t.codec, t.large)
	} else {
		t.writer.Reset(w)
	}
	for _, pair := range n.metadata() {
		t.writer.SetKeyValueMetadata(pair[0], pair[1])
	}
	var err error
	// One at a time: of several rows parquet-go v0.32 writes some absent values as present, zero ones (it takes n values behind n absent ones
	// for the rest of 64).
	for i := range t.rows {
		if _, err = t.writer.Write(t.rows[i : i+1]); err != nil {
			break
		}
	}
	if err == nil {
		err = t.writer.Close()
	}
	if err != nil {
		t.writer = nil // half of a file is in it
		return err
	}
	// Reset clears the footer of the last file, and with it the columns' names, which the writer shares with it and needs again.
	for _, group := range t.writer.File().Metadata().RowGroups {
		for i := range group.Columns {
			group.Columns[i].MetaData.PathInSchema = nil
		}
	}
	return nil
}

func newWriter[T any](w io.Writer, c *codec, large []string) *parquet.GenericWriter[T] {
	options := []parquet.WriterOption{
		parquet.Compression(c),
		parquet.PageBufferSize(pageBuffer),
		parquet.CreatedBy("haloingest", strconv.Itoa(SchemaVersion), ""),
	}
	for _, column := range large {
		options = append(options, parquet.SkipPageBounds(column))
	}
	return parquet.NewGenericWriter[T](w, options...)
}

// metadata is what the file says of itself.
func (n Name) metadata() [8][2]string {
	return [...][2]string{
		{MetaOrg, n.Org.String()}, {MetaRun, n.Run.String()}, {MetaLayer, n.Layer}, {MetaTable, n.Table}, {MetaStream, n.Stream},
		{MetaSeq, strconv.FormatInt(n.Seq, 10)}, {MetaSchema, strconv.Itoa(SchemaVersion)}, {MetaDigest, strconv.Itoa(digestVersion)},
	}
}

// measured hashes and counts what passes through it.
type measured struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (m *measured) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.hash.Write(p[:n])
	m.n += int64(n)
	return n, err
}

// micros is the time as columns hold it.
func micros(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}
