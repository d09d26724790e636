package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Dir is a Store in a folder of this machine. Its files and folders are for their owner alone, since they hold what
// customers have written. A file is written under a temporary name, synced, renamed, and its folder synced; of folders that
// had to be made, the ones above them too.
type Dir struct {
	root string
	// hook is called before each step that changes the disk, in tests: to see their order and to make one fail.
	hook func(step, name string) error
}

// tempMark begins the names of unfinished files: DuckDB's and Spark's patterns for *.parquet do not match them.
const tempMark = ".unfinished-"

// NewDir opens the folder, making it if it is not there. The error wraps ErrStore where it cannot be written.
func NewDir(root string) (*Dir, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrStore, root, err)
	}
	d := &Dir{root: abs, hook: func(string, string) error { return nil }}
	if err := d.probe(); err != nil {
		return nil, fmt.Errorf("%w %s cannot be written: %w", ErrStore, abs, err)
	}
	return d, nil
}

// OpenDir opens a folder for reading. The error wraps ErrStore if it is none.
func OpenDir(root string) (*Dir, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrStore, root, err)
	}
	info, err := os.Stat(abs)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w %s: %w", ErrStore, abs, cause(err))
	case !info.IsDir():
		return nil, fmt.Errorf("%w %s: it is a file, not a folder", ErrStore, abs)
	}
	return &Dir{root: abs, hook: func(string, string) error { return nil }}, nil
}

func (d *Dir) probe() error {
	if err := d.makeFolder(d.root); err != nil {
		return cause(err)
	}
	f, err := os.CreateTemp(d.root, tempMark)
	if err != nil {
		return cause(err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Location is the folder's absolute path.
func (d *Dir) Location() string { return d.root }

func (d *Dir) file(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

// Put implements Store.
func (d *Dir) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if !fs.ValidPath(name) || name == "." {
		return d.fail("write", name, errors.New("not a path within the snapshot"))
	}
	target := d.file(name)
	folder := filepath.Dir(target)
	if err := d.makeFolder(folder); err != nil {
		return d.fail("write", name, err)
	}
	if err := d.hook("create", name); err != nil {
		return d.fail("write", name, err)
	}
	f, err := os.CreateTemp(folder, tempMark+path.Base(name)+"-")
	if err != nil {
		return d.fail("write", name, err)
	}
	done := false
	defer func() {
		if !done { // what is left is swept when the run goes on
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	w := &dirWriter{d: d, f: f, name: name}
	if err := write(w); err != nil {
		if w.err != nil {
			return d.fail("write", name, w.err)
		}
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"sync", f.Sync},
		{"close", f.Close},
		{"rename", func() error { return os.Rename(f.Name(), target) }},
		{"sync folder", func() error { return syncFolder(folder) }},
	} {
		err := d.hook(step.name, name)
		if err == nil {
			err = step.do()
		}
		if err != nil {
			return d.fail("write", name, err)
		}
	}
	done = true
	return nil
}

// dirWriter keeps the disk's own error apart from those of who writes.
type dirWriter struct {
	d    *Dir
	f    *os.File
	name string
	err  error
}

func (w *dirWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	err := w.d.hook("write", w.name)
	n := 0
	if err == nil {
		n, err = w.f.Write(p)
	}
	w.err = err
	return n, err
}

// makeFolder makes a folder and those above it, and syncs each one in which it has made something.
func (d *Dir) makeFolder(folder string) error {
	info, err := os.Stat(folder)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is a file, not a folder", folder)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(folder)
	if parent == folder {
		return err
	}
	if err := d.makeFolder(parent); err != nil {
		return err
	}
	if err := d.hook("make folder", folder); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := d.hook("sync folder", parent); err != nil {
		return err
	}
	return syncFolder(parent)
}

func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // a file system that syncs no folders keeps their entries itself
	}
	return errors.Join(err, f.Close())
}

// Open implements Store.
func (d *Dir) Open(_ context.Context, name string) (File, error) {
	if !fs.ValidPath(name) {
		return nil, d.fail("read", name, errors.New("not a path within the snapshot"))
	}
	f, err := os.Open(d.file(name))
	if err != nil {
		return nil, d.fail("read", name, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, d.fail("read", name, errors.Join(err, f.Close()))
	}
	return &dirFile{f, info.Size()}, nil
}

type dirFile struct {
	*os.File
	size int64
}

func (f *dirFile) Size() int64 { return f.size }

// List implements Store.
func (d *Dir) List(ctx context.Context, prefix string) ([]Entry, error) {
	var list []Entry
	start := d.file(path.Clean(prefix))
	err := filepath.WalkDir(start, func(name string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || e.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone since, or never there
			}
			return err
		}
		if !e.Type().IsRegular() {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(d.root, name)
		if err != nil {
			return err
		}
		list = append(list, Entry{Path: filepath.ToSlash(rel), Size: info.Size(), Temp: strings.HasPrefix(e.Name(), tempMark)})
		return nil
	})
	if err != nil {
		return nil, d.fail("list", prefix, err)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

// Delete implements Store.
func (d *Dir) Delete(_ context.Context, name string) error {
	if !fs.ValidPath(name) {
		return d.fail("delete", name, errors.New("not a path within the snapshot"))
	}
	err := d.hook("delete", name)
	if err == nil {
		err = os.Remove(d.file(name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.fail("delete", name, err)
	}
	return nil
}

// Close implements Store.
func (d *Dir) Close() error { return nil }

func (d *Dir) fail(op, name string, err error) error {
	return &StoreError{Op: op, Location: d.root, Path: name, Err: cause(err)}
}

// cause takes the path off an error whose message names it already.
func cause(err error) error {
	var of *fs.PathError
	var from *os.LinkError
	switch {
	case errors.As(err, &of):
		return of.Err
	case errors.As(err, &from):
		return from.Err
	}
	return err
}
