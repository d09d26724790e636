// Package storetest checks that a parquet.Store is one.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/sinks/parquet"
)

// Run checks a store, which has to be empty.
func Run(t *testing.T, s parquet.Store) {
	ctx := t.Context()
	put := func(path, content string) {
		t.Helper()
		if err := s.Put(ctx, path, func(w io.Writer) error {
			_, err := io.WriteString(w, content)
			return err
		}); err != nil {
			t.Fatalf("put %s: %v", path, err)
		}
	}
	list := func(prefix string) (paths []string) {
		t.Helper()
		entries, err := s.List(ctx, prefix)
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		for _, e := range entries {
			if e.Temp {
				t.Errorf("%s is left of a Put that ended", e.Path)
			}
			paths = append(paths, e.Path)
		}
		return paths
	}
	same := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}

	same("an empty store holds", []string(nil), list(""))
	large := bytes.Repeat([]byte("0123456789abcdef"), 400_000) // more than one part of an upload
	const odd = "rows/org=a/table=x/grüße und = % # ?.parquet"
	put("pages/b/2.parquet", "two")
	put("pages/a/1.parquet", "one")
	put("pages/a/large.parquet", string(large))
	put("pages/a/empty.parquet", "")
	put(odd, "odd")
	put("pagesx/3.parquet", "three")
	same("everything", []string{"pages/a/1.parquet", "pages/a/empty.parquet", "pages/a/large.parquet", "pages/b/2.parquet", "pagesx/3.parquet", odd}, list(""))
	same("a folder", []string{"pages/a/1.parquet", "pages/a/empty.parquet", "pages/a/large.parquet"}, list("pages/a/"))
	same("no folder", []string(nil), list("none/"))
	same("an odd name", "odd", read(t, s, odd))
	same("an empty file", "", read(t, s, "pages/a/empty.parquet"))
	if got := read(t, s, "pages/a/large.parquet"); got != string(large) {
		t.Errorf("a large file comes back with %d bytes of %d, or changed", len(got), len(large))
	}
	randomAccess(t, s, "pages/a/large.parquet", large)

	put("pages/a/1.parquet", "one again")
	same("a file that was replaced", "one again", read(t, s, "pages/a/1.parquet"))

	mine := errors.New("mine")
	err := s.Put(ctx, "pages/a/1.parquet", func(w io.Writer) error {
		_, _ = w.Write(large)
		return mine
	})
	if !errors.Is(err, mine) {
		t.Errorf("the error of who writes becomes %v", err)
	}
	same("a file whose replacement failed", "one again", read(t, s, "pages/a/1.parquet"))
	if err := s.Put(ctx, "pages/new.parquet", func(io.Writer) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("the error of who writes becomes %v", err)
	}
	ended, end := context.WithCancel(ctx)
	if err := s.Put(ended, "pages/new.parquet", func(w io.Writer) error {
		_, err := w.Write(large)
		end()
		return err
	}); err == nil {
		t.Error("a Put whose context has ended succeeds")
	}
	same("everything after failures", []string{"pages/a/1.parquet", "pages/a/empty.parquet", "pages/a/large.parquet", "pages/b/2.parquet", "pagesx/3.parquet", odd}, list(""))

	_, err = s.Open(ctx, "pages/none.parquet")
	var wrong *parquet.StoreError
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &wrong) || wrong.Path != "pages/none.parquet" {
		t.Errorf("a file that is not there: %v", err)
	}
	for range 2 {
		if err := s.Delete(ctx, odd); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	same("everything after a deletion", []string{"pages/a/1.parquet", "pages/a/empty.parquet", "pages/a/large.parquet", "pages/b/2.parquet", "pagesx/3.parquet"}, list(""))
	for _, path := range []string{"", ".", "/abs", "../up", "a/../b", "a//b", "a/"} {
		if err := s.Put(ctx, path, func(io.Writer) error { return nil }); err == nil {
			t.Errorf("Put takes the path %q", path)
		}
	}
}

func read(t *testing.T, s parquet.Store, path string) string {
	t.Helper()
	f, err := s.Open(t.Context(), path)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return string(b)
}

func randomAccess(t *testing.T, s parquet.Store, path string, want []byte) {
	t.Helper()
	f, err := s.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(len(want))
	if f.Size() != size {
		t.Errorf("%s has %d bytes, want %d", path, f.Size(), size)
	}
	for _, c := range []struct {
		at int64
		n  int
	}{{0, 1}, {7, 100}, {size - 8, 8}, {size - 3, 10}, {size, 1}, {size + 5, 1}, {size / 2, 3 << 20}, {3, 0}} {
		got := make([]byte, c.n)
		n, err := f.ReadAt(got, c.at)
		have := max(min(size-c.at, int64(c.n)), 0)
		if int64(n) != have || (err == nil) != (have == int64(c.n)) || err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("ReadAt %d bytes from %d: %d, %v", c.n, c.at, n, err)
		}
		if have > 0 && !bytes.Equal(got[:n], want[c.at:c.at+have]) {
			t.Errorf("ReadAt %d bytes from %d: other bytes", c.n, c.at)
		}
	}
}
