package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"haloingest/sinks/diff/report/browsertest"
)

// finder finds a browser in a folder only.
func finder(dir string) func() (string, error) {
	return func() (string, error) {
		path := filepath.Join(dir, "chromium")
		if _, err := os.Stat(path); err != nil {
			return "", browsertest.ErrNotFound
		}
		return path, nil
	}
}

func TestWaysAreTriedInTurnUntilThereIsABrowser(t *testing.T) {
	t.Setenv(browsertest.EnvBrowser, "")
	bin := t.TempDir()
	var done []string
	try := func(name string, do func() error) way {
		return way{name, func(context.Context, io.Writer) error { done = append(done, name); return do() }}
	}
	ways := []way{
		try("refuses", func() error { return errors.New("no rights") }),
		try("pretends", func() error { return nil }),
		try("works", func() error { return os.WriteFile(filepath.Join(bin, "chromium"), []byte("#!/bin/sh\n"), 0o700) }),
		try("is not needed", func() error { return nil }),
	}
	var out bytes.Buffer
	if err := install(t.Context(), &out, finder(bin), ways); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(done, ", "); got != "refuses, pretends, works" {
		t.Errorf("tried %s", got)
	}
	for _, want := range []string{"No browser here yet: refuses\nThat did not work: no rights\n", "Browser " + filepath.Join(bin, "chromium")} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}

func TestWhatWasTriedIsSaid(t *testing.T) {
	t.Setenv(browsertest.EnvBrowser, "")
	none := finder(t.TempDir())
	err := install(t.Context(), io.Discard, none, []way{{"one way", func(context.Context, io.Writer) error { return errors.New("it rained") }}})
	if err == nil || !strings.Contains(err.Error(), "one way: it rained") {
		t.Errorf("error %v", err)
	}
	if err := install(t.Context(), io.Discard, none, nil); err == nil || !strings.Contains(err.Error(), "neither apt-get nor brew") {
		t.Errorf("error %v", err)
	}
}

func TestABrowserThatIsNamedIsNotReplaced(t *testing.T) {
	t.Setenv(browsertest.EnvBrowser, filepath.Join(t.TempDir(), "nowhere"))
	other := way{"installing", func(context.Context, io.Writer) error { t.Error("it installs another"); return nil }}
	if err := install(t.Context(), io.Discard, browsertest.Find, []way{other}); !errors.Is(err, browsertest.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}
