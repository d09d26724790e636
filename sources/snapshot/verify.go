package snapshot

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// Finding is something that is wrong with a file.
type Finding struct {
	File string `json:"file"`
	What string `json:"what"`
}

// Verification is what Verify has found.
type Verification struct {
	Runs     int       `json:"runs"`
	Files    int       `json:"files"` // that were read
	Rows     int64     `json:"rows"`  // of both layers
	Bytes    int64     `json:"bytes"`
	Findings []Finding `json:"findings"` // at most MaxFindings of a file
	// Incomplete are runs that had not ended when their manifest was written last, and that no later one makes good: what they had still to read
	// is nowhere in the snapshot.
	Incomplete []Incomplete `json:"incomplete"`
	// Garbage are files that no manifest names: left by a crash, to be swept by the run when it goes on, or somebody else's. They do no harm.
	Garbage []string `json:"garbage"`
}

// Incomplete is a run that never finished.
type Incomplete struct {
	Run       record.UUID `json:"run"`
	Kind      string      `json:"kind"`
	StartedAt time.Time   `json:"started_at"`
	Manifest  string      `json:"manifest"`
}

// unfinished are the runs that are not complete, but for those that a later one of their organisation makes good: one that is complete and
// has read what changed up to its own time.
func unfinished(runs []*Run) []Incomplete {
	list := []Incomplete{}
	for _, r := range runs {
		good := slices.ContainsFunc(runs, func(o *Run) bool {
			return o.Org == r.Org && o.Complete && !o.SyncedTo.IsZero() && o.StartedAt.After(r.StartedAt)
		})
		if !r.Complete && !good {
			list = append(list, Incomplete{Run: r.Manifest.Run, Kind: r.Kind, StartedAt: r.StartedAt, Manifest: r.Path})
		}
	}
	return list
}

// MaxFindings is how many findings of one file are kept.
const MaxFindings = 20

// Verifier checks a snapshot. Its counters may be read while it works.
type Verifier struct {
	Total, Done atomic.Int64 // bytes of files that manifests name, and those of them that were read
	// Workers is how many segments are checked at once; 0: one.
	Workers int

	mu  sync.Mutex
	out Verification
	per map[string]int // findings by file
}

// Verify reads every file of a snapshot, of all organisations or of one, with arrow, and compares it with what its manifest says and with itself: size, SHA-256,
// schema, the file's own description, number of rows, first and last id, fingerprints, the hash of each row, ids that are derived, knowledge
// against its transcripts, rows against pages. Whatever is wrong is a finding; that a run never finished is none, see Verification.Incomplete. The error is ErrNoSnapshot, *OrgError, *RunError, *VersionError, ErrSealed, or the
// store's: then nothing was found out.
func (v *Verifier) Verify(ctx context.Context, store Store, o Options) (Verification, error) {
	v.per = make(map[string]int)
	v.out = Verification{Findings: []Finding{}, Incomplete: []Incomplete{}, Garbage: []string{}}
	named := make(map[string]bool)
	runs, err := v.manifests(ctx, store, o, named)
	if err != nil {
		return v.out, err
	}
	if len(runs) > 0 && (!o.Org.IsZero() || o.Run != "") {
		if _, runs, err = choose(store.Location(), runs, o); err != nil {
			return v.out, err
		}
	}
	v.out.Runs, v.out.Incomplete = len(runs), unfinished(runs)
	for _, r := range runs {
		var broken *CorruptError
		if _, err := r.Reference(); errors.As(err, &broken) {
			v.find(broken)
		} else if err != nil {
			return v.out, err
		}
	}
	type work struct {
		s   *Snapshot
		seg Segment
	}
	var list []work
	for _, r := range runs {
		s := &Snapshot{Org: r.Org, Runs: runs, store: store, unseal: o.Unseal}
		for _, stream := range r.streams(func(*file.FileInfo) bool { return true }) {
			for _, seg := range stream.Segments {
				list = append(list, work{s, seg})
				for _, f := range seg.Files {
					v.Total.Add(f.Bytes)
				}
			}
		}
	}
	err = pipeline.ForEach(ctx, len(list), max(v.Workers, 1), func(ctx context.Context, i int) error {
		return v.segment(ctx, list[i].s, list[i].seg)
	})
	if err != nil {
		return v.out, err
	}
	if err := v.garbage(ctx, store, o, named); err != nil {
		return v.out, err
	}
	slices.SortStableFunc(v.out.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), strings.Compare(a.What, b.What))
	})
	return v.out, nil
}

// manifests is the function of that name, but goes on behind a manifest that is not as it was written. named are the files of all manifests that could be read.
func (v *Verifier) manifests(ctx context.Context, store Store, o Options, named map[string]bool) ([]*Run, error) {
	entries, err := store.List(ctx, manifestFolder)
	if err != nil {
		return nil, err
	}
	var runs []*Run
	seen := false
	for _, e := range entries {
		if !isManifest(e) {
			continue
		}
		seen, named[e.Path] = true, true
		r, err := manifest(ctx, store, e, o.Unseal)
		var broken *CorruptError
		if errors.As(err, &broken) {
			v.find(broken)
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range r.Files {
			named[r.Files[i].Path] = true
		}
		runs = append(runs, r)
	}
	if !seen {
		return nil, noManifest(store)
	}
	sortRuns(runs)
	return runs, nil
}

func (v *Verifier) find(e *CorruptError) {
	what := e.What
	if e.Err != nil {
		what += ": " + e.Err.Error()
	}
	v.finding(e.File, what)
}

func (v *Verifier) finding(path, what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.per[path]++; v.per[path] <= MaxFindings {
		v.out.Findings = append(v.out.Findings, Finding{path, what})
	}
}

// segment checks the files of a segment, and them against each other.
func (v *Verifier) segment(ctx context.Context, s *Snapshot, seg Segment) error {
	r := s.NewReader()
	c := newChecker(s, seg.Run, v.finding)
	whole := true
	for _, info := range seg.Files {
		data, err := r.fetch(ctx, info)
		var broken *CorruptError
		switch {
		case errors.As(err, &broken):
			whole = false
			v.find(broken)
			continue
		case err != nil:
			return err
		}
		err = contained(info.Path, func() error { return c.check(ctx, info, data) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			whole = false
			if errors.As(err, &broken) {
				v.find(broken)
			} else {
				v.finding(info.Path, err.Error())
			}
		}
		v.Done.Add(info.Bytes)
		v.mu.Lock()
		v.out.Files++
		v.out.Rows += info.Rows
		v.out.Bytes += info.Bytes
		v.mu.Unlock()
	}
	if whole {
		c.end()
	}
	return nil
}

// garbage lists what no manifest names.
func (v *Verifier) garbage(ctx context.Context, store Store, o Options, named map[string]bool) error {
	for _, layer := range []string{manifestFolder, file.LayerPages + "/", file.LayerRows + "/"} {
		entries, err := store.List(ctx, layer)
		if err != nil {
			return err
		}
		for _, e := range entries {
			n, ok := file.ParsePath(e.Path)
			if named[e.Path] || ok && !o.Org.IsZero() && n.Org != o.Org {
				continue
			}
			v.out.Garbage = append(v.out.Garbage, e.Path)
		}
	}
	return nil
}
