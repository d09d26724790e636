package snapshot_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

var (
	org  = record.UUID{1, 2, 3}
	run1 = record.UUID{0xa1}
)

// failer is a test of either kind.
type failer interface {
	Helper()
	Fatal(args ...any)
}

// keep writes batches of a stream as a run's only snapshot.
func keep(tb failer, store file.Store, m file.Manifest, stream string, batches ...pipeline.Batch[record.Change]) file.Manifest {
	tb.Helper()
	ctx := context.Background()
	to := file.Target{Store: store, Org: m.Org, Run: m.Run, Attempt: 1}
	rows, pages := file.NewRows(to, stream, 0), file.NewPages(to, stream, 0)
	for i, b := range batches {
		b.Seq = uint64(i)
		files, err := rows.Write(ctx, b)
		if err != nil {
			tb.Fatal(err)
		}
		objects := pipeline.Batch[record.Object]{Seq: b.Seq}
		for _, c := range b.Items {
			if c.Object != nil {
				objects.Items = append(objects.Items, *c.Object)
			}
		}
		more, err := pages.Write(ctx, objects)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range append(more, files...) {
			m.Files = append(m.Files, f.Meta.(file.FileInfo))
		}
	}
	putManifest(tb, store, m)
	return m
}

func putManifest(tb failer, store file.Store, m file.Manifest) {
	tb.Helper()
	raw, err := m.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	if err := store.Put(context.Background(), file.ManifestPath(m.Org, m.Run), writes(raw)); err != nil {
		tb.Fatal(err)
	}
}

func writes(raw []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	}
}

func newManifest() file.Manifest {
	return file.Manifest{
		Version: file.ManifestVersion, Schema: file.SchemaVersion, Digest: record.DigestVersion, Program: "test", Org: org, Run: run1, Kind: "backfill",
		StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Complete: true,
	}
}

func open(tb failer, store file.Store, o snapshot.Options) *snapshot.Snapshot {
	tb.Helper()
	s, err := snapshot.Open(context.Background(), store, o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// tooLarge keeps sizes that a fuzzer makes up from taking all memory: libraries make room for what a page says it has.
func tooLarge(data []byte) bool { return len(data) > 1<<20 }
