package snapshot_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	file "haloingest/sinks/parquet"
)

// memory is a store that syncs no disk, for tests that write thousands of files.
type memory map[string][]byte

func (memory) Location() string { return "memory" }
func (memory) Close() error     { return nil }

func (m memory) Put(_ context.Context, path string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	m[path] = b.Bytes()
	return nil
}

func (m memory) Open(_ context.Context, path string) (file.File, error) {
	data, ok := m[path]
	if !ok {
		return nil, &file.StoreError{Op: "read", Location: "memory", Path: path, Err: fs.ErrNotExist}
	}
	return opened{bytes.NewReader(data)}, nil
}

type opened struct{ *bytes.Reader }

func (opened) Close() error { return nil }

func (m memory) List(_ context.Context, prefix string) ([]file.Entry, error) {
	var list []file.Entry
	for _, path := range slices.Sorted(maps.Keys(m)) {
		if strings.HasPrefix(path, prefix) {
			list = append(list, file.Entry{Path: path, Size: int64(len(m[path]))})
		}
	}
	return list, nil
}

func (m memory) Delete(_ context.Context, path string) error {
	delete(m, path)
	return nil
}

var _ file.Store = memory{}
