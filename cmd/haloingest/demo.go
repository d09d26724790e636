package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
)

// demoOrg is the organisation of the tour.
const demoOrg = "0d3b0000-0000-4000-8000-00000000de50"

func (a *app) demo() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "the whole tour on this machine: a simulated Intercom workspace, a private PostgreSQL, and the commands on them",
		Flags: concat([]cli.Flag{
			&cli.IntFlag{Name: "conversations", Usage: "simulate a workspace of `N` conversations", Value: 2000},
			&cli.IntFlag{Name: "rate-limit", Usage: "let it allow `N` requests a minute, as Intercom does (0: any number)", Value: 10_000},
			&cli.DurationFlag{Name: "latency", Usage: "let each of its replies take `SPAN`", Value: 20 * time.Millisecond},
		}, storeFlags(), outputFlags()),
		Action: a.takeTour,
	}
}

// tour runs the program's own commands, as a person would type them.
type tour struct {
	*app
	out  io.Writer // what is told on the way
	dir  string    // where the demo's files are
	url  string    // of the simulated workspace
	args []string  // where the data is
	db   *database // the same, for what happens to it between two commands
	take []tourStep
}

// tourStep is a step of the tour as --json gives it.
type tourStep struct {
	Title    string `json:"title"`
	Command  string `json:"command,omitempty"`
	ExitCode int    `json:"exit_code"`
}

func (a *app) takeTour(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	if c.Int("conversations") < 1 || c.Int("rate-limit") < 0 || c.Duration("latency") < 0 {
		return usagef("--conversations wants 1 or more, --rate-limit and --latency 0 or more")
	}
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	dir := filepath.Join(cfg.DataDir, "demo")
	for _, left := range []string{"token", "snapshot", "proof"} {
		if err := os.RemoveAll(filepath.Join(dir, left)); err != nil {
			return fmt.Errorf("prepare the demo: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	// Held open until the end, so that a private server is started once and not for each step.
	demo := cfg
	demo.DataDir = dir
	db, err := a.openDatabaseOf(c, demo)
	if err != nil {
		return err
	}
	defer db.close()
	if err := clearTour(c.Context, db); err != nil {
		return err
	}
	workspace, stop, err := simulate(intercomtest.Options{
		Conversations: c.Int("conversations"),
		RateLimit:     c.Int("rate-limit"),
		Latency:       c.Duration("latency"),
	})
	if err != nil {
		return fmt.Errorf("start the simulated workspace: %w", err)
	}
	defer stop()
	t := &tour{app: a, out: a.stdout, dir: dir, url: workspace.Options().BaseURL, db: db}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(workspace.Options().Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	t.args = []string{"--data-dir", dir}
	if cfg.DatabaseURL != "" {
		t.args = append(t.args, "--database-url", cfg.DatabaseURL)
	}
	if cfg.MasterKey.File != "" {
		t.args = append(t.args, "--master-key-file", cfg.MasterKey.File)
	}
	if uri := cfg.MasterKey.URI.Reveal(); uri != "" && !secret.HoldsKey(uri) { // else it is in the environment
		t.args = append(t.args, "--master-key-uri", uri)
	}
	if a.json {
		t.out = a.stderr // what people want to read on the way is no result
	}
	if err := t.walk(workspace, token); err != nil {
		return err
	}
	if !a.json {
		return nil
	}
	return a.result(struct {
		Org     string     `json:"org"`
		DataDir string     `json:"data_dir"`
		Steps   []tourStep `json:"steps"`
	}{demoOrg, dir, t.take}, nil)
}

// clearTour removes what an earlier tour has left, so that each one begins with nothing.
func clearTour(ctx context.Context, db *database) error {
	if err := db.upgrade(ctx); err != nil {
		return err
	}
	if err := forget(ctx, db); err != nil {
		return fmt.Errorf("clear what an earlier demo left: %w", err)
	}
	return nil
}

// forget deletes what is stored of the tour's organisation, but for the named tables of schema ingest.
func forget(ctx context.Context, db *database, but ...string) error {
	_, err := db.Pool().Exec(ctx, `DO $$ DECLARE t record; BEGIN
		FOR t IN SELECT table_schema AS s, table_name AS n FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
			WHERE table_type = 'BASE TABLE' AND column_name = 'org_id' AND (table_schema = 'ingest' AND table_name <> ALL (string_to_array('`+strings.Join(but, ",")+`', ','))
				OR table_schema = 'public' AND table_name IN ('end_users', 'companies', 'transcripts', 'tickets', 'knowledge'))
		LOOP EXECUTE format('DELETE FROM %I.%I WHERE org_id = %L', t.s, t.n, '`+demoOrg+`'); END LOOP;
	END $$`)
	return err
}

// simulate serves a workspace on loopback until stop is called.
func simulate(o intercomtest.Options) (*intercomtest.Workspace, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	o.BaseURL = "http://" + l.Addr().String()
	w, err := intercomtest.New(o)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	server := intercomtest.NewHTTPServer(w)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return w, func() {
		if err := server.Close(); err == nil || errors.Is(err, http.ErrServerClosed) {
			<-done
		}
	}, nil
}

func (t *tour) walk(workspace *intercomtest.Workspace, token string) error {
	n := workspace.Ledger().Counts()
	t.say("A simulated Intercom workspace is up at %s: %s contacts, %s companies, %s conversations, %s tickets.",
		t.url, count(n.Contacts), count(n.Companies), count(n.Conversations), count(n.Tickets))
	if slices.Contains(t.args, "--database-url") {
		t.say("The database is yours, as organisation %s; the files of this tour are in %s.", demoOrg, t.dir)
	} else {
		t.say("The database is a private PostgreSQL; everything of this tour is in %s.", t.dir)
	}

	org := []string{"--org", demoOrg}
	api := []string{"--intercom-url", t.url}
	snapshot, proof := filepath.Join(t.dir, "snapshot"), filepath.Join(t.dir, "proof")
	keep := []string{"--snapshot", snapshot}
	steps := []struct {
		title  string
		args   []string
		newest bool  // the newest diff's id comes last
		bare   bool  // it takes no database
		lines  int   // so many lines of what it says are enough; 0: all
		codes  []int // exit codes that are fine here
		run    func() error
	}{
		{title: "Connect. The token is checked and stored sealed.",
			args: concat2([]string{"connect"}, org, []string{"--region", "us", "--token-file", token, "--no-backfill"}, api)},
		{title: "Plan: what would a backfill take?", args: concat2([]string{"plan"}, org, api)},
		{title: "Backfill: companies, contacts, conversations with all their parts, tickets; kept as Parquet files, too.",
			args: concat2([]string{"backfill"}, org, keep, api), codes: []int{exitDiffers}},
		{title: "The workspace changes: 25 conversations are touched, 5 are deleted.", run: func() error {
			workspace.TouchRandom(intercomtest.Conversations, 25)
			workspace.DeleteRandom(intercomtest.Conversations, 5)
			return nil
		}},
		{title: "Sync reads just that.", args: concat2([]string{"sync"}, org, keep, api), codes: []int{exitDiffers}},
		{title: "Again: nothing has changed, so nothing is written.", args: concat2([]string{"sync"}, org, api), codes: []int{exitDiffers}},
		{title: "Every byte of the snapshot is what was written.", args: concat2([]string{"snapshot", "verify"}, keep), bare: true},
		{title: "Is everything in Halo that is at Intercom, in every column? Both are read and compared.",
			args: concat2([]string{"diff", "intercom", "postgres"}, org, []string{"--report", proof}, api), lines: 15, codes: []int{exitDiffers}},
		{title: "May Intercom be disconnected? The checklist, with what is still to be settled.",
			args: concat2([]string{"cutover"}, org), codes: []int{exitDiffers, exitIncomplete}},
		{title: "Somebody changes two contacts in the database, by hand.", run: func() error { return t.tamper() }},
		{title: "A diff finds both, with the columns.",
			args: concat2([]string{"diff", "intercom", "postgres", "--only", "contacts"}, org, api), lines: 36, codes: []int{exitDiffers}},
		{title: "They are read anew from Intercom and mended.",
			args: concat2([]string{"sync"}, org, api, []string{"--from-diff"}), newest: true},
		{title: "Halo's tables are lost.", run: func() error {
			return forget(t.hard, t.db, "connections", "leases", "diff_runs", "diff_findings")
		}},
		{title: "Replay brings them back from the snapshot, without Intercom.", args: concat2([]string{"replay"}, keep), codes: []int{exitDiffers}},
		{title: "They are what they were.", args: concat2([]string{"diff", sideSnapshot + snapshot, "postgres"}, org), lines: 12},
		{title: "Where things stand.", args: concat2([]string{"status"}, org)},
		{title: "What could not be loaded is kept, with the object as it came.", args: concat2([]string{"rejects", "ls"}, org)},
	}
	for i, step := range steps {
		t.say("\n%d. %s", i+1, step.title)
		if step.run != nil {
			if err := step.run(); err != nil {
				return fmt.Errorf("demo, step %d: %w", i+1, err)
			}
			t.take = append(t.take, tourStep{Title: step.title})
			continue
		}
		args := step.args
		if step.newest {
			newest, err := t.db.DiffRuns(t.hard, demoOrgID(), 1)
			if err != nil || len(newest) == 0 {
				return fmt.Errorf("demo, step %d: find the diff: %w", i+1, err)
			}
			args = concat2(args, []string{newest[0].ID.String()})
		}
		if !step.bare {
			args = concat2(args, t.args)
		}
		code := t.command(args, step.lines)
		t.take = append(t.take, tourStep{step.title, t.shown(args), code})
		if code != exitDone && !slices.Contains(step.codes, code) {
			return &exitError{code, fmt.Errorf("demo, step %d: the command ended with code %d", i+1, code)}
		}
	}
	t.say("\nThat was the tour. Try it with other sizes (--conversations), or look around:\n  %s", t.shown(concat2([]string{"runs", "show", "--org", demoOrg}, t.args)))
	return nil
}

func demoOrgID() record.UUID {
	id, _ := record.ParseUUID(demoOrg) // it is one
	return id
}

// tamper changes what a loader would never look at again.
func (t *tour) tamper() error {
	_, err := t.db.Pool().Exec(t.hard, `UPDATE public.end_users SET name = 'Somebody else', email = 'somebody@example.com'
		WHERE org_id = $1 AND source_id IN (SELECT source_id FROM public.end_users WHERE org_id = $1 AND deleted_at IS NULL AND name IS NOT NULL ORDER BY source_id LIMIT 2)`, demoOrg)
	return err
}

// command shows a command line and runs it.
func (t *tour) command(args []string, lines int) int {
	t.say("   $ %s\n", t.shown(args))
	var out bytes.Buffer
	code := run(t.hard, t.read, args, t.stdin, &out, t.stderr)
	indent(t.out, shorten(out.String(), lines))
	return code
}

// shown is a command line for people to repeat. A database's address is left out: it may hold a password.
func (t *tour) shown(args []string) string {
	words := []string{"haloingest"}
	for _, arg := range args {
		if last := words[len(words)-1]; last == "--database-url" {
			arg = "URL"
		}
		if strings.ContainsAny(arg, " '\"$\\") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

func (t *tour) say(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

// shorten keeps the first lines of a text and its last one; 0 lines are all.
func shorten(text string, lines int) string {
	all := strings.SplitAfter(strings.TrimRight(text, "\n"), "\n")
	if lines == 0 || len(all) <= lines+2 {
		return text
	}
	last := all[len(all)-1]
	return strings.Join(all[:lines], "") + fmt.Sprintf("… %d lines more …\n", len(all)-lines-1) + last + "\n"
}

func indent(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprint(w, "   "+line)
	}
}

func concat2(groups ...[]string) []string {
	var all []string
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}
