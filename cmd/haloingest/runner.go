package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/config"
	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// newClient makes the API client of a workspace. The token passes from the store to the client and
// nowhere else.
func newClient(region string, token secret.Text, o intercom.Options) (*intercom.Client, error) {
	client, err := intercom.New(region, token.Reveal(), o)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return client, nil
}

// promptly is clientOptions for questions that somebody waits for the answer of: each is asked three times,
// and nothing is lost by giving the command again.
func promptly(cfg config.Config, log *slog.Logger) intercom.Options {
	o := clientOptions(cfg, log)
	o.MaxAttempts = 3
	return o
}

func clientOptions(cfg config.Config, log *slog.Logger) intercom.Options {
	return intercom.Options{
		BaseURL:           cfg.IntercomURL,
		Version:           cfg.IntercomVersion,
		RequestsPerMinute: cfg.MaxRequestsPerMinute,
		MaxInFlight:       cfg.Concurrency,
		ScrollWait:        cfg.ScrollWait,
		Log:               log,
	}
}

// runner makes the runner of a connected workspace. Its requests are tried again for minutes, as long runs
// want it.
func (a *app) runner(c *cli.Context, ws *workspace) (*ingest.Runner, error) {
	return a.runnerWith(c, ws, clientOptions(ws.cfg, ws.log))
}

func (a *app) runnerWith(c *cli.Context, ws *workspace, o intercom.Options) (*ingest.Runner, error) {
	conn, err := ws.connections.Get(c.Context, ws.org)
	if err != nil {
		return nil, err
	}
	token, err := ws.connections.Token(c.Context, ws.org)
	if err != nil {
		return nil, err
	}
	client, err := newClient(conn.Region, token, o)
	if err != nil {
		return nil, err
	}
	runner := ws.runner(c, conn, client)
	if runner.Attachments, err = attachments(c); err == nil {
		runner.Distiller, err = a.distiller(c, ws)
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	return runner, nil
}

func (ws *workspace) runner(c *cli.Context, conn connection.Connection, client *intercom.Client) *ingest.Runner {
	return &ingest.Runner{
		DB:          ws.DB,
		Client:      client,
		Connection:  conn,
		Log:         ws.log,
		Holder:      holder(c),
		Concurrency: ws.cfg.Concurrency,
	}
}

// runResult is the JSON of a command that ran something.
type runResult struct {
	ingest.Report
	ExitCode int    `json:"exit_code"`
	Error    string `json:"error,omitempty"`
}

// execute makes one run with progress on stderr and the report on stdout.
func (a *app) execute(c *cli.Context, runner *ingest.Runner, request ingest.Request) error {
	run, err := runner.Start(c.Context, request)
	if err != nil {
		return err
	}
	report, err := carryOut(a, run.Log(), run)
	if report.Run.ID.IsZero() { // the database is gone; the error says so
		return err
	}
	out := runResult{Report: report, ExitCode: runCode(report, err)}
	if err != nil {
		out.Error = errorLine(err)
	}
	return a.ended(out, out.ExitCode, err, func(w io.Writer) { printReport(w, runner.Connection.Org, report, err) })
}

// job is a run that holds its organisation's lease. R is its report.
type job[R any] interface {
	progressing
	Do(ctx, read context.Context) (R, error)
	Close(ctx context.Context) error
}

// carryOut does the job with progress on stderr, and closes it.
func carryOut[R any](a *app, log *slog.Logger, run job[R]) (R, error) {
	defer func() {
		if err := run.Close(context.WithoutCancel(a.hard)); err != nil {
			log.Warn("give the lease back", "error", err)
		}
	}()
	stop := a.showProgress(log, run)
	report, err := run.Do(a.hard, a.read)
	stop()
	var crash *pipeline.PanicError
	if errors.As(err, &crash) {
		log.Error("this is a bug of haloingest; please report it with these lines", "panic", crash.Value, "stack", string(crash.Stack))
	}
	return report, err
}

// ended prints the result of a run that has ended with err, and returns what the command ends with.
func (a *app) ended(result any, code int, err error, text func(io.Writer)) error {
	if perr := a.result(result, text); perr != nil {
		return perr
	}
	if err != nil && !errors.Is(err, pipeline.ErrStopped) {
		return &exitError{code, err}
	}
	return quiet(code)
}

// runCode is the exit code of a run that may have ended well.
func runCode(report ingest.Report, err error) int {
	if err != nil {
		return exitCode(err)
	}
	code := exitDone
	if tally(report.Run.Counts).rejected > 0 || report.Attachments.Failed() > 0 {
		code = exitDiffers
	}
	for _, s := range report.Run.Streams {
		if s.Skipped != "" {
			code = exitIncomplete
		}
	}
	return code
}

// totals are the outcomes of all tables but knowledge, which follows from transcripts.
type totals struct{ inserted, updated, unchanged, deleted, rejected int64 }

func tally(counts pipeline.Counts) totals {
	var t totals
	for table, outcomes := range ingest.Loaded(counts) {
		if table == "knowledge" {
			continue
		}
		t.inserted += outcomes[ingest.Inserted]
		t.updated += outcomes[ingest.Updated]
		t.unchanged += outcomes[ingest.Equal] + outcomes[ingest.Stale]
		t.deleted += outcomes[ingest.Deleted]
		t.rejected += outcomes[ingest.Rejected]
	}
	return t
}

// tables in the order in which a report lists them.
var tables = []string{"end_users", "companies", "transcripts", "tickets", "knowledge"}

// printLoaded prints what became of the rows of each table.
func printLoaded(w io.Writer, counts pipeline.Counts) {
	loaded := ingest.Loaded(counts)
	var rows [][]string
	for _, name := range tables {
		o := loaded[name]
		rows = append(rows, []string{name, count(o[ingest.Inserted]), count(o[ingest.Updated]),
			count(o[ingest.Equal] + o[ingest.Stale]), count(o[ingest.Deleted]), count(o[ingest.Rejected])})
	}
	table(w, []string{"table", "inserted", "updated", "unchanged", "deleted", "rejected"}, rows)
}

func printReport(w io.Writer, org record.UUID, r ingest.Report, err error) {
	state := string(r.Run.State)
	fmt.Fprintf(w, "%s %s: %s\n\n", r.Run.Kind, r.Run.ID, state)
	printLoaded(w, r.Run.Counts)
	fmt.Fprintln(w)
	budget := "Intercom tells no limit"
	if r.API.PerMinute > 0 {
		budget = fmt.Sprintf("%.1f %% of the budget of %s a minute", 100*r.API.BudgetShare, count(r.API.PerMinute))
	}
	throttled := "never throttled"
	if r.API.Throttled > 0 {
		throttled = fmt.Sprintf("throttled %s", times(r.API.Throttled))
	}
	speed := ""
	if s := r.Elapsed.Seconds(); s > 0 {
		speed = fmt.Sprintf(", %.0f objects a second", float64(r.Read)/s)
	}
	fields(w, append([]string{
		"took", span(r.Elapsed) + speed,
		"API requests", fmt.Sprintf("%s; %s; %s", count(r.API.Requests), budget, throttled),
	}, append(attachmentLines(r.Attachments), keptLines(r.Snapshot)...)...)...)
	for _, s := range r.Run.Streams {
		if s.Skipped != "" {
			fmt.Fprintf(w, "\nskipped %s: %s\n", s.Stream, s.Skipped)
		}
	}
	printModel(w, r.Run.Counts)
	next(w, org, r, err)
}

// next says what to look at or to do after a run.
func next(w io.Writer, org record.UUID, r ingest.Report, err error) {
	t := tally(r.Run.Counts)
	fmt.Fprintln(w)
	switch {
	case r.Run.State == postgres.RunInterrupted:
		fmt.Fprintln(w, "Stopped before the end; what was read is committed. The same command goes on from there.")
	case err != nil:
		fmt.Fprintln(w, "Not finished; what was read is committed. The same command goes on from there.")
	}
	if slices.ContainsFunc(r.Run.Streams, func(s postgres.StreamInfo) bool { return s.Skipped != "" }) {
		fmt.Fprintln(w, "What was skipped is read by the same command, once the token may read it.")
	}
	if t.rejected > 0 {
		fmt.Fprintf(w, "Rejected and kept, to be tried again: haloingest rejects ls --org %s\n", org)
	}
	if r.Attachments.Failed() > 0 {
		fmt.Fprintln(w, "Files that are not saved are tried again by the next sync or backfill with --attachments.")
	}
	if n := len(r.Run.Unmapped); n > 0 {
		fmt.Fprintf(w, "Seen at Intercom, without a place in Halo (%d kinds of fields and values): haloingest runs show --org %s\n", n, org)
	}
	if err == nil && t.rejected == 0 {
		fmt.Fprintf(w, "What is there now: haloingest status --org %s\n", org)
	}
}
