package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"haloingest/sinks/postgres/localpg"
)

func TestInstall(t *testing.T) {
	cache := ""
	works := func(name string) way {
		return way{name, func(context.Context, io.Writer) error {
			dir := filepath.Join(cache, "1", "bin")
			script := []byte("#!/bin/sh\necho 'postgres (PostgreSQL) 16.9'\n")
			return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "postgres"), script, 0o755),
				os.WriteFile(filepath.Join(dir, "initdb"), script, 0o755))
		}}
	}
	fails := func(name string) way {
		return way{name, func(context.Context, io.Writer) error { return errors.New("no such host") }}
	}
	inVain := func(name string) way { return way{name, func(context.Context, io.Writer) error { return nil }} }
	for _, test := range []struct {
		name      string
		ways      []way
		installed bool
		said      []string
		unsaid    string
	}{
		{"the first way that works is the last one tried", []way{works("ONE"), works("TWO")}, true, []string{"ONE", "PostgreSQL 16.9 in"}, "TWO"},
		{"a way that fails is followed by the next", []way{fails("ONE"), inVain("TWO"), works("THREE")}, true, []string{"ONE", "no such host", "TWO", "THREE"}, "FOUR"},
		{"when none works each one's reason is told", []way{fails("ONE"), inVain("TWO")}, false, []string{"ONE: no such host", "TWO: done, but"}, "PostgreSQL 16.9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cache = t.TempDir()
			t.Setenv(localpg.EnvBin, "")
			t.Setenv(localpg.EnvSearch, "")
			t.Setenv(localpg.EnvCache, cache)
			var out strings.Builder
			err := install(context.Background(), &out, test.ways)
			if (err == nil) != test.installed {
				t.Fatalf("got %v", err)
			}
			text := out.String()
			if err != nil {
				text += err.Error()
			}
			for _, want := range test.said {
				if !strings.Contains(text, want) {
					t.Errorf("it does not say %q: %s", want, text)
				}
			}
			if strings.Contains(text, test.unsaid) {
				t.Errorf("it says %q: %s", test.unsaid, text)
			}
			if !test.installed {
				return
			}
			out.Reset()
			if err := install(context.Background(), &out, []way{fails("AGAIN")}); err != nil || strings.Contains(out.String(), "AGAIN") {
				t.Errorf("the second time: %v, %s", err, out.String())
			}
		})
	}
}
