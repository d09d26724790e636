package compare

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// SnapshotMend is a repair from a snapshot, for when Intercom is out of reach: the rows of the objects that a diff has
// found are written as the snapshot has them. What the snapshot lacks is left alone, since that nothing was kept of it does
// not say that it is gone.
type SnapshotMend struct {
	db      *postgres.DB
	side    *Snapshot
	repairs *Repairs
	lease   *postgres.Lease
	run     *postgres.Run
	started time.Time

	mu      sync.Mutex
	streams []ingest.StreamProgress
}

// StartSnapshotMend takes the organisation's lease and begins or goes on with the repair. The side must not be used
// elsewhere until Close.
func StartSnapshotMend(ctx context.Context, db *postgres.DB, org record.UUID, holder string, side *Snapshot, diffID record.UUID, repairs *Repairs) (*SnapshotMend, error) {
	lease, err := db.Acquire(ctx, org, holder)
	if err != nil {
		return nil, err
	}
	run, err := db.StartRun(ctx, lease, postgres.RunSpec{
		Kind: ingest.KindRepair, Params: map[string]string{"diff": diffID.String(), "from": side.Name()},
	})
	if err != nil {
		return nil, errors.Join(err, lease.Release(ctx))
	}
	return &SnapshotMend{db: db, side: side, repairs: repairs, lease: lease, run: run, started: time.Now()}, nil
}

// Close gives the lease back.
func (m *SnapshotMend) Close(ctx context.Context) error { return m.lease.Release(ctx) }

// Progress may be called at any time from any goroutine.
func (m *SnapshotMend) Progress() ingest.Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ingest.Progress{Streams: slices.Clone(m.streams), Elapsed: time.Since(m.started)}
}

// Do loads the rows, one kind after the other, and finishes the run.
func (m *SnapshotMend) Do(ctx, read context.Context) (ingest.Report, error) {
	ctx, release := m.lease.Bind(ctx)
	defer release()
	var err error
	for _, kind := range record.Kinds {
		if err = m.load(ctx, read, kind); err != nil {
			break
		}
	}
	outcome := postgres.Outcome{State: postgres.RunComplete}
	switch {
	case errors.Is(err, pipeline.ErrStopped), err != nil && ctx.Err() != nil && context.Cause(m.lease.Lost()) == nil:
		outcome.State = postgres.RunInterrupted
	case err != nil:
		outcome.State, outcome.Err = postgres.RunFailed, err
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if ferr := m.run.Finish(end, outcome); err == nil {
		err = ferr
	}
	out := ingest.Report{Elapsed: time.Since(m.started)}
	info, rerr := m.db.RunInfo(end, m.side.s.Org, m.run.ID.String())
	out.Run = info
	if err == nil {
		err = rerr
	}
	return out, err
}

func (m *SnapshotMend) load(ctx, read context.Context, kind record.Kind) error {
	ids := m.repairs.IDs(kind)
	if len(ids) == 0 {
		return nil
	}
	name := "repair-" + kind.Stream()
	at, err := m.run.Checkpoint(ctx, name)
	if err != nil || at.Complete {
		return err
	}
	p := pipeline.New(pipeline.Options{Buffer: -1})
	sink := m.run.Sink(name, postgres.SinkOptions{Rewrite: true})
	pipeline.Into(pipeline.From(p, &kept{m.side, kind, ids}, nil), pipeline.Sink[record.Change](sink))
	m.note(ingest.StreamProgress{Stream: name, State: ingest.StreamRunning, Total: int64(len(ids))})
	err = p.Run(ctx, read)
	if cerr := sink.Close(ctx); err == nil {
		err = cerr
	}
	if err == nil {
		err = m.run.CompleteStream(ctx, name)
	}
	if err == nil {
		m.note(ingest.StreamProgress{Stream: name, State: ingest.StreamComplete, Done: int64(len(ids)), Total: int64(len(ids))})
	}
	return err
}

func (m *SnapshotMend) note(p ingest.StreamProgress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.streams); n > 0 && m.streams[n-1].Stream == p.Stream {
		m.streams[n-1] = p
		return
	}
	m.streams = append(m.streams, p)
}

// kept is the source of what a snapshot has of some objects. It begins anew each time: loading something once more changes
// nothing.
type kept struct {
	side *Snapshot
	kind record.Kind
	ids  []string
}

func (s *kept) Name() string { return "snapshot" }

// Pages reads a page of objects at a time.
func (s *kept) Pages(ctx context.Context, _ pipeline.Cursor) iter.Seq2[pipeline.Page[record.Change], error] {
	return func(yield func(pipeline.Page[record.Change], error) bool) {
		for ids := range slices.Chunk(s.ids, 500) {
			objects, err := s.side.whole(ctx, s.kind, ids)
			if !yield(pipeline.Page[record.Change]{Items: objects, Cursor: pipeline.Cursor{1}}, err) || err != nil {
				return
			}
		}
	}
}

// whole returns the newest states of objects, conversations with their knowledge.
func (s *Snapshot) whole(ctx context.Context, kind record.Kind, ids []string) ([]record.Change, error) {
	if err := s.have(ctx, kind); err != nil {
		return nil, err
	}
	found, _, err := s.newest(ctx, kind, ids)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	var list []record.Change
	for _, id := range ids {
		if c, ok := found[id]; ok {
			list = append(list, c)
		}
	}
	return list, nil
}
