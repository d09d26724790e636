package compare

import (
	"context"
	"sync"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
)

// Keep says where what is read of the workspace is kept as a snapshot, so that it need not be read once more for a replay
// or a later diff. The zero value keeps nothing.
type Keep struct {
	Store   parquet.Store
	Seal    parquet.SealFunc // nil: files are not encrypted
	Program string           // who writes it, for people: name and version
	Run     record.UUID      // what the snapshot calls the run: the diff's id
}

// KindDiff is the kind of run that the manifest names.
const KindDiff = "diff"

// keeper keeps the files of a snapshot. No database knows of it: what it has written is part of the snapshot once the
// manifest is, which is written when everything has been read.
type keeper struct {
	target parquet.Target
	mu     sync.Mutex
	files  []parquet.FileInfo
	began  time.Time
}

func newKeeper(o Options) *keeper {
	return &keeper{
		target: parquet.Target{Store: o.Keep.Store, Org: o.Connection.Org, Run: o.Keep.Run, Attempt: 1, Seal: o.Keep.Seal},
		began:  time.Now().UTC().Truncate(time.Microsecond),
	}
}

// segmentLimits are the sizes of segments, those of a backfill's.
var segmentLimits = pipeline.Limits{Rows: 2000, Bytes: 3 << 20, Age: 5 * time.Second}

func (k *keeper) pages(f pipeline.Flow[record.Object]) pipeline.Flow[record.Object] {
	return pipeline.Tap(f, parquet.Hold{})
}

func (k *keeper) rows(f pipeline.Flow[record.Change], stream string) pipeline.Flow[record.Change] {
	f = pipeline.Rebatch(f, segmentLimits, func(c record.Change) int {
		if c.Object == nil {
			return 256
		}
		return 256 + len(c.Object.Body)
	})
	return pipeline.Tap(f, parquet.NewSegments(k.target, stream, 0))
}

func (k *keeper) take(files []pipeline.File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range parquet.Written(files) {
		if info, ok := f.Meta.(parquet.FileInfo); ok {
			k.files = append(k.files, info)
		}
	}
}

// Publish makes what was read the snapshot, if one is kept. It is complete if all kinds were read to their end; else it
// can be compared with and not be relied on. Without files nothing is published.
func (l *Live) Publish(ctx context.Context) error {
	if l.keeper == nil {
		return nil
	}
	k := l.keeper
	complete := true
	for _, kind := range record.Kinds {
		complete = complete && l.tallies[kind] != nil
	}
	conn := l.o.Connection
	m := parquet.Manifest{
		Program: l.o.Keep.Program, Org: conn.Org, Run: l.o.Keep.Run, Kind: KindDiff,
		Mapping: map[string]string{
			parquet.MappingUserIDField: conn.UserIDField, parquet.MappingCompanyIDField: conn.CompanyIDField,
		},
		StartedAt: k.began, Reference: &l.mapping.Reference, Files: k.files,
	}
	if by := l.o.Distiller; by != nil {
		m.Mapping[parquet.MappingDistiller] = by.Name()
	}
	if complete {
		server, err := l.o.Client.ServerTime(ctx)
		if err != nil {
			return err
		}
		m.Complete, m.FinishedAt = true, time.Now().UTC().Truncate(time.Microsecond)
		m.SyncedTo = k.began.Add(-max(time.Since(server), 0))
	}
	return parquet.WriteManifest(ctx, k.target.Store, k.target.Seal, m)
}
