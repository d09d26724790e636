package parquet_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"slices"
	"strings"

	"haloingest/sinks/parquet"
)

// kept is a Store without a disk, for properties that write thousands of files.
type kept struct {
	files map[string][]byte
	fail  func(w io.Writer) io.Writer // stands between who writes and the file
}

func newMemory() *kept { return &kept{files: map[string][]byte{}} }

func (m *kept) Location() string { return "memory" }
func (m *kept) Close() error     { return nil }

func (m *kept) Put(_ context.Context, path string, write func(io.Writer) error) error {
	var b bytes.Buffer
	w := io.Writer(&b)
	if m.fail != nil {
		w = m.fail(w)
	}
	if err := write(w); err != nil {
		return err
	}
	m.files[path] = b.Bytes()
	return nil
}

func (m *kept) Open(_ context.Context, path string) (parquet.File, error) {
	b, ok := m.files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return opened{bytes.NewReader(b)}, nil
}

type opened struct{ *bytes.Reader }

func (o opened) Size() int64  { return o.Reader.Size() }
func (o opened) Close() error { return nil }

func (m *kept) List(_ context.Context, prefix string) (list []parquet.Entry, err error) {
	for path, b := range m.files {
		if strings.HasPrefix(path, prefix) {
			list = append(list, parquet.Entry{Path: path, Size: int64(len(b))})
		}
	}
	slices.SortFunc(list, func(a, b parquet.Entry) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

func (m *kept) Delete(_ context.Context, path string) error {
	delete(m.files, path)
	return nil
}
