package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres"
)

// Snapshot says where a run keeps what it reads and what it makes of it. The zero value keeps nothing.
type Snapshot struct {
	Store   parquet.Store    // nil: no snapshot is kept
	Seal    parquet.SealFunc // nil: files are not encrypted
	Program string           // who writes it, for people: name and version
}

// Parameters of a run that keeps a snapshot: with another location, or encrypted instead of not, it is another run.
const (
	paramSnapshot  = "snapshot"
	paramEncrypted = "snapshot_encrypted"
)

func (s Snapshot) params(p map[string]string) {
	if s.Store == nil {
		return
	}
	p[paramSnapshot] = s.Store.Location()
	if s.Seal != nil {
		p[paramEncrypted] = "true"
	}
}

// segmentLimits of a batch that becomes a segment, in bytes of objects as received: large enough that a workspace of a million conversations
// has thousands of files and not hundreds of thousands, small enough that the few of them that there are at once fit into memory and a slow
// stream is committed every few seconds.
var segmentLimits = pipeline.Limits{Rows: 2000, Bytes: 3 << 20, Age: 5 * time.Second}

func segmentSize(c record.Change) int {
	if c.Object == nil {
		return 256
	}
	return 256 + len(c.Object.Body)
}

// lighten lets go of what only the stages need: the messages as they were taken apart, where MessagesJSON is what is kept. Several segments are
// in memory at once, and this is a third of them.
var lighten = pipeline.StageFunc("lighten", func(_ context.Context, in []record.Change) (pipeline.Result[record.Change], error) {
	for i := range in {
		if t := in[i].Transcript; t != nil {
			t.Messages = nil
		}
	}
	return pipeline.Result[record.Change]{Items: in}, nil
})

// keeper keeps the manifest of a run's snapshot. Its methods are called one at a time.
type keeper struct {
	Snapshot
	db        *postgres.DB
	run       *postgres.Run
	org       record.UUID
	log       *slog.Logger
	reference *record.Reference

	due time.Time // when the manifest is written next
}

// manifestEvery is how often a run writes its manifest, at least: what is committed is safe without it, but readers see it then.
const manifestEvery = 30 * time.Second

func (k *keeper) target() parquet.Target {
	return parquet.Target{Store: k.Store, Org: k.org, Run: k.run.ID, Attempt: k.run.Attempts, Seal: k.Seal}
}

// begin removes what a crash has left and writes the first manifest, so that a location that cannot be used is known before anything is read.
func (k *keeper) begin(ctx context.Context) error {
	if err := k.sweep(ctx, k.target()); err != nil {
		return err
	}
	return k.save(ctx, time.Time{}, nil)
}

// sweep removes what attempts before the target's have left and never committed.
func (k *keeper) sweep(ctx context.Context, to parquet.Target) error {
	swept, err := parquet.Sweep(ctx, to, func(ctx context.Context) (map[string]bool, error) {
		named := make(map[string]bool)
		for f, err := range k.db.SnapshotFiles(ctx, k.org, k.run.ID) {
			if err != nil {
				return nil, err
			}
			named[f.Path] = true
		}
		return named, nil
	})
	if swept > 0 {
		k.log.Info("removed files of the snapshot that were not committed", "files", swept, "run", k.run.ID)
	}
	return err
}

// save writes the manifest of what is committed. finished is zero while the run goes on.
func (k *keeper) save(ctx context.Context, finished time.Time, outcome *postgres.Outcome) error {
	start := time.Now()
	m := parquet.Manifest{
		Program: k.Program, Org: k.org, Run: k.run.ID, Kind: k.run.Spec.Kind, Mapping: maps.Clone(k.run.Spec.Params),
		StartedAt: k.run.StartedAt, Since: k.run.Spec.Since, Reference: k.reference,
	}
	delete(m.Mapping, paramSnapshot)
	delete(m.Mapping, paramEncrypted)
	if outcome != nil && outcome.State == postgres.RunComplete {
		m.Complete, m.FinishedAt, m.SyncedTo = true, finished, outcome.SyncedTo
	}
	for f, err := range k.db.SnapshotFiles(ctx, k.org, k.run.ID) {
		if err != nil {
			return err
		}
		var info parquet.FileInfo
		if err := json.Unmarshal(f.Info, &info); err != nil {
			return fmt.Errorf("read what the database says of %s: %w", f.Path, err)
		}
		m.Files = append(m.Files, info)
	}
	if err := parquet.WriteManifest(ctx, k.Store, k.Seal, m); err != nil {
		return err
	}
	// A long manifest is written less often, so that it never takes more than a small part of the time.
	k.due = time.Now().Add(max(manifestEvery, 30*time.Since(start)))
	return nil
}

// end writes the manifest of a run that has ended so. It comes before the database is told that the run is complete: a crash between the two
// leaves a run that is gone on with, and not a snapshot that stays incomplete.
func (k *keeper) end(ctx context.Context, outcome postgres.Outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience(outcome.Err))
	defer cancel()
	var store *parquet.StoreError
	if errors.As(outcome.Err, &store) {
		// The disk may be full. What this attempt has written and not committed is garbage now: it makes room for the manifest. The attempt's
		// commits are all known to the database, since it is the location that failed.
		over := k.target()
		over.Attempt++
		if err := k.sweep(ctx, over); err != nil {
			k.log.Warn("files of the snapshot that were not committed are left until the run goes on", "error", err)
		}
	}
	return k.save(ctx, time.Now().UTC().Truncate(time.Microsecond), &outcome)
}

// keepManifest writes the manifest now and then, behind a commit.
type keepManifest struct {
	pipeline.Sink[record.Change]
	keeper *keeper
}

// Commit is the sink's. A manifest that cannot be written is no reason to stop: the batch is committed, and if the location is lost the next
// segment says so.
func (s keepManifest) Commit(ctx context.Context, b pipeline.Batch[record.Change]) error {
	b.Files = parquet.Written(b.Files)
	if err := s.Sink.Commit(ctx, b); err != nil || time.Now().Before(s.keeper.due) {
		return err
	}
	if err := s.keeper.save(ctx, time.Time{}, nil); err != nil && ctx.Err() == nil {
		s.keeper.log.Warn("the snapshot's manifest is not up to date", "error", err)
		s.keeper.due = time.Now().Add(manifestEvery)
	}
	return nil
}

// SnapshotReport says what is kept of a run, over all its attempts.
type SnapshotReport struct {
	Location  string `json:"location"`
	Encrypted bool   `json:"encrypted"`
	Files     int64  `json:"files"`
	Rows      int64  `json:"rows"` // of pages and rows
	Bytes     int64  `json:"bytes"`
}

// SnapshotOf returns what is kept of a run, or nil if it keeps no snapshot.
func SnapshotOf(ctx context.Context, db *postgres.DB, org record.UUID, run postgres.RunInfo) (*SnapshotReport, error) {
	location := run.Spec.Params[paramSnapshot]
	if location == "" {
		return nil, nil
	}
	out := &SnapshotReport{Location: location, Encrypted: run.Spec.Params[paramEncrypted] != ""}
	list, err := db.SnapshotRuns(ctx, org)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.Run == run.ID && s.Location == location {
			out.Files, out.Rows, out.Bytes = s.Files, s.Rows, s.Bytes
		}
	}
	return out, nil
}
