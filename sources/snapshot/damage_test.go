package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

// small is a snapshot of one run with every table in both layers, in so many segments.
func small(t failer, segments int) memory {
	var e record.Encoder
	gen := change(&e)
	var batches []pipeline.Batch[record.Change]
	for seed := range segments {
		b := pipeline.Batch[record.Change]{}
		ids := map[string]bool{}
		for i := range 30 {
			c := gen.Example(seed*100 + i)
			if key := string(c.Kind) + c.SourceID; !ids[key] {
				ids[key] = true
				b.Items = append(b.Items, c)
			}
		}
		b.Rejects = []pipeline.Reject{reject.Example(seed)}
		batches = append(batches, b)
	}
	store := memory{}
	m := newManifest()
	m.Mapping = map[string]string{file.MappingUserIDField: "external_id"}
	m.Reference = &record.Reference{Workspace: record.Workspace{ID: "w1", Name: "Work"}, Tags: map[string]string{"1": "one"}}
	keep(t, store, m, "conversations", batches...)
	return store
}

func verify(t failer, store file.Store, o snapshot.Options) (snapshot.Verification, error) {
	v := snapshot.Verifier{Workers: 2}
	return v.Verify(context.Background(), store, o)
}

func TestASnapshotAsItWasWrittenIsWhole(t *testing.T) {
	store := small(t, 2)
	store["pages/left-by-a-crash"] = []byte("x")
	got, err := verify(t, store, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Findings) > 0 {
		t.Errorf("findings: %v", got.Findings)
	}
	if diff := cmp.Diff([]string{"pages/left-by-a-crash"}, got.Garbage); diff != "" {
		t.Errorf("garbage (-want +got):\n%s", diff)
	}
	if got.Files != len(store)-2 || got.Rows == 0 {
		t.Errorf("%d files and %d rows were read of %d files", got.Files, got.Rows, len(store)-2)
	}
}

// F9 of proof.md: whatever byte of whatever file is flipped, and wherever a file is cut, verify names the file, and reading fails before it has given away
// anything of that file.
func TestEveryFlipAndTruncationIsFound(t *testing.T) {
	n := 300
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		n = 10_000
	}
	whole := small(t, 1)
	paths := slices.Sorted(maps.Keys(whole))
	random := rand.New(rand.NewPCG(9, 9))
	for i := range n {
		path := paths[random.IntN(len(paths))]
		data := bytes.Clone(whole[path])
		at := random.IntN(len(data))
		what := fmt.Sprintf("flip bit %d of byte %d of %d of %s", i%8, at, len(data), path)
		if i%3 == 0 {
			data = data[:at]
			what = fmt.Sprintf("cut %s at %d of %d", path, at, len(whole[path]))
		} else {
			data[at] ^= 1 << (i % 8)
		}
		damaged := maps.Clone(whole)
		damaged[path] = data
		got, err := verify(t, damaged, snapshot.Options{})
		var newer *snapshot.VersionError
		if errors.As(err, &newer) && strings.HasPrefix(path, "manifest/") {
			continue // the version itself was changed
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(got.Findings) == 0 || got.Findings[0].File != path {
			t.Fatalf("%s: findings %v", what, got.Findings)
		}
		if err := load(damaged); !isCorrupt(err, path) {
			t.Fatalf("%s: loading gave %v", what, err)
		}
	}
}

// load reads everything that a replay and a remap would.
func load(store file.Store) error {
	ctx := context.Background()
	s, err := snapshot.Open(ctx, store, snapshot.Options{})
	if err != nil {
		return err
	}
	r := s.NewReader()
	for _, run := range s.Runs {
		for _, stream := range run.Streams(file.LayerRows) {
			for _, seg := range stream.Segments {
				if _, err := r.Changes(ctx, seg); err != nil {
					return err
				}
			}
		}
		for _, stream := range run.ObjectStreams() {
			for _, err := range s.Objects(stream.Segments).Pages(ctx, nil) {
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func isCorrupt(err error, path string) bool {
	var broken *snapshot.CorruptError
	var newer *snapshot.VersionError
	return errors.As(err, &broken) && broken.File == path || errors.As(err, &newer) && newer.File == path
}

// What agrees with its SHA-256 and is wrong all the same: a program that writes such files, or somebody who changes the manifest with them.
func TestWhatIsWrittenWrongIsFound(t *testing.T) {
	var e record.Encoder
	fresh := func() []record.Change {
		list := conversations(0, 4)
		for i := range list {
			c := &list[i]
			c.Object = &record.Object{Kind: c.Kind, ID: c.SourceID, Body: []byte(`{}`), FetchedAt: c.Version.FetchedAt}
			k := record.KnowledgeRow{Org: org, Key: "intercom:conversation:" + c.SourceID, Kind: record.KnowledgeParent, Content: "text", Metadata: []byte(`{}`), SourceID: c.SourceID}
			k.ID = record.KnowledgeID(org, k.Key, k.Kind, 0)
			k.Seal(&e)
			c.Knowledge = []record.KnowledgeRow{k}
			c.Transcript.KnowledgeHash = record.KnowledgeHash(&e, c.Knowledge)
		}
		return list
	}
	for _, tt := range []struct {
		name, file, want string
		change           func(list []record.Change)
		manifest         func(m *file.Manifest)
	}{
		{name: "nothing"},
		{name: "a value without its hash", file: "table=transcripts", want: "content_hash", change: func(l []record.Change) { l[1].Transcript.Subject = "another" }},
		{name: "a row of another organisation", file: "table=transcripts", want: "organisation", change: func(l []record.Change) { l[1].Transcript.Org[5]++ }},
		{name: "a row with another id", file: "table=transcripts", want: "its id is", change: func(l []record.Change) { l[1].Transcript.ID[5]++ }},
		{name: "knowledge that was changed", file: "table=knowledge", want: "content_hash", change: func(l []record.Change) { l[2].Knowledge[0].Content = "other" }},
		{name: "knowledge that is missing", file: "table=transcripts", want: "knowledge_hash", change: func(l []record.Change) { l[2].Knowledge = nil }},
		{name: "a page without a row", file: "pages/", want: "no row", change: func(l []record.Change) { l[3].Object.ID = "stranger" }},
		{name: "an older row than its page", file: "pages/", want: "no newer state", change: func(l []record.Change) { l[3].Object.FetchedAt = l[3].Version.FetchedAt.Add(1e9) }},
		{name: "a row without a page", file: "manifest/", want: "no page", change: func(l []record.Change) { l[3].Object = nil }},
		{name: "another count", file: "table=transcripts", want: "4 rows and should have 5", manifest: func(m *file.Manifest) { m.Files[1].Rows++ }},
		{name: "another last id", file: "table=transcripts", want: "should reach", manifest: func(m *file.Manifest) { m.Files[1].Last = "9" }},
		{name: "another fingerprint", file: "table=transcripts", want: "fingerprints", manifest: func(m *file.Manifest) { m.Files[1].Buckets[3] = strings.Repeat("0", 31) + "1" }},
		{name: "another schema than it says", file: "table=transcripts", want: "haloingest.schema", manifest: func(m *file.Manifest) { m.Schema = 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store, list := memory{}, fresh()
			if tt.change != nil {
				tt.change(list)
			}
			m := keep(t, store, newManifest(), "conversations", pipeline.Batch[record.Change]{Items: list})
			if tt.manifest != nil {
				tt.manifest(&m)
				putManifest(t, store, m)
			}
			got, err := verify(t, store, snapshot.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if len(got.Findings) > 0 {
					t.Fatal(got.Findings)
				}
				return
			}
			found := slices.ContainsFunc(got.Findings, func(f snapshot.Finding) bool {
				return strings.Contains(f.File, tt.file) && strings.Contains(f.What, tt.want)
			})
			if !found {
				t.Errorf("findings %v, want %q of %s", got.Findings, tt.want, tt.file)
			}
		})
	}
}

func TestWhatIsNoSnapshotOfOursIsNamed(t *testing.T) {
	ctx := t.Context()
	other := record.UUID{9}
	change := func(f func(*file.Manifest)) memory {
		store := small(t, 2)
		m := newManifest()
		for path, raw := range store {
			if strings.HasPrefix(path, "manifest/") {
				var err error
				if m, err = file.DecodeManifest(raw); err != nil {
					t.Fatal(err)
				}
			}
		}
		f(&m)
		putManifest(t, store, m)
		return store
	}
	for _, tt := range []struct {
		name  string
		store memory
		o     snapshot.Options
		want  any
		says  string
	}{
		{"an empty folder", memory{}, snapshot.Options{}, nil, "no snapshot in memory"},
		{"another organisation", small(t, 2), snapshot.Options{Org: other}, new(*snapshot.OrgError), "holds nothing of organisation " + other.String()},
		{"another run", small(t, 2), snapshot.Options{Run: "ffff"}, new(*snapshot.RunError), `has no run "ffff"`},
		{"a newer manifest", change(func(m *file.Manifest) { m.Version = 99 }), snapshot.Options{}, new(*snapshot.VersionError), "manifest version 99"},
		{"a newer schema", change(func(m *file.Manifest) { m.Schema = 99 }), snapshot.Options{}, new(*snapshot.VersionError), "schema version 99"},
		{"a newer digest", change(func(m *file.Manifest) { m.Digest = 99 }), snapshot.Options{}, new(*snapshot.VersionError), "digest version 99"},
		{"a missing file", change(func(m *file.Manifest) {
			m.Files[0].Path = strings.Replace(m.Files[0].Path, ".1.parquet", ".2.parquet", 1)
		}), snapshot.Options{}, new(*snapshot.CorruptError), "is missing"},
		{"another size", change(func(m *file.Manifest) { m.Files[0].Bytes++ }), snapshot.Options{}, new(*snapshot.CorruptError), "and should have"},
		{"a path out of the folder", change(func(m *file.Manifest) { m.Files[0].Path = "../../etc/passwd" }), snapshot.Options{}, new(*snapshot.CorruptError), "names a file"},
		{"a file of another run", change(func(m *file.Manifest) { m.Files[0].Stream = "contacts" }), snapshot.Options{}, new(*snapshot.CorruptError), "is not of its run"},
		{"a file twice", change(func(m *file.Manifest) { m.Files[1] = m.Files[0] }), snapshot.Options{}, new(*snapshot.CorruptError), "twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := snapshot.Open(ctx, tt.store, tt.o)
			switch {
			case err == nil || !strings.Contains(err.Error(), tt.says):
				t.Errorf("%v, want %q", err, tt.says)
			case tt.want == nil && !errors.Is(err, snapshot.ErrNoSnapshot), tt.want != nil && !errors.As(err, tt.want):
				t.Errorf("%T, want %T", err, tt.want)
			}
		})
	}
	// A snapshot of two organisations has to be asked for one.
	both := small(t, 2)
	m := newManifest()
	m.Org = other
	putManifest(t, both, m)
	if _, err := snapshot.Open(ctx, both, snapshot.Options{}); err == nil || !strings.Contains(err.Error(), "holds 2 organisations") {
		t.Errorf("two organisations: %v", err)
	}
	if s, err := snapshot.Open(ctx, both, snapshot.Options{Org: org}); err != nil || len(s.Runs) != 1 {
		t.Errorf("one of two organisations: %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	store := small(f, 1)
	for path, raw := range store {
		if strings.HasPrefix(path, "manifest/") {
			f.Add(raw)
		}
	}
	f.Add([]byte(`{"version":1,"files":[{"path":"a","rows":-1}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		store := memory{file.ManifestPath(org, run1): raw}
		s, err := snapshot.Open(t.Context(), store, snapshot.Options{})
		if err == nil && len(s.Runs[0].Files) > 0 {
			t.Error("files that are not there are not missed")
		}
	})
}

// forger makes snapshots of one damaged file whose SHA-256 is right.
type forger struct {
	m     file.Manifest
	files []file.FileInfo
	data  map[string][]byte
}

func newForger(t failer) forger {
	f := forger{data: small(t, 1)}
	for path, raw := range f.data {
		if strings.HasPrefix(path, "manifest/") {
			f.m, _ = file.DecodeManifest(raw)
		}
	}
	f.files = f.m.Files
	return f
}

// try reads data in place of a file with both libraries: neither may panic, hang, or fail with anything but that the file is corrupt.
func (f forger) try(t failer, info file.FileInfo, data []byte) {
	t.Helper()
	info.Bytes, info.SHA256 = int64(len(data)), sum(data)
	m := f.m
	m.Files = []file.FileInfo{info}
	store := memory{info.Path: data}
	putManifest(t, store, m)
	if _, err := verify(t, store, snapshot.Options{}); err != nil {
		t.Fatal(err)
	}
	var broken *snapshot.CorruptError
	if err := load(store); err != nil && !errors.As(err, &broken) {
		t.Fatal(err)
	}
}

func TestDamageThatAgreesWithItsHashIsContained(t *testing.T) {
	f := newForger(t)
	random := rand.New(rand.NewPCG(4, 4))
	for range 600 {
		info := f.files[random.IntN(len(f.files))]
		data := bytes.Clone(f.data[info.Path])
		for range 1 + random.IntN(4) {
			data[random.IntN(len(data))] ^= 1 << random.IntN(8)
		}
		f.try(t, info, data)
	}
}

func FuzzFile(fuzz *testing.F) {
	f := newForger(fuzz)
	for i, info := range f.files {
		fuzz.Add(i, f.data[info.Path])
	}
	fuzz.Fuzz(func(t *testing.T, i int, data []byte) {
		if i < 0 || i >= len(f.files) || tooLarge(data) {
			return
		}
		f.try(t, f.files[i], data)
	})
}
