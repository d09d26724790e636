package parquet_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
)

var update = flag.Bool("update", false, "write the golden files anew")

func tiny() parquet.Manifest {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	return parquet.Manifest{
		Program: "haloingest test", Org: org, Run: run, Kind: "backfill", StartedAt: at, FinishedAt: at.Add(time.Hour), Complete: true, SyncedTo: at,
		Mapping:   map[string]string{parquet.MappingUserIDField: "external_id", parquet.MappingCompanyIDField: "company_id"},
		Reference: &record.Reference{Teams: map[string]string{"1": "Support"}},
	}
}

// The golden file shows what a snapshot looks like: its files, their columns and its manifest. A change of it is a change of the format, of which
// there are snapshots in the world: SchemaVersion and ManifestVersion say so.
func TestATinySnapshotLooksAsItAlwaysDid(t *testing.T) {
	dir, err := parquet.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	to := parquet.Target{Store: dir, Org: org, Run: run, Attempt: 1}
	objects, changes := sample()
	m := tiny()
	objects.Items, changes.Items, changes.Rejects = nil, changes.Items[:0:0], []pipeline.Reject{{Stage: "extract", Kind: "ticket", ID: "9", Reason: "no id", Payload: []byte("{}")}}
	at := m.StartedAt
	for i, kind := range record.Kinds {
		id := fmt.Sprint(i + 1)
		objects.Items = append(objects.Items, record.Object{Kind: kind, ID: id, Body: []byte(`{"id":"` + id + `"}`), FetchedAt: at, Request: "GET /x", APIVersion: "2.16"})
		head := record.Head{Org: org, ID: record.RowID(org, kind, id), SourceID: id, SourceUpdatedAt: at, Hash: record.Digest{byte(i + 1)}}
		c := record.Change{Kind: kind, SourceID: id, Version: record.Version{UpdatedAt: at, FetchedAt: at}}
		switch kind {
		case record.KindCompany:
			c.Company = &record.CompanyRow{Head: head, CustomFields: []byte("{}"), Context: []byte("{}")}
		case record.KindContact:
			c.EndUser = &record.EndUserRow{Head: head, CustomFields: []byte("{}"), Context: []byte("{}"), Companies: []string{"1"}}
		case record.KindConversation:
			c.Transcript = &record.TranscriptRow{Head: head, Metadata: []byte("{}"), MessagesJSON: []byte("[]")}
			c.Knowledge = []record.KnowledgeRow{{Org: org, SourceID: id, Key: "k", Kind: record.KnowledgeFact, Content: "c", Metadata: []byte("{}"), SourceMessageIDs: []string{"1"}}}
		case record.KindTicket:
			c.Ticket = &record.TicketRow{Head: head, Metadata: []byte("{}"), MessagesJSON: []byte("[]")}
		}
		changes.Items = append(changes.Items, c)
	}
	changes.Items = append(changes.Items, record.Change{Kind: record.KindContact, SourceID: "7", Version: record.Version{UpdatedAt: at, FetchedAt: at}, Gone: &record.Tombstone{Why: record.GoneMerged, MergedInto: "2"}})
	pages, err := parquet.NewPages(to, "all", 17).Write(noTimeout, objects)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.NewRows(to, "all", 17).Write(noTimeout, changes)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, f := range append(pages, rows...) {
		_, schema, _ := arrowRead(t, content(t, dir, f.Path))
		fmt.Fprintln(&out, f.Path)
		for _, field := range schema.Fields() {
			nullable := ""
			if field.Nullable {
				nullable = " NULL"
			}
			fmt.Fprintf(&out, "  %s %s%s\n", field.Name, field.Type, nullable)
		}
		info := f.Meta.(parquet.FileInfo)
		info.Bytes, info.SHA256 = 0, "" // they depend on the compressor's version
		m.Files = append(m.Files, info)
	}
	if err := parquet.WriteManifest(noTimeout, dir, nil, m); err != nil {
		t.Fatal(err)
	}
	raw := content(t, dir, parquet.ManifestPath(org, run))
	fmt.Fprintf(&out, "%s\n%s", parquet.ManifestPath(org, run), strings.ReplaceAll(string(raw), `},{`, "},\n{"))
	golden := filepath.Join("testdata", "snapshot.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("run go test -update if this is meant (-golden +got):\n%s", diff)
	}
}

func TestAManifestIsReadAsItWasWrittenOrNotAtAll(t *testing.T) {
	dir, err := parquet.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := tiny()
	m.Files = []parquet.FileInfo{{Path: "p", Layer: "rows", Stream: "s", Table: "t", Seq: 3, Rows: 4, Bytes: 5, SHA256: "6", First: "7", Last: "8", Buckets: []string{"9"}, Key: []byte{1, 2}}}
	if err := parquet.WriteManifest(noTimeout, dir, nil, m); err != nil {
		t.Fatal(err)
	}
	raw := content(t, dir, parquet.ManifestPath(org, run))
	got, err := parquet.DecodeManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	m.Version, m.Schema, m.Digest, m.Sum = 1, parquet.SchemaVersion, record.DigestVersion, got.Sum
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("manifest (-written +read):\n%s", diff)
	}
	rapid.Check(t, func(t *rapid.T) {
		bad := slices.Clone(raw)
		i := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
		if rapid.Bool().Draw(t, "cut") {
			bad = bad[:i]
		} else {
			bad[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		}
		if m, err := parquet.DecodeManifest(bad); !errors.Is(err, parquet.ErrManifest) {
			t.Errorf("changed at byte %d: %+v, %v", i, m, err)
		}
	})
}

func TestSweepTakesWhatEarlierAttemptsOfTheRunHaveLeftAndNothingElse(t *testing.T) {
	dir, err := parquet.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	name := func(n parquet.Name) string {
		n.Layer, n.Table, n.Stream = "rows", "tickets", "tickets"
		if n.Org == (record.UUID{}) {
			n.Org = org
		}
		if n.Run == (record.UUID{}) {
			n.Run = run
		}
		return n.Path()
	}
	unfinished := func(path string) string {
		return filepath.ToSlash(filepath.Join(filepath.Dir(path), ".unfinished-"+filepath.Base(path)+"-123"))
	}
	committed := []string{name(parquet.Name{Seq: 1, Attempt: 1}), name(parquet.Name{Seq: 2, Attempt: 2, Encrypted: true})}
	left := []string{
		name(parquet.Name{Seq: 2, Attempt: 1}), name(parquet.Name{Seq: 3, Attempt: 2}), name(parquet.Name{Seq: 3, Attempt: 2, Encrypted: true}),
		unfinished(name(parquet.Name{Seq: 4, Attempt: 2})), unfinished(parquet.ManifestPath(org, run)),
		strings.Replace(name(parquet.Name{Seq: 9, Attempt: 1}), "rows/", "pages/", 1),
	}
	others := []string{
		name(parquet.Name{Seq: 3, Attempt: 3}),                                    // this attempt's
		name(parquet.Name{Seq: 3, Attempt: 4}),                                    // of a runner that took over
		name(parquet.Name{Seq: 3, Attempt: 1, Run: record.UUID{9}}),               // another run's
		name(parquet.Name{Seq: 3, Attempt: 1, Org: record.UUID{9}}),               // another organisation's
		unfinished(name(parquet.Name{Seq: 3, Attempt: 1, Run: record.UUID{9}})),   // another run's
		unfinished(parquet.ManifestPath(org, record.UUID{9})),                     // another run's
		parquet.ManifestPath(org, run), parquet.ManifestPath(org, record.UUID{9}), // manifests
		parquet.Folder("rows", org, run) + "table=tickets/notes.txt",           // whoever put it there
		parquet.Folder("rows", org, run) + "table=tickets/tickets.3.1.parquet", // no name of ours
		"readme.txt",
	}
	for _, path := range slices.Concat(committed, left, others) {
		// Put leaves no unfinished files, so these are written by hand.
		target := filepath.Join(dir.Location(), filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, []byte(path), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	named := func(context.Context) (map[string]bool, error) {
		m := map[string]bool{}
		for _, path := range committed {
			m[path] = true
		}
		return m, nil
	}
	to := parquet.Target{Store: dir, Org: org, Run: run, Attempt: 3}
	gone := errors.New("the database is gone")
	if n, err := parquet.Sweep(noTimeout, to, func(context.Context) (map[string]bool, error) { return nil, gone }); n != 0 || !errors.Is(err, gone) {
		t.Errorf("without the database: %d, %v", n, err)
	}
	n, err := parquet.Sweep(noTimeout, to, named)
	if err != nil || n != len(left) {
		t.Errorf("swept %d, %v; want %d", n, err, len(left))
	}
	list, err := dir.List(noTimeout, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Path)
	}
	want := slices.Sorted(slices.Values(slices.Concat(committed, others)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add(parquet.Name{Layer: "rows", Org: org, Run: run, Table: "tickets", Stream: "deleted-conversations", Seq: 1234567, Attempt: 12}.Path())
	f.Add(parquet.Name{Layer: "pages", Org: org, Run: run, Table: "x", Stream: "y", Encrypted: true}.Path())
	f.Add("rows/org=/run=/table=/...parquet")
	f.Add("a/b/c/d/e.parquet.enc.parquet")
	f.Fuzz(func(t *testing.T, path string) {
		n, ok := parquet.ParsePath(path)
		if ok && n.Path() != path {
			t.Errorf("%q is read as %+v, whose path is %q", path, n, n.Path())
		}
	})
}

func TestEveryPathIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := parquet.Name{
			Layer: rapid.SampledFrom([]string{"pages", "rows"}).Draw(t, "layer"), Org: record.UUID(digests.Draw(t, "org")), Run: record.UUID(digests.Draw(t, "run")),
			Table: rapid.StringMatching(`[a-z_]+`).Draw(t, "table"), Stream: rapid.StringMatching(`[a-z-]+`).Draw(t, "stream"),
			Seq: rapid.Int64Range(0, 1<<62).Draw(t, "seq"), Attempt: rapid.IntRange(1, 1<<30).Draw(t, "attempt"), Encrypted: rapid.Bool().Draw(t, "encrypted"),
		}
		if got, ok := parquet.ParsePath(n.Path()); !ok || got != n {
			t.Errorf("%s is read as %+v, %v", n.Path(), got, ok)
		}
	})
}

func TestTheManifestOfAnEncryptedSnapshotShowsNoNames(t *testing.T) {
	store := newMemory()
	keys := map[string][]byte{}
	seal := func(path string, key []byte) ([]byte, error) {
		keys[path] = bytes.Clone(key)
		return []byte("sealed"), nil
	}
	m := tiny()
	m.Reference.Workspace.Name = "planted-workspace"
	m.Reference.Admins = map[string]record.Admin{"7": {Name: "planted-name", Email: "planted@example.com"}}
	names := *m.Reference
	if err := parquet.WriteManifest(noTimeout, store, seal, m); err != nil {
		t.Fatal(err)
	}
	path := parquet.ManifestPath(org, run)
	first := bytes.Clone(store.files[path])
	if bytes.Contains(first, []byte("planted")) || bytes.Contains(first, []byte("Support")) {
		t.Errorf("it shows names:\n%s", first)
	}
	if m.Reference == nil || m.Reference.Workspace.Name != names.Workspace.Name {
		t.Error("the caller's manifest has lost its names")
	}
	got, err := parquet.DecodeManifest(first)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != 2 || got.Reference != nil || string(got.Sealed.Key) != "sealed" {
		t.Errorf("version %d, reference %v, sealed %v", got.Version, got.Reference, got.Sealed)
	}
	opened, err := got.Sealed.Open(path, keys[path])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&names, opened); diff != "" {
		t.Errorf("names (-written +read):\n%s", diff)
	}
	if _, err := got.Sealed.Open(path+"x", keys[path]); !errors.Is(err, parquet.ErrDecrypt) {
		t.Errorf("in another place: %v", err)
	}
	before := keys[path]
	if err := parquet.WriteManifest(noTimeout, store, seal, m); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(before, keys[path]) {
		t.Error("a key is used twice")
	}
	if _, err := got.Sealed.Open(path, keys[path]); !errors.Is(err, parquet.ErrDecrypt) {
		t.Errorf("with another key: %v", err)
	}
	m.Reference = nil // a run that has not read them yet
	if err := parquet.WriteManifest(noTimeout, store, seal, m); err != nil {
		t.Fatal(err)
	}
	if got, err := parquet.DecodeManifest(store.files[path]); err != nil || got.Version != 1 || got.Sealed != nil {
		t.Errorf("without names: %+v, %v", got, err)
	}
}

func TestAnEncryptedFileOpensWithItsKeyInItsPlaceOnly(t *testing.T) {
	store := newMemory()
	keys := map[string][]byte{}
	to := parquet.Target{Store: store, Org: org, Run: run, Attempt: 1, Seal: func(path string, key []byte) ([]byte, error) {
		keys[path] = bytes.Clone(key)
		return append([]byte("sealed "), key[:1]...), nil
	}}
	objects, changes := sample()
	secret := []byte("planted-in-a-body")
	objects.Items[0].Body = secret
	files, err := parquet.NewPages(to, "x", 0).Write(noTimeout, objects)
	if err != nil {
		t.Fatal(err)
	}
	more, err := parquet.NewRows(to, "x", 0).Write(noTimeout, changes)
	if err != nil {
		t.Fatal(err)
	}
	to.Store, to.Seal = newMemory(), nil
	plain, err := parquet.NewPages(to, "x", 0).Write(noTimeout, objects)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, f := range append(files, more...) {
		info := f.Meta.(parquet.FileInfo)
		data := store.files[f.Path]
		if !strings.HasSuffix(f.Path, ".parquet.enc") || string(info.Key[:7]) != "sealed " || seen[string(keys[f.Path])] || int64(len(data)) != info.Bytes {
			t.Errorf("%s is described by %+v", f.Path, info)
		}
		seen[string(keys[f.Path])] = true
		if bytes.Contains(data, secret) || bytes.Contains(data, []byte("source_id")) || bytes.Contains(data, []byte("PAR1")) {
			t.Errorf("%s shows what is in it", f.Path)
		}
		opened, err := parquet.Decrypt(data, keys[f.Path], f.Path)
		if err != nil {
			t.Fatal(err)
		}
		arrowRead(t, opened)
		if i < len(plain) && !bytes.Equal(opened, to.Store.(*kept).files[plain[i].Path]) {
			t.Errorf("%s is not what it would be without encryption", f.Path)
		}
		if _, err := parquet.Decrypt(data, keys[f.Path], f.Path+"x"); !errors.Is(err, parquet.ErrDecrypt) {
			t.Errorf("in another place: %v", err)
		}
		if _, err := parquet.Decrypt(data, make([]byte, parquet.KeySize), f.Path); !errors.Is(err, parquet.ErrDecrypt) {
			t.Errorf("with another key: %v", err)
		}
		rapid.Check(t, func(t *rapid.T) {
			bad := bytes.Clone(data)
			at := rapid.IntRange(0, len(bad)-1).Draw(t, "at")
			if rapid.Bool().Draw(t, "cut") {
				bad = bad[:at]
			} else {
				bad[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
			}
			if _, err := parquet.Decrypt(bad, keys[f.Path], f.Path); !errors.Is(err, parquet.ErrDecrypt) {
				t.Errorf("changed at byte %d: %v", at, err)
			}
		})
	}
}
