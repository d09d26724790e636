package parquet_test

import (
	"bytes"
	"encoding/hex"
	"io"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"haloingest/sinks/parquet"
)

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// row is a row as the other library reads it: by column, nil for NULL; ids and digests as hexadecimal digits.
type row map[string]any

// content reads a file of a store.
func content(t failer, s parquet.Store, path string) []byte {
	t.Helper()
	f, err := s.Open(noTimeout, path)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return b
}

// arrowRead reads a file with arrow, which shares no code with the writer.
func arrowRead(t failer, data []byte) (rows []row, schema *arrow.Schema, metadata map[string]string) {
	t.Helper()
	f, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("open with arrow: %v", err)
	}
	defer f.Close()
	metadata = map[string]string{}
	for i, kv := 0, f.MetaData().KeyValueMetadata(); i < kv.Len(); i++ {
		metadata[kv.Keys()[i]] = kv.Values()[i]
	}
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatalf("open with arrow: %v", err)
	}
	table, err := r.ReadTable(noTimeout)
	if err != nil {
		t.Fatalf("read with arrow: %v", err)
	}
	defer table.Release()
	rows = make([]row, table.NumRows())
	for i := range rows {
		rows[i] = row{}
	}
	for c := range int(table.NumCols()) {
		n := 0
		for _, chunk := range table.Column(c).Data().Chunks() {
			for i := range chunk.Len() {
				rows[n][table.Schema().Field(c).Name] = cell(t, chunk, i)
				n++
			}
		}
	}
	return rows, table.Schema(), metadata
}

func cell(t failer, a arrow.Array, i int) any {
	if a.IsNull(i) {
		return nil
	}
	switch a := a.(type) {
	case *array.String:
		return a.Value(i)
	case *array.Binary:
		return string(a.Value(i))
	case *array.FixedSizeBinary:
		return hex.EncodeToString(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Boolean:
		return a.Value(i)
	case *array.Timestamp:
		return time.UnixMicro(int64(a.Value(i))).UTC()
	case *array.List:
		from, to := a.ValueOffsets(i)
		list := []string{}
		for j := from; j < to; j++ {
			list = append(list, a.ListValues().(*array.String).Value(int(j)))
		}
		return list
	case array.ExtensionArray:
		return cell(t, a.Storage(), i)
	}
	t.Fatalf("a column of type %s", a.DataType())
	return nil
}

var _ failer = (*testing.T)(nil)
