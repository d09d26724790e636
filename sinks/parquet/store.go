package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Store is where snapshots live: a folder (Dir) or a place in an object store (package bucket). Paths are relative, with
// slashes. It is safe for concurrent use, but not for two Puts of one path at once.
type Store interface {
	// Location names the store for people and for the database; it holds no secret, and opened again it is the same place.
	Location() string
	// Put makes a file of what write writes. When it returns nil the file is there, whole, under its name, and outlives a loss of
	// power; else what stood there before, if anything, still does. Errors of write are returned as they are.
	Put(ctx context.Context, path string, write func(io.Writer) error) error
	// Open opens a file for reading; the error is fs.ErrNotExist if there is none. The file's reads end with ctx.
	Open(ctx context.Context, path string) (File, error)
	// List returns what lies under a prefix that is "" or ends in a slash, in order of path.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// Delete removes a file; one that is not there is removed already.
	Delete(ctx context.Context, path string) error
	Close() error
}

// File is an open file of a Store. ReadAt may be called by several goroutines at once.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Entry is one file of a Store.
type Entry struct {
	Path string
	Size int64
	Temp bool // left by a Put that did not end; no part of anything
}

// ErrStore is what a location that cannot be used fails with: it is none, it is not there, or access is refused.
var ErrStore = errors.New("snapshot location")

// StoreError says that reading or writing a snapshot failed.
type StoreError struct {
	Op       string // write, read, list, delete, ...
	Location string
	Path     string // "" for the location as a whole
	Err      error
}

func (e *StoreError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s snapshot in %s: %v", e.Op, e.Location, e.Err)
	}
	return fmt.Sprintf("%s %s of the snapshot in %s: %v", e.Op, e.Path, e.Location, e.Err)
}

func (e *StoreError) Unwrap() error { return e.Err }
