package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"haloingest/pipeline/record"
)

// field is one column: how its values go into rows of type T.
type field[T any] struct {
	name string // of the leaf, dotted
	// set stores a value that is not NULL. Texts and bytes of v are good until set returns.
	set func(row *T, v *parquet.Value, a *arena)
}

// layout is a table as this version of the program reads it: its schema, and a field per leaf in order.
type layout[T any] struct {
	schema *parquet.Schema
	fields []field[T]
}

// newLayout pairs the leaves of schema with fields, which may come in any order. It panics if they are not the same: that is a fault of
// this package.
func newLayout[T any](schema *parquet.Schema, fields ...field[T]) layout[T] {
	l := layout[T]{schema: schema}
	for _, path := range schema.Columns() {
		name := leafName(path)
		found := false
		for _, f := range fields {
			if f.name == name {
				l.fields, found = append(l.fields, f), true
			}
		}
		if !found {
			panic("snapshot: column " + name + " is not read")
		}
	}
	if len(l.fields) != len(fields) {
		panic("snapshot: a column is read that is not there")
	}
	return l
}

// leafName joins a path, without the levels that a list adds.
func leafName(path []string) string {
	if n := len(path); n == 3 && path[1] == "list" && path[2] == "element" {
		return path[0]
	}
	b := bytes.Buffer{}
	for i, p := range path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

// arena gives out memory that lives as long as the rows that hold on to it. The bytes in it are never changed again, which is what makes
// its strings good.
type arena struct {
	free  []byte
	texts []string
}

const arenaChunk = 256 << 10

// bytes returns a copy of b.
func (a *arena) bytes(b []byte) []byte {
	if len(b) > len(a.free) {
		if len(b) > arenaChunk/4 {
			return append(make([]byte, 0, len(b)), b...)
		}
		a.free = make([]byte, arenaChunk)
	}
	c := a.free[:len(b):len(b)]
	copy(c, b)
	a.free = a.free[len(b):]
	return c
}

// text returns a copy of a value's bytes as a string.
func (a *arena) text(v *parquet.Value) string {
	b := v.ByteArray()
	if len(b) == 0 {
		return ""
	}
	b = a.bytes(b)
	return unsafe.String(&b[0], len(b))
}

// push appends to a list of texts that is nil or was the last to be appended to.
func (a *arena) push(list []string, s string) []string {
	if len(a.texts) == cap(a.texts) {
		a.texts = append(make([]string, 0, max(256, 2*(len(list)+1))), list...)
	}
	a.texts = append(a.texts, s)
	n := len(a.texts)
	return a.texts[n-len(list)-1 : n : n]
}

func (a *arena) raw(v *parquet.Value) []byte {
	b := v.ByteArray()
	if len(b) == 0 {
		return nil
	}
	return a.bytes(b)
}

func instant(v *parquet.Value) time.Time { return time.UnixMicro(v.Int64()).UTC() }

func uuid(v *parquet.Value) (id record.UUID) {
	copy(id[:], v.ByteArray())
	return id
}

func digest(v *parquet.Value) (d record.Digest) {
	copy(d[:], v.ByteArray())
	return d
}

// reader reads tables. It keeps buffers between files; not safe for concurrent use.
type reader struct {
	values []parquet.Value
	source bytes.Reader
}

// open opens a file of a table, whose bytes are whole.
func (r *reader) open(file string, data []byte, schema *parquet.Schema) (*parquet.File, error) {
	r.source.Reset(data)
	f, err := parquet.OpenFile(&r.source, int64(len(data)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, &CorruptError{File: file, What: "cannot be opened", Err: err}
	}
	if !parquet.EqualNodes(f.Root(), schema) {
		return nil, corrupt(file, "does not have the columns of its table")
	}
	for _, group := range f.Metadata().RowGroups {
		for i := range group.Columns {
			if codec := group.Columns[i].MetaData.Codec; codec != format.Zstd { // others' decoders do not stand damage as well
				return nil, corrupt(file, "is compressed by %s", codec)
			}
		}
	}
	return f, nil
}

// contained turns a panic of the Parquet library, which damaged files may cause, into an error.
func contained(file string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &CorruptError{File: file, What: "cannot be read", Err: fmt.Errorf("%v", p)}
		}
	}()
	return f()
}

// read fills rows, as many as the file has, column by column.
func read[T any](r *reader, file string, f *parquet.File, l *layout[T], rows []T, a *arena) error {
	if r.values == nil {
		r.values = make([]parquet.Value, 512)
	}
	base := 0
	for _, group := range f.RowGroups() {
		n := int(group.NumRows())
		if n < 0 || n > len(rows)-base {
			return corrupt(file, "has row groups of other sizes than it says")
		}
		part := rows[base : base+n]
		for i, chunk := range group.ColumnChunks() {
			if err := readColumn(r, chunk, part, l.fields[i].set, a); err != nil {
				return &CorruptError{File: file, What: "cannot be read: column " + l.fields[i].name, Err: err}
			}
		}
		base += n
	}
	if base != len(rows) {
		return corrupt(file, "has %d rows in its row groups and says %d", base, len(rows))
	}
	return nil
}

var errValues = errors.New("it has another number of values than rows")

func readColumn[T any](r *reader, chunk parquet.ColumnChunk, rows []T, set func(*T, *parquet.Value, *arena), a *arena) (err error) {
	pages := chunk.Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	row := -1
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		row, err = readPage(r, page, row, rows, set, a)
		parquet.Release(page)
		if err != nil {
			return err
		}
	}
	if row != len(rows)-1 {
		return errValues
	}
	return nil
}

func readPage[T any](r *reader, page parquet.Page, row int, rows []T, set func(*T, *parquet.Value, *arena), a *arena) (int, error) {
	values := page.Values()
	for {
		n, err := values.ReadValues(r.values)
		for i := range r.values[:n] {
			v := &r.values[i]
			if v.RepetitionLevel() == 0 {
				if row++; row >= len(rows) {
					return row, errValues
				}
			}
			if row < 0 {
				return row, errValues
			}
			if !v.IsNull() {
				set(&rows[row], v, a)
			}
		}
		if errors.Is(err, io.EOF) {
			return row, nil
		}
		if err != nil {
			return row, err
		}
	}
}
