package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sources/snapshot"
)

// verifyResult is the JSON of snapshot verify.
type verifyResult struct {
	Snapshot string `json:"snapshot"`
	snapshot.Verification
	Whole    bool `json:"whole"` // nothing was found, and every run is complete or made good by a later one
	ExitCode int  `json:"exit_code"`
}

func (a *app) verifySnapshot(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	o, err := a.snapshotOptions(c, cfg)
	if err != nil {
		return err
	}
	store, err := openStore(c)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // it was only read
	work := &verifying{Verifier: snapshot.Verifier{Workers: runtime.GOMAXPROCS(0)}, began: time.Now()}
	stop := a.showProgress(a.logger(cfg), work)
	found, err := work.Verify(c.Context, store, o)
	stop()
	if err != nil {
		if c.Context.Err() != nil {
			return context.Cause(c.Context)
		}
		return err
	}
	out := verifyResult{Snapshot: store.Location(), Verification: found, Whole: len(found.Findings)+len(found.Incomplete) == 0}
	switch {
	case len(found.Findings) > 0:
		out.ExitCode = exitInvariant
	case !out.Whole:
		out.ExitCode = exitIncomplete
	}
	if err := a.result(out, func(w io.Writer) { printVerification(w, out) }); err != nil {
		return err
	}
	if len(found.Findings) > 0 {
		return &exitError{exitInvariant, fmt.Errorf("snapshot %s is corrupt: %s %s%s", out.Snapshot, found.Findings[0].File, found.Findings[0].What, more(len(found.Findings)-1))}
	}
	return quiet(out.ExitCode)
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", and %s more", plural(n, "finding"))
}

func printVerification(w io.Writer, r verifyResult) {
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%s %s\n", f.File, f.What)
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
	}
	verdict := "The snapshot is whole"
	switch {
	case len(r.Findings) > 0:
		verdict = "The snapshot is corrupt"
	case !r.Whole:
		verdict = "The snapshot is incomplete, and what there is of it is as it was written"
	}
	fmt.Fprintf(w, "%s: %s, %s, %s rows, %s read; %s.\n", verdict, plural(r.Runs, "run"), plural(r.Files, "file"), count(r.Rows), size(r.Bytes), plural(len(r.Findings), "finding"))
	for _, x := range r.Incomplete {
		fmt.Fprintf(w, "\nIncomplete: the %s %s of %s had not ended when its manifest was written last; what it had not read by then is not in the snapshot. "+
			"The same command with --snapshot goes on with it.\n", x.Kind, x.Run, moment(x.StartedAt, "an unknown time"))
	}
	if n := len(r.Garbage); n > 0 {
		fmt.Fprintf(w, "\nNo part of it, and harmless (%s; the run that left them removes them when it goes on):\n", plural(n, "file"))
		for _, path := range r.Garbage {
			fmt.Fprintf(w, "  %s\n", path)
		}
	}
}

// verifying shows how many bytes are checked.
type verifying struct {
	snapshot.Verifier
	began time.Time
}

// Progress may be called at any time from any goroutine.
func (v *verifying) Progress() ingest.Progress {
	elapsed := time.Since(v.began)
	return ingest.Progress{Elapsed: elapsed, Streams: []ingest.StreamProgress{{
		Stream: "bytes", State: ingest.StreamRunning, Read: v.Done.Load(), Done: v.Done.Load(), Total: v.Total.Load(), Elapsed: elapsed,
	}}}
}

func (a *app) exportSnapshot(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	layer, table, format := c.String("layer"), c.String("table"), c.String("format")
	tables, ok := snapshot.Tables[layer]
	switch {
	case !ok:
		return usagef("--layer %q: want rows or pages", layer)
	case table == "":
		return usagef("--table is missing: one of %s", strings.Join(tables, ", "))
	case !slices.Contains(tables, table):
		return usagef("--table %q: layer %s has %s", table, layer, strings.Join(tables, ", "))
	case !slices.Contains(snapshot.Formats, format):
		return usagef("--format %q: want %s", format, strings.Join(snapshot.Formats, ", "))
	}
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	snap, done, err := a.openSnapshot(c, cfg, layer)
	if err != nil {
		return err
	}
	defer done()
	a.printed = true // what is on stdout is no result in JSON
	out := bufio.NewWriterSize(a.stdout, 256<<10)
	err = snap.Export(c.Context, out, layer, table, format)
	if err == nil {
		err = out.Flush()
	}
	switch {
	case c.Context.Err() != nil:
		return context.Cause(c.Context)
	case a.unwritten():
		return nil // which exit reports; a closed pipe has ended the process without a word already
	}
	return err
}
