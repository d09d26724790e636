package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/compare"
	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/postgres"
	"haloingest/sources/halo"
)

// mendResult is the JSON of `sync --from-diff`.
type mendResult struct {
	Diff   record.UUID `json:"diff"`
	Source string      `json:"source"` // of what was loaded
	ingest.Report
	Repairs int          `json:"repairs"`
	Mended  int          `json:"mended"`
	Open    []mendOpen   `json:"not_mended"`
	Check   *diff.Report `json:"check,omitempty"` // of the same objects afterwards
	after   []diff.Finding
	Code    int    `json:"exit_code"`
	Error   string `json:"error,omitempty"`
}

// mendOpen is an object that is still not as it should be.
type mendOpen struct {
	Entity   string `json:"entity"`
	SourceID string `json:"source_id"`
	Class    string `json:"class"`
	Why      string `json:"why"`
}

// mend does what mends the findings of a diff, and looks at them again.
func (a *app) mend(c *cli.Context, ws *workspace, id string) error {
	run, repairs, err := repairsOf(c.Context, ws, id)
	if err != nil {
		return err
	}
	if repairs.Len() == 0 {
		return a.result(mendResult{Diff: run.ID, Open: []mendOpen{}}, func(w io.Writer) {
			fmt.Fprintf(w, "Diff %s found nothing that needs mending.\n", run.ID)
		})
	}
	out := mendResult{Diff: run.ID, Repairs: repairs.Len(), Open: []mendOpen{}}
	again, done, err := a.mendFrom(c, ws, run, repairs, &out)
	if err != nil {
		return err
	}
	defer done()
	out.Report, err = carryOut(a, ws.log, again.job)
	if out.Report.Run.ID.IsZero() {
		return err
	}
	if err == nil {
		err = lookAgain(c.Context, ws, again.source, repairs, &out)
	}
	out.Code = exitCode(err)
	if err != nil {
		out.Error = errorLine(err)
	} else {
		out.Code = mendCode(&out)
	}
	return a.ended(out, out.Code, err, func(w io.Writer) { printMended(w, ws.org, run, repairs, &out, err) })
}

// mending is a repair that can begin, and the side with which the database is compared afterwards.
type mending struct {
	job    job[ingest.Report]
	source diff.Side
}

// mendFrom begins a repair from Intercom or, where it is not connected, from the snapshot that was compared.
func (a *app) mendFrom(c *cli.Context, ws *workspace, run postgres.DiffRun, repairs *compare.Repairs, out *mendResult) (m mending, done func(), err error) {
	conn, err := ws.connections.Get(c.Context, ws.org)
	if err != nil && !errors.Is(err, connection.ErrNotConnected) {
		return m, nil, err
	}
	for _, side := range []string{run.Left, run.Right} {
		if (err != nil || !conn.Connected) && strings.HasPrefix(side, sideSnapshot) {
			return a.mendFromSnapshot(c, ws, side, run.ID, repairs, out)
		}
	}
	return a.mendFromIntercom(c, ws, run.ID, repairs, out)
}

func (a *app) mendFromIntercom(c *cli.Context, ws *workspace, id record.UUID, repairs *compare.Repairs, out *mendResult) (m mending, done func(), err error) {
	runner, err := a.runner(c, ws)
	if err != nil {
		return m, nil, err
	}
	defer func() {
		if err != nil {
			runner.Client.Close()
		}
	}()
	access, err := runner.Client.Check(c.Context)
	if err != nil {
		return m, nil, err
	}
	if len(access.Missing) > 0 {
		// What it may not see would look as if it were gone.
		kind := access.Missing[0]
		return m, nil, fmt.Errorf("nothing was mended: the token may not read %s, and what it may not see looks deleted: %w", kind.Stream(), access.Reasons[kind])
	}
	o, err := a.liveOptions(c, ws, runner)
	if err != nil {
		return m, nil, err
	}
	out.Source = sideIntercom
	live := compare.NewLive(o)
	done = func() {
		_ = live.Close() // a temporary file
		runner.Client.Close()
	}
	m.source = live
	m.job, err = runner.Start(c.Context, ingest.Request{Kind: ingest.KindRepair, Repair: &ingest.Repair{
		Diff: id, Strays: repairs.Strays, StrayKnowledge: repairs.StrayKnowledge,
		IDs: func(_ context.Context, kind record.Kind) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				for _, id := range repairs.IDs(kind) {
					if !yield(id, nil) {
						return
					}
				}
			}
		},
	}})
	return m, done, err
}

func (a *app) mendFromSnapshot(c *cli.Context, ws *workspace, name string, id record.UUID, repairs *compare.Repairs, out *mendResult) (m mending, done func(), err error) {
	s := &sides{}
	opened, err := s.openSnapshot(a, c, ws, diffRequest{level: diff.LevelFull}, name)
	done = func() {
		if err := s.close(); err != nil {
			ws.log.Warn("close the snapshot", "error", err)
		}
	}
	if err != nil {
		done()
		return m, nil, err
	}
	side, ok := opened.(*compare.Snapshot)
	if !ok {
		done()
		return m, nil, fmt.Errorf("open %s: it is no snapshot", name)
	}
	out.Source, m.source = name, side
	if m.job, err = compare.StartSnapshotMend(c.Context, ws.DB, ws.org, holder(c), side, id, repairs); err != nil {
		done()
		return m, nil, err
	}
	return m, done, nil
}

// repairsOf reads a diff and what mends its findings.
func repairsOf(ctx context.Context, ws *workspace, id string) (postgres.DiffRun, *compare.Repairs, error) {
	run, err := ws.DiffRun(ctx, ws.org, id)
	if errors.Is(err, postgres.ErrNotFound) {
		err = usagef("--from-diff: %w; a diff prints its id", err)
	}
	if err != nil {
		return run, nil, err
	}
	databaseLeft, ok := compare.Mendable(run.Left, run.Right)
	switch {
	case !ok:
		return run, nil, usagef("--from-diff: diff %s compares %s with %s; only what is found in postgres can be mended", run.ID, run.Left, run.Right)
	case run.Level == string(diff.LevelCount):
		return run, nil, usagef("--from-diff: diff %s has compared totals only and names no objects; make one of level fast or full", run.ID)
	}
	repairs := &compare.Repairs{DatabaseLeft: databaseLeft}
	for x, err := range ws.DiffFindings(ctx, ws.org, run.ID, postgres.DiffFilter{}) {
		if err != nil {
			return run, nil, err
		}
		var f diff.Finding
		if err := json.Unmarshal(x.Finding, &f); err != nil {
			return run, nil, fmt.Errorf("read what diff %s has found of %s %s: %w", run.ID, x.Entity, x.SourceID, err)
		}
		repairs.Add(f)
	}
	if repairs.Len() == 0 && run.Verdict == string(diff.VerdictDifferent) {
		return run, nil, usagef("--from-diff: the findings of diff %s are not kept any more; compare anew", run.ID)
	}
	return run, repairs, nil
}

// lookAgain compares the objects that were mended once more, by reading them from both sides.
func lookAgain(ctx context.Context, ws *workspace, source diff.Side, repairs *compare.Repairs, out *mendResult) error {
	database, err := halo.Open(ctx, ws.Pool(), ws.org)
	if err != nil {
		return err
	}
	defer database.Close(ctx)
	keys := repairs.Keys()
	r, err := diff.Compare(ctx, compare.Keys{Side: source, IDs: keys}, compare.Keys{Side: database, IDs: keys}, diff.Options{
		Org: ws.org, Log: ws.log,
		Findings: diff.FindingsFunc(func(_ context.Context, f diff.Finding, _, _ *diff.Object) error {
			out.after = append(out.after, f)
			return nil
		}),
	})
	if err != nil {
		return fmt.Errorf("look at what was mended again: %w", err)
	}
	out.Check = &r
	open := map[[2]string]bool{}
	for _, f := range out.after {
		if f.Class == diff.Rejected || f.Class == diff.Excluded || f.Converged {
			continue
		}
		why, _ := compare.RepairOf(f, false)
		switch {
		case f.Class == diff.InFlight:
			why.Why = f.Cause
		case f.Class == diff.Extra && !source.Moves():
			why.Why += "; only Intercom can say whether it is gone"
		}
		if key := [2]string{f.Entity, f.SourceID}; !open[key] {
			open[key] = true
			out.Open = append(out.Open, mendOpen{f.Entity, f.SourceID, string(f.Class), why.Why})
		}
	}
	out.Mended = max(repairs.Len()-len(out.Open), 0)
	return nil
}

func mendCode(out *mendResult) int {
	if out.Check != nil && len(out.Open) > 0 {
		return exitDiffers
	}
	return runCode(out.Report, nil)
}

func readFrom(out *mendResult) string {
	if out.Source == sideIntercom {
		return "Read anew from intercom"
	}
	return "Intercom is not connected; the rows are those of " + out.Source
}

func printMended(w io.Writer, org record.UUID, run postgres.DiffRun, repairs *compare.Repairs, out *mendResult, err error) {
	fmt.Fprintf(w, "Diff %s of %s with %s: %s.\n%s.\n\n", run.ID, run.Left, run.Right, repairs.Summary(), readFrom(out))
	printLoaded(w, out.Report.Run.Counts)
	fmt.Fprintln(w)
	if err != nil {
		fmt.Fprintln(w, "Not finished; what was loaded is committed. The same command goes on from there.")
		return
	}
	fmt.Fprintf(w, "Looked at again: %s mended, %s not.\n", count(out.Mended), count(len(out.Open)))
	for i, x := range out.Open {
		if i == mostUnmapped {
			fmt.Fprintf(w, "  and %s more; see --json\n", count(len(out.Open)-i))
			break
		}
		fmt.Fprintf(w, "  %s %s: %s\n", x.Entity, x.SourceID, x.Why)
	}
	if tally(out.Report.Run.Counts).rejected > 0 {
		fmt.Fprintf(w, "Rejected and kept, to be tried again: haloingest rejects ls --org %s\n", org)
	}
	if len(out.Open) == 0 {
		fmt.Fprintf(w, "To be sure of all the others: haloingest diff %s %s --org %s\n", run.Left, run.Right, org)
	}
}
