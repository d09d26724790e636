package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/compare"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report"
)

func (a *app) diff() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "compare two of the live workspace, the database and a snapshot, object by object and column by column",
		ArgsUsage: "LEFT RIGHT",
		Description: `LEFT and RIGHT are intercom, postgres or snapshot:LOCATION. What is to be proved stands left:

   haloingest diff intercom postgres --org ID

Level full reads everything and compares every mapped column. Level fast compares the hashes that were stored when rows were
loaded, and of conversations version and number of messages as a listing tells them: it finds what was not loaded, not
what was changed in the tables afterwards. Level count compares totals.

Neither side is written to. The result is kept in the schema ingest, without values.

Exit codes: 0 everything verified and equal; 1 something differs; 3 no difference, but not everything could be verified;
4 the totals do not add up; 130 interrupted, the report holds what was compared.`,
		Flags: concat([]cli.Flag{
			orgFlag(),
			&cli.StringFlag{Name: "level", Usage: "compare as much as `LEVEL` says: count, fast or full", Value: string(diff.LevelFull)},
			&cli.StringFlag{Name: "only", Usage: "compare only these `STREAMS`: contacts,companies,conversations,tickets"},
			&cli.StringFlag{Name: "format", Usage: "print the report as `FORMAT` text, json or html", Value: "text"},
			&cli.StringFlag{Name: "report", Usage: "write the report in all formats, with every finding, into the folder `DIR`"},
			&cli.BoolFlag{Name: "show-values", Usage: "show values that differ; without it their length and a keyed hash"},
			&cli.StringFlag{Name: "emit-repair", Usage: "write what would mend the database to `FILE`, one JSON object per line"},
		}, keepFlags(), modelFlags(), apiFlags(), storeFlags(), outputFlags()),
		Action: a.compareSides,
	}
}

// diffRequest is a diff as it was asked for.
type diffRequest struct {
	left, right string // intercom, postgres, snapshot:LOCATION
	level       diff.Level
	only        []string
	format      string
	dir         string // of the report
	repair      string // file
	snapshot    string // location
	show        bool
}

const (
	sideIntercom = "intercom"
	sidePostgres = "postgres"
	sideSnapshot = "snapshot:"
)

func (a *app) diffRequest(c *cli.Context) (r diffRequest, err error) {
	if c.Args().Len() != 2 {
		return r, usagef("diff takes two sides, not %d; e.g. haloingest diff intercom postgres --org ID", c.Args().Len())
	}
	r = diffRequest{
		left: c.Args().Get(0), right: c.Args().Get(1), level: diff.Level(c.String("level")), format: c.String("format"),
		dir: c.String("report"), repair: c.String("emit-repair"), snapshot: c.String("snapshot"), show: c.Bool("show-values"),
	}
	for _, side := range []string{r.left, r.right} {
		location, isSnapshot := strings.CutPrefix(side, sideSnapshot)
		if side != sideIntercom && side != sidePostgres && (!isSnapshot || location == "") {
			return r, usagef("%q is no side of a diff; want intercom, postgres or snapshot:LOCATION", side)
		}
	}
	list, err := kinds(c)
	if err != nil {
		return r, err
	}
	for _, kind := range list {
		r.only = append(r.only, kind.Stream())
	}
	live := r.left == sideIntercom || r.right == sideIntercom
	switch {
	case r.left == r.right:
		return r, usagef("both sides are %s; there is nothing to compare", r.left)
	case !slices.Contains([]diff.Level{diff.LevelCount, diff.LevelFast, diff.LevelFull}, r.level):
		return r, usagef("--level %q: want count, fast or full", r.level)
	case !slices.Contains([]string{"text", "json", "html"}, r.format):
		return r, usagef("--format %q: want text, json or html", r.format)
	case a.json && c.IsSet("format") && r.format != "json":
		return r, usagef("--json and --format %s contradict each other", r.format)
	case r.snapshot != "" && !live:
		return r, usagef("--snapshot keeps what is read of intercom, which is neither side of this diff")
	case r.snapshot != "" && r.level != diff.LevelFull:
		return r, usagef("--snapshot wants --level full: the others do not read whole objects")
	}
	if _, ok := compare.Mendable(r.left, r.right); r.repair != "" && (!ok || r.level == diff.LevelCount) {
		return r, usagef("--emit-repair says what would mend the database, so one side has to be postgres, and the level fast or full")
	}
	if a.json {
		r.format = "json"
	}
	a.json = r.format == "json"
	return r, nil
}

// diffResult is what became of a diff.
type diffResult struct {
	report  diff.Report
	written *report.Written
	repairs *compare.Repairs
	stored  bool
	err     error
}

func (a *app) compareSides(c *cli.Context) error {
	request, err := a.diffRequest(c)
	if err != nil {
		return err
	}
	ws, err := a.openAllowing(c)
	if err != nil {
		return err
	}
	defer ws.close()
	sides, err := a.openSides(c, ws, request)
	if err != nil {
		return err
	}
	defer func() {
		if err := sides.close(); err != nil {
			ws.log.Warn("close the sides of the diff", "error", err)
		}
	}()
	result, err := a.compareOpen(c, ws, request, sides)
	if err != nil {
		return err
	}
	return a.showDiff(ws, request, result)
}

// compareOpen makes the diff and keeps what it has found. The error is of what must work for there to be a result at all.
func (a *app) compareOpen(c *cli.Context, ws *workspace, request diffRequest, sides *sides) (out diffResult, err error) {
	databaseLeft, mendable := compare.Mendable(request.left, request.right)
	found, err := compare.NewFound("", databaseLeft)
	if err != nil {
		return out, err
	}
	defer found.Close()
	if request.dir != "" {
		if found.Report, err = report.Create(request.dir); err != nil {
			return out, usagef("--report: %w", err)
		}
	}
	watch := compare.NewWatch(request.left, request.right, sides.live)
	o := diff.Options{
		ID: sides.id, Org: ws.org, Level: request.level, Only: request.only, Without: sides.without, Watermark: sides.watermark,
		Findings: found, ShowValues: request.show, Log: ws.log, Progress: watch.Note,
	}
	stop := a.showProgress(ws.log, watch)
	r, err := diff.Compare(c.Context, sides.left, sides.right, o)
	if err == nil && sides.live != nil {
		err = sides.live.Publish(c.Context)
	}
	stop()
	out = diffResult{report: r, err: err}
	if r.ID.IsZero() {
		return out, errors.Join(err, found.Discard())
	}
	sides.judge(&out.report, err)
	if mendable {
		out.repairs = &found.Repairs
	}
	return out, a.keepDiff(ws, request, found, &out)
}

// keepDiff stores the result in the database, in the folder of the report and in the file of repairs. It does so also after an
// interrupt.
func (a *app) keepDiff(ws *workspace, request diffRequest, found *compare.Found, out *diffResult) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.hard), time.Minute)
	defer cancel()
	if found.Report != nil {
		written, err := found.Report.Close(out.report)
		if err != nil {
			return usagef("--report: %w", err)
		}
		out.written = &written
	}
	if request.repair != "" {
		if err := writeRepairs(request.repair, &found.Repairs); err != nil {
			return err
		}
	}
	if err := found.Save(ctx, ws.DB, out.report); err != nil {
		if out.err == nil {
			return err
		}
		ws.log.Warn("the diff is not kept in the database", "error", err) // which may be why it failed
		return nil
	}
	out.stored = true
	return nil
}

// writeRepairs writes the file whole or not at all.
func writeRepairs(name string, repairs *compare.Repairs) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return usagef("--emit-repair: %w", err)
	}
	err = repairs.Write(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error says what is wrong
		return usagef("--emit-repair: write %s: %w", name, err)
	}
	return nil
}

// showDiff prints the report and returns what the command ends with.
func (a *app) showDiff(ws *workspace, request diffRequest, d diffResult) error {
	a.printed = true
	var err error
	switch request.format {
	case "json":
		err = report.JSON(a.stdout, d.report)
	case "html":
		err = report.HTML(a.stdout, d.report)
	default:
		if err = report.Text(a.stdout, d.report); err == nil {
			printAfterDiff(a.stdout, ws.org, request, d)
		}
	}
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	code := verdictCode(d.report.Verdict)
	if d.err != nil && !errors.Is(d.err, diff.ErrPartial) {
		return d.err
	}
	return quiet(code)
}

// printAfterDiff says where everything is, and what to do.
func printAfterDiff(w io.Writer, org record.UUID, request diffRequest, d diffResult) {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if d.written != nil {
		add("The whole report, with every finding: %s", d.written.Dir)
	}
	if request.snapshot != "" && d.err == nil {
		add("What was read is kept as a snapshot in %s", request.snapshot)
	}
	if d.repairs != nil && d.repairs.Len() > 0 && d.report.Level != diff.LevelCount {
		add("To mend the database: %s.", d.repairs.Summary())
		if request.repair != "" {
			add("Each of them is in %s.", request.repair)
		}
		if d.stored {
			add("Do it: haloingest sync --org %s --from-diff %s", org, d.report.ID)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(lines, "\n"))
	}
}

// verdictCode is the exit code of a verdict (contract, "Commands").
func verdictCode(v diff.Verdict) int {
	switch v {
	case diff.VerdictEqual:
		return exitDone
	case diff.VerdictDifferent:
		return exitDiffers
	case diff.VerdictUnverified:
		return exitIncomplete
	case diff.VerdictPartial:
		return exitInterrupted
	}
	return exitInvariant
}
