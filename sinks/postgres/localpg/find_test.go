package localpg_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"haloingest/sinks/postgres/localpg"
)

// pretend makes a bin folder whose postgres says that it has the version.
func pretend(t *testing.T, dir, version string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho 'postgres (PostgreSQL) "+version+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	for _, test := range []struct {
		name   string
		set    func(t *testing.T, top string)
		want   []string // versions
		errors []string // parts of the text
	}{
		{"the newest comes first", func(t *testing.T, top string) {
			for _, v := range []string{"9.6.24", "14.18", "17.5 (Debian 17.5-1)", "16.9"} {
				major, _, _ := strings.Cut(v, ".")
				pretend(t, filepath.Join(top, major, "bin"), v)
			}
			t.Setenv(localpg.EnvSearch, filepath.Join(top, "*", "bin"))
		}, []string{"17.5", "16.9", "14.18"}, nil},
		{"an installed one comes before the private one", func(t *testing.T, top string) {
			pretend(t, filepath.Join(top, "cache", "18.3.0", "bin"), "18.3")
			t.Setenv(localpg.EnvSearch, pretend(t, filepath.Join(top, "usr"), "15.2"))
		}, []string{"15.2", "18.3"}, nil},
		{"one that is reached in two ways is listed once", func(t *testing.T, top string) {
			pretend(t, filepath.Join(top, "real"), "15.2")
			if err := os.Mkdir(filepath.Join(top, "links"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("../real/postgres", filepath.Join(top, "links", "postgres")); err != nil {
				t.Fatal(err)
			}
			t.Setenv(localpg.EnvSearch, filepath.Join(top, "links")+":"+filepath.Join(top, "real"))
		}, []string{"15.2"}, nil},
		{"a version being tested counts", func(t *testing.T, top string) {
			t.Setenv(localpg.EnvBin, pretend(t, filepath.Join(top, "b"), "19beta2"))
		}, []string{"19beta2"}, nil},
		{"the folder that the user names is the only one", func(t *testing.T, top string) {
			t.Setenv(localpg.EnvSearch, pretend(t, filepath.Join(top, "a"), "17.1"))
			t.Setenv(localpg.EnvBin, pretend(t, filepath.Join(top, "b"), "15.1"))
		}, []string{"15.1"}, nil},
		{"the folder that the user names has none", func(t *testing.T, top string) {
			t.Setenv(localpg.EnvBin, top)
		}, nil, []string{localpg.EnvBin, "no such file"}},
		{"there is none", func(t *testing.T, top string) {
			t.Setenv(localpg.EnvSearch, filepath.Join(top, "*"))
		}, nil, []string{"make deps", "--database-url", "install"}},
		{"there is only one that is too old", func(t *testing.T, top string) {
			t.Setenv(localpg.EnvSearch, pretend(t, filepath.Join(top, "a"), "13.21"))
		}, nil, []string{"13.21", "make deps"}},
		{"there is only one that does not run", func(t *testing.T, top string) {
			dir := pretend(t, filepath.Join(top, "a"), "15.1")
			if err := os.WriteFile(filepath.Join(dir, "postgres"), []byte("#!/bin/sh\necho cannot load libpq; exit 127\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv(localpg.EnvSearch, dir)
		}, nil, []string{"cannot load libpq", "make deps"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			top := t.TempDir()
			t.Setenv(localpg.EnvCache, filepath.Join(top, "cache"))
			t.Setenv(localpg.EnvBin, "")
			test.set(t, top)
			found, err := localpg.Find(context.Background())
			if (err != nil) != (test.errors != nil) || err != nil && !errors.Is(err, localpg.ErrNotFound) {
				t.Fatalf("got %v, %v", found, err)
			}
			for _, want := range test.errors {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %q", err)
			}
			var got []string
			for _, b := range found {
				got = append(got, b.Version)
			}
			if strings.Join(got, ",") != strings.Join(test.want, ",") {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestStartWithoutPostgreSQLSaysWhatToDo(t *testing.T) {
	t.Setenv(localpg.EnvBin, "")
	t.Setenv(localpg.EnvCache, t.TempDir())
	t.Setenv(localpg.EnvSearch, "")
	_, err := localpg.Start(context.Background(), localpg.Options{DataDir: t.TempDir()})
	if !errors.Is(err, localpg.ErrNotFound) || !strings.Contains(err.Error(), "make deps") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}
