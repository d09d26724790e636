package ingest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/snapshot"
)

// small is a folder on a disk of so many bytes.
type small struct {
	*parquet.Dir
	free atomic.Int64
}

// Put takes the room that a file needs, half-way where there is none.
func (s *small) Put(ctx context.Context, path string, write func(io.Writer) error) error {
	was, err := s.size(ctx, path)
	if err != nil {
		return err
	}
	var full error
	w := &limited{left: s.free.Load() + was}
	err = s.Dir.Put(ctx, path, func(to io.Writer) error {
		w.to = to
		err := write(w)
		if full = w.err; full != nil {
			return full
		}
		return err
	})
	if full != nil {
		return &parquet.StoreError{Op: "write", Location: s.Location(), Path: path, Err: full}
	}
	if err == nil {
		s.free.Store(w.left)
	}
	return err
}

func (s *small) Delete(ctx context.Context, path string) error {
	was, err := s.size(ctx, path)
	if err == nil {
		err = s.Dir.Delete(ctx, path)
	}
	if err == nil {
		s.free.Add(was)
	}
	return err
}

func (s *small) size(ctx context.Context, path string) (int64, error) {
	all, err := s.List(ctx, "")
	for _, e := range all {
		if e.Path == path {
			return e.Size, nil
		}
	}
	return 0, err
}

type limited struct {
	to   io.Writer
	left int64
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		l.err = syscall.ENOSPC
		return 0, l.err
	}
	l.left -= int64(len(p))
	return l.to.Write(p)
}

func object(i int) record.Object {
	return record.Object{Kind: record.KindCompany, ID: string(rune('a' + i)), FetchedAt: time.Now(), Body: []byte(`{"id":"` + string(rune('a'+i)) + `"}`)}
}

// On a full disk what was written and not committed goes, and the manifest of what is committed is written in its place.
func TestOnAFullDiskWhatIsNotCommittedMakesRoomForTheManifest(t *testing.T) {
	ctx := t.Context()
	db, err := postgres.Open(ctx, pgtest.New(t), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	org := record.UUID{0xaa}
	lease, err := db.Acquire(ctx, org, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release(ctx)
	run, err := db.StartRun(ctx, lease, postgres.RunSpec{Kind: KindBackfill})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := parquet.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	store := &small{Dir: dir}
	store.free.Store(1 << 20)
	k := &keeper{Snapshot: Snapshot{Store: store, Program: "test"}, db: db, run: run, org: org, log: slog.New(slog.DiscardHandler)}
	if err := k.begin(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := run.Checkpoint(ctx, "companies"); err != nil {
		t.Fatal(err)
	}
	pages := parquet.NewPages(k.target(), "companies", 0)
	sink := run.Sink("companies", postgres.SinkOptions{Snapshot: store.Location()})
	defer sink.Close(ctx)
	write := func(seq uint64) ([]pipeline.File, error) {
		return pages.Write(ctx, pipeline.Batch[record.Object]{Seq: seq, Items: []record.Object{object(int(seq))}})
	}
	files, err := write(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Commit(ctx, pipeline.Batch[record.Change]{Seq: 0, Cursor: pipeline.Cursor("1"), Files: parquet.Written(files)}); err != nil {
		t.Fatal(err)
	}
	// Others are written ahead of their commits, and the next one does not fit. What is left is too little for the manifest, which has grown.
	for seq := uint64(1); err == nil; seq++ {
		store.free.Store(min(store.free.Load(), 6000))
		_, err = write(seq)
	}
	var full *parquet.StoreError
	if !errors.As(err, &full) {
		t.Fatalf("writing on a full disk: %v", err)
	}
	store.free.Store(0)
	if err := k.save(ctx, time.Time{}, nil); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the manifest fits all the same: %v", err)
	}
	if err := k.end(ctx, postgres.Outcome{State: postgres.RunFailed, Err: err}); err != nil {
		t.Fatalf("the last manifest: %v", err)
	}
	found, err := new(snapshot.Verifier).Verify(ctx, store, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// That the page has no row is this test's doing.
	if len(found.Garbage) > 0 || found.Files != 1 || len(found.Incomplete) != 1 {
		t.Errorf("the snapshot: %+v", found)
	}
}
