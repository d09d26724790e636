package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// Store is the part of a sinks/parquet.Store that is read.
type Store interface {
	Location() string
	Open(ctx context.Context, path string) (file.File, error)
	List(ctx context.Context, prefix string) ([]file.Entry, error)
}

// Options says what to open. The zero value opens everything in a snapshot of one organisation.
type Options struct {
	Org record.UUID // zero: the snapshot's only one
	Run string      // id of a run, or the beginning of one; "": all
	// Layers are those whose files have to be there; nil: both.
	Layers []string
	// Unseal opens the key of the file at path, undoing parquet.SealFunc; nil: the snapshot is not encrypted. Its errors are returned as they are.
	Unseal func(path string, sealed []byte) (key []byte, err error)
}

// Snapshot is an open snapshot of one organisation. It is safe for concurrent use.
type Snapshot struct {
	Org    record.UUID
	Runs   []*Run // in the order in which they began
	store  Store
	unseal unsealFunc
}

type unsealFunc = func(path string, sealed []byte) (key []byte, err error)

// Run is one run of a snapshot: what its manifest says. The fingerprints of its files are there for Verify only.
type Run struct {
	file.Manifest
	Path   string // of the manifest
	unseal unsealFunc
}

// Reference are the names that the run's rows were made with, nil if they are not known. Of an encrypted snapshot they are opened anew each time:
// the error wraps ErrSealed, is one of Options.Unseal, or a *CorruptError.
func (r *Run) Reference() (*record.Reference, error) {
	if r.Sealed == nil {
		return r.Manifest.Reference, nil
	}
	if r.unseal == nil {
		return nil, fmt.Errorf("read %s: %w", r.Path, ErrSealed)
	}
	key, err := r.unseal(r.Path, r.Sealed.Key)
	if err != nil {
		return nil, err
	}
	reference, err := r.Sealed.Open(r.Path, key)
	if err != nil {
		return nil, &CorruptError{File: r.Path, What: "has names that cannot be decrypted", Err: err}
	}
	return reference, nil
}

// Location names the store.
func (s *Snapshot) Location() string { return s.store.Location() }

// Open reads and checks the manifests, and that the files they name are there in their sizes. What is wrong is an error that wraps
// ErrNoSnapshot, or an *OrgError, *RunError, *VersionError or *CorruptError; other errors are the store's.
func Open(ctx context.Context, store Store, o Options) (*Snapshot, error) {
	runs, err := manifests(ctx, store, o.Unseal)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{store: store, unseal: o.Unseal}
	if s.Org, s.Runs, err = choose(store.Location(), runs, o); err != nil {
		return nil, err
	}
	layers := o.Layers
	if layers == nil {
		layers = []string{file.LayerPages, file.LayerRows}
	}
	for _, r := range s.Runs {
		if err := s.there(ctx, r, layers); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// choose picks the runs that were asked for.
func choose(location string, runs []*Run, o Options) (record.UUID, []*Run, error) {
	orgs := make(map[record.UUID]bool)
	for _, r := range runs {
		orgs[r.Org] = true
	}
	var held []record.UUID
	for org := range orgs {
		held = append(held, org)
	}
	slices.SortFunc(held, func(a, b record.UUID) int { return bytes.Compare(a[:], b[:]) })
	org := o.Org
	if org.IsZero() && len(held) == 1 {
		org = held[0]
	}
	if !orgs[org] {
		return org, nil, &OrgError{Location: location, Asked: o.Org, Held: held}
	}
	var list []*Run
	var ids []record.UUID
	for _, r := range runs {
		if r.Org == org {
			ids = append(ids, r.Run)
			if strings.HasPrefix(r.Run.String(), strings.ToLower(o.Run)) {
				list = append(list, r)
			}
		}
	}
	if len(list) == 0 || o.Run != "" && len(list) > 1 {
		return org, nil, &RunError{Location: location, Asked: o.Run, Held: ids}
	}
	return org, list, nil
}

const manifestFolder = "manifest/"

// manifests reads all manifests in the order in which their runs began.
func manifests(ctx context.Context, store Store, unseal unsealFunc) ([]*Run, error) {
	entries, err := store.List(ctx, manifestFolder)
	if err != nil {
		return nil, err
	}
	var runs []*Run
	for _, e := range entries {
		if !isManifest(e) {
			continue
		}
		r, err := manifest(ctx, store, e, unseal)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	if len(runs) == 0 {
		return nil, noManifest(store)
	}
	sortRuns(runs)
	return runs, nil
}

func isManifest(e file.Entry) bool { return !e.Temp && strings.HasSuffix(e.Path, ".json") }

func noManifest(store Store) error {
	return fmt.Errorf("%w in %s: there is no manifest below %s", ErrNoSnapshot, store.Location(), manifestFolder)
}

func sortRuns(runs []*Run) {
	slices.SortFunc(runs, func(a, b *Run) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), bytes.Compare(a.Manifest.Run[:], b.Manifest.Run[:]))
	})
}

// maxManifest is far above what a workspace of tens of millions of objects needs.
const maxManifest = 1 << 30

func manifest(ctx context.Context, store Store, e file.Entry, unseal unsealFunc) (*Run, error) {
	if e.Size > maxManifest {
		return nil, corrupt(e.Path, "has %d bytes: that is no manifest", e.Size)
	}
	raw, err := readAll(ctx, store, e.Path, e.Size, nil)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(e.Path, raw)
	if err != nil {
		return nil, err
	}
	return &Run{Manifest: m, Path: e.Path, unseal: unseal}, nil
}

// decodeManifest reads a manifest and checks it against itself.
func decodeManifest(path string, raw []byte) (file.Manifest, error) {
	// The version first: what a newer program wrote need not fit into our struct.
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &version); err != nil {
		return file.Manifest{}, &CorruptError{File: path, What: "is no JSON document", Err: err}
	}
	if version.Version > file.ManifestVersion {
		return file.Manifest{}, &VersionError{File: path, What: "manifest", Have: version.Version, Known: file.ManifestVersion}
	}
	m, err := file.DecodeManifest(raw)
	if err != nil {
		return m, &CorruptError{File: path, What: "is no manifest as it was written", Err: err}
	}
	switch {
	case m.Version < 1:
		return m, corrupt(path, "has no version")
	case m.Schema > file.SchemaVersion:
		return m, &VersionError{File: path, What: "schema", Have: m.Schema, Known: file.SchemaVersion}
	case m.Digest > record.DigestVersion:
		return m, &VersionError{File: path, What: "digest", Have: m.Digest, Known: record.DigestVersion}
	case path != file.ManifestPath(m.Org, m.Run):
		return m, corrupt(path, "is the manifest of run %s of organisation %s and does not belong here", m.Run, m.Org)
	}
	seen := make(map[string]bool, len(m.Files))
	for i := range m.Files {
		f := &m.Files[i]
		n, ok := file.ParsePath(f.Path)
		switch {
		case !ok || n.Layer != f.Layer || n.Org != m.Org || n.Run != m.Run || n.Table != f.Table || n.Stream != f.Stream || n.Seq != f.Seq:
			return m, corrupt(path, "names a file %q that is not of its run, layer, table, stream or segment", f.Path)
		case f.Rows < 0 || f.Bytes < 0:
			return m, corrupt(path, "says that %s has %d rows in %d bytes", f.Path, f.Rows, f.Bytes)
		case seen[f.Path]:
			return m, corrupt(path, "names %s twice", f.Path)
		}
		seen[f.Path] = true
	}
	return m, nil
}

// there checks that the files of a run are there.
func (s *Snapshot) there(ctx context.Context, r *Run, layers []string) error {
	for _, layer := range layers {
		entries, err := s.store.List(ctx, file.Folder(layer, r.Org, r.Manifest.Run))
		if err != nil {
			return err
		}
		sizes := make(map[string]int64, len(entries))
		for _, e := range entries {
			sizes[e.Path] = e.Size
		}
		for i := range r.Files {
			f := &r.Files[i]
			if f.Layer != layer {
				continue
			}
			size, ok := sizes[f.Path]
			if !ok {
				return corrupt(f.Path, "is missing")
			}
			if size != f.Bytes {
				return corrupt(f.Path, "has %d bytes and should have %d", size, f.Bytes)
			}
		}
	}
	return nil
}

// readAll reads a file whole into buf, if it is large enough, and checks that it has so many bytes.
func readAll(ctx context.Context, store Store, path string, size int64, buf []byte) (data []byte, err error) {
	f, err := store.Open(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, corrupt(path, "is missing")
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = &file.StoreError{Op: "read", Location: store.Location(), Path: path, Err: cerr}
		}
	}()
	if f.Size() != size {
		return nil, corrupt(path, "has %d bytes and should have %d", f.Size(), size)
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size+size/4)
	}
	buf = buf[:size]
	n, err := f.ReadAt(buf, 0)
	if n == len(buf) {
		return buf, nil
	}
	if errors.Is(err, io.EOF) || err == nil {
		return nil, corrupt(path, "has %d bytes and should have %d", n, size)
	}
	return nil, &file.StoreError{Op: "read", Location: store.Location(), Path: path, Err: err}
}
