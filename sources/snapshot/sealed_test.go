package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

func TestTheNamesOfAnEncryptedSnapshotOpenWithItsKeyOnly(t *testing.T) {
	store, keys := memory{}, map[string][]byte{}
	m := newManifest()
	m.Reference = &record.Reference{Workspace: record.Workspace{ID: "w1", Name: "Work"}, Teams: map[string]string{"1": "Support"}}
	err := file.WriteManifest(context.Background(), store, func(path string, key []byte) ([]byte, error) {
		keys[path] = bytes.Clone(key)
		return []byte(path), nil
	}, m)
	if err != nil {
		t.Fatal(err)
	}
	lost := errors.New("the key is lost")
	for name, tt := range map[string]struct {
		unseal func(string, []byte) ([]byte, error)
		want   error // nil: they open
	}{
		"the key":     {func(path string, sealed []byte) ([]byte, error) { return keys[string(sealed)], nil }, nil},
		"no keys":     {nil, snapshot.ErrSealed},
		"a lost key":  {func(string, []byte) ([]byte, error) { return nil, lost }, lost},
		"another key": {func(string, []byte) ([]byte, error) { return make([]byte, file.KeySize), nil }, file.ErrDecrypt},
	} {
		o := snapshot.Options{Unseal: tt.unseal}
		s := open(t, store, o) // which needs no key: so a list of runs does not
		got, err := s.Runs[0].Reference()
		if !errors.Is(err, tt.want) || tt.want != nil && got != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if tt.want == nil {
			if diff := cmp.Diff(m.Reference, got); diff != "" {
				t.Errorf("%s (-written +read):\n%s", name, diff)
			}
		}
		found, err := verify(t, store, o)
		switch {
		case tt.want == file.ErrDecrypt:
			if err != nil || len(found.Findings) != 1 || !strings.Contains(found.Findings[0].What, "names that cannot be decrypted") {
				t.Errorf("%s: verify found %+v, %v", name, found.Findings, err)
			}
		case !errors.Is(err, tt.want) || len(found.Findings) > 0:
			t.Errorf("%s: verify found %+v, %v", name, found.Findings, err)
		}
	}
}

// Manifests of version 1, of before names were sealed, show them.
func TestTheNamesOfAnOlderManifestAreRead(t *testing.T) {
	store := memory{}
	m := newManifest()
	m.Version, m.Reference = 1, &record.Reference{Workspace: record.Workspace{ID: "w1"}}
	m.Files = []file.FileInfo{}
	putManifest(t, store, m)
	got, err := open(t, store, snapshot.Options{}).Runs[0].Reference()
	if err != nil || got == nil || got.Workspace.ID != "w1" {
		t.Errorf("%+v, %v", got, err)
	}
}
