package snapshot

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// Formats of Export.
const (
	FormatArrow = "arrow" // an Arrow IPC stream
	FormatCSV   = "csv"   // with a header; NULL is empty
	FormatJSONL = "jsonl" // an object per line; columns that hold JSON are part of it, bytes that are no UTF-8 are replaced
)

// Formats, Layers and what tables a layer has, for people who have to choose.
var (
	Formats = []string{FormatArrow, FormatCSV, FormatJSONL}
	Tables  = map[string][]string{
		file.LayerRows: {record.KindContact.Table(), record.KindCompany.Table(), record.KindConversation.Table(), record.KindTicket.Table(),
			file.TableKnowledge, file.TableTombstones, file.TableRejects},
		file.LayerPages: {record.KindContact.Stream(), record.KindCompany.Stream(), record.KindConversation.Stream(), record.KindTicket.Stream()},
	}
)

// Export writes the rows of a table of a layer, of all runs of the snapshot in the order in which they were read, to w. Memory is that of one file. A
// state that was read several times is there several times, the newest last.
func (s *Snapshot) Export(ctx context.Context, w io.Writer, layer, table, as string) error {
	if !slices.Contains(Tables[layer], table) {
		return fmt.Errorf("export %s: layer %s has no such table", table, layer)
	}
	out, err := newExporter(w, schemaOf(&file.FileInfo{Layer: layer, Table: table}), as)
	if err != nil {
		return fmt.Errorf("export %s: %w", table, err)
	}
	r := s.NewReader()
	for _, run := range s.Runs {
		for _, stream := range run.streams(func(f *file.FileInfo) bool { return f.Layer == layer && f.Table == table }) {
			for _, seg := range stream.Segments {
				for _, info := range seg.Files {
					if err := s.exportFile(ctx, r, info, out); err != nil {
						return err
					}
				}
			}
		}
	}
	return out.close()
}

func (s *Snapshot) exportFile(ctx context.Context, r *Reader, info *file.FileInfo, out exporter) error {
	data, err := r.fetch(ctx, info)
	if err != nil {
		return err
	}
	var failed error // of the writer: no fault of the file
	err = contained(info.Path, func() error {
		f, err := openArrow(data)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // of memory
		if err := sameSchema(f, schemaOf(info)); err != nil {
			return err
		}
		if err := sameCodec(f); err != nil {
			return err
		}
		return records(ctx, f, func(rec arrow.Record) error { failed = out.write(rec); return failed })
	})
	switch {
	case failed != nil:
		return failed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return &CorruptError{File: info.Path, What: "cannot be read", Err: err}
	}
	return nil
}

// exporter writes records in one format. close does not close the writer below.
type exporter interface {
	write(arrow.Record) error
	close() error
}

func newExporter(w io.Writer, schema *parquet.Schema, as string) (exporter, error) {
	columns, err := arrowSchema(schema)
	if err != nil {
		return nil, err
	}
	switch as {
	case FormatArrow:
		return &arrowExporter{ipc.NewWriter(w, ipc.WithSchema(columns)), columns}, nil
	case FormatCSV:
		e := &csvExporter{w: csv.NewWriter(w), cells: cells(schema)}
		for _, f := range columns.Fields() {
			e.line = append(e.line, f.Name)
		}
		return e, e.w.Write(e.line)
	case FormatJSONL:
		return &jsonExporter{w: w, cells: cells(schema)}, nil
	}
	return nil, fmt.Errorf("format %q is none of arrow, csv, jsonl", as)
}

// arrowSchema is how arrow reads a file of the schema.
func arrowSchema(schema *parquet.Schema) (*arrow.Schema, error) {
	var b bytes.Buffer
	if err := parquet.NewWriter(&b, schema).Close(); err != nil {
		return nil, err
	}
	f, err := openArrow(b.Bytes())
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // of memory
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	s, err := r.Schema()
	if err != nil {
		return nil, err
	}
	fields := s.Fields()
	for i := range fields {
		fields[i].Metadata = arrow.Metadata{}
	}
	return arrow.NewSchema(fields, nil), nil
}

type arrowExporter struct {
	w      *ipc.Writer
	schema *arrow.Schema
}

func (e *arrowExporter) write(r arrow.Record) error {
	same := array.NewRecord(e.schema, r.Columns(), r.NumRows())
	defer same.Release()
	return e.w.Write(same)
}

func (e *arrowExporter) close() error { return e.w.Close() }

// cell says how a column's values are written.
type cell struct {
	name     string
	uuid     bool // of 16 bytes: a UUID, else a digest
	document bool // holds JSON
}

func cells(schema *parquet.Schema) []cell {
	var list []cell
	for _, f := range schema.Fields() {
		c := cell{name: f.Name()}
		if f.Leaf() {
			if t := f.Type().LogicalType(); t != nil {
				_, c.uuid = t.Value.(*format.UUIDType)
				_, c.document = t.Value.(*format.JsonType)
			}
		}
		c.document = c.document || c.name == "body" || c.name == "payload" // as received: as a rule
		list = append(list, c)
	}
	return list
}

// appendText appends a value as text; ok is false for NULL.
func (c cell) appendText(dst []byte, column arrow.Array, i int) (b []byte, ok bool) {
	if column.IsNull(i) {
		return dst, false
	}
	switch a := column.(type) {
	case *array.String:
		return append(dst, a.Value(i)...), true
	case *array.Binary:
		return append(dst, a.Value(i)...), true
	case *array.Timestamp:
		return time.UnixMicro(int64(a.Value(i))).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999Z"), true
	case *array.Int64:
		return strconv.AppendInt(dst, a.Value(i), 10), true
	case *array.Boolean:
		return strconv.AppendBool(dst, a.Value(i)), true
	case *array.FixedSizeBinary:
		v := a.Value(i)
		if c.uuid && len(v) == 16 {
			return append(dst, record.UUID(v).String()...), true
		}
		return hex.AppendEncode(dst, v), true
	case *array.List:
		return appendList(dst, a, i), true
	}
	panic(fmt.Sprintf("column %s holds %s", c.name, column.DataType()))
}

func appendList(dst []byte, a *array.List, i int) []byte {
	from, to := a.ValueOffsets(i)
	values := a.ListValues().(*array.String)
	dst = append(dst, '[')
	for j := from; j < to; j++ {
		if j > from {
			dst = append(dst, ',')
		}
		dst = record.AppendString(dst, values.Value(int(j)))
	}
	return append(dst, ']')
}

type csvExporter struct {
	w     *csv.Writer
	cells []cell
	line  []string
	buf   []byte
}

func (e *csvExporter) write(r arrow.Record) error {
	for i := range int(r.NumRows()) {
		for j, c := range e.cells {
			e.buf, _ = c.appendText(e.buf[:0], r.Column(j), i)
			e.line[j] = string(e.buf)
		}
		if err := e.w.Write(e.line); err != nil {
			return err
		}
	}
	return e.close()
}

func (e *csvExporter) close() error {
	e.w.Flush()
	return e.w.Error()
}

type jsonExporter struct {
	w     io.Writer
	cells []cell
	out   []byte
	buf   bytes.Buffer
}

func (e *jsonExporter) write(r arrow.Record) error {
	e.out = e.out[:0]
	for i := range int(r.NumRows()) {
		for j, c := range e.cells {
			e.out = append(e.out, "{,"[min(j, 1)])
			e.out = append(record.AppendString(e.out, c.name), ':')
			e.value(c, r.Column(j), i)
		}
		e.out = append(e.out, "}\n"...)
		if len(e.out) > 1<<20 {
			if err := e.close(); err != nil {
				return err
			}
		}
	}
	return e.close()
}

// value appends a value as JSON. What is said to hold JSON and does not, because Intercom sent it so, is a string.
func (e *jsonExporter) value(c cell, column arrow.Array, i int) {
	start := len(e.out)
	var ok bool
	if e.out, ok = c.appendText(e.out, column, i); !ok {
		e.out = append(e.out, "null"...)
		return
	}
	switch column.(type) {
	case *array.Int64, *array.Boolean, *array.List:
		return
	}
	text := e.out[start:]
	if c.document {
		e.buf.Reset()
		if json.Compact(&e.buf, text) == nil {
			e.out = append(e.out[:start], e.buf.Bytes()...)
			return
		}
	}
	e.out = record.AppendString(e.out[:start], string(text))
}

func (e *jsonExporter) close() error {
	_, err := e.w.Write(e.out)
	e.out = e.out[:0]
	return err
}
